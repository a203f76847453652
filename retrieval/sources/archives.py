"""Pictures in tar files as webdataset writes them (tars.py), and the output folders of img2dataset."""

import fnmatch
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from retrieval.datatypes import Item
from retrieval.errors import BadRequest
from retrieval.sources import reopen, tars, texts, within
from retrieval.sources.captions import captions_in, captions_of
from retrieval.sources.uri import (
    Options,
    Row,
    Unseen,
    Uri,
    existing_file,
    id_of,
    is_file,
    is_folder,
    matches,
    one_by_one,
    pattern_root,
    stamp_of,
    unreadable,
)

_MAX_TEXT = 1 << 20  # bytes of a caption or of a json
_MAX_SHARDS = 1_000_000
_COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
_LEFT_OUT = ("caption", "exif", "error_message")


def webdataset(uri: Uri) -> Iterable[Row]:
    """`webdataset:shards/{00000..00041}.tar`, a glob, a folder of tars or one tar. Raises BadRequest."""
    root = pattern_root(uri.path)
    rest = Path(uri.path).relative_to(root).as_posix()
    is_there = is_file(Path(uri.path)) or is_folder(Path(uri.path))  # braces and all
    patterns = [rest] if is_there else braces(rest)
    found = [one for pattern in patterns for one in _files(root, pattern)]
    if not any(place is None and is_file(path) for path, place in found):
        raise BadRequest(f"no such tar: {uri.path}: check the path")
    plain = _read_plainly(uri)
    parts = ((path, path.relative_to(root).as_posix(), plain, place) for path, place in found)
    for rows in uri.options.each(_shard, parts):
        yield from rows


def _read_plainly(uri: Uri) -> Uri:
    """The source as it is told to whoever reads a part of it."""
    return replace(uri, options=replace(uri.options, each=one_by_one))


def _files(root: Path, pattern: str) -> Iterator[tuple[Path, Unseen | None]]:
    """The tars that a pattern names, and the folders that cannot be looked into."""
    path = root / pattern
    if is_folder(path):
        yield from _matching(path, ["*"])
    elif is_file(path) or not any(sign in pattern for sign in "*?["):
        yield path, None  # where it is missing, the list of what was skipped says so
    else:
        yield from _matching(root, list(Path(pattern).parts))


def _matching(folder: Path, parts: list[str]) -> Iterator[tuple[Path, Unseen | None]]:
    """As Path.glob, which takes a folder that cannot be read for one without files."""
    try:
        with os.scandir(folder) as entries:
            names = {entry.name: entry.is_dir() for entry in sorted(entries, key=lambda entry: entry.name)}
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        yield folder, Unseen(f"cannot be read: {error.strerror or error}", doubtful=missing)
        return
    if not names:
        yield folder, Unseen("holds nothing: is its disk there?", doubtful=True)
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _matching(folder, rest or ["*"])
    for name, below in names.items():
        if part == "**":
            if below:
                yield from _matching(folder / name, parts)
        elif fnmatch.fnmatchcase(name, part) and (part[0] == "." or name[0] != "."):
            if rest and below:
                yield from _matching(folder / name, rest)
            elif not rest and not below and (part != "*" or name.lower().endswith((".tar", *_COMPRESSED))):
                yield folder / name, None


def braces(pattern: str) -> Iterator[str]:
    """`a{0..2}{x,y}` as a0x, a0y, a1x, ...; numbers keep their leading zeros. Raises BadRequest for too many."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part) if number % 2 else [part] for number, part in enumerate(parts)]
    for number, chosen in enumerate(itertools.product(*choices)):
        if number >= _MAX_SHARDS:
            raise BadRequest(f"{pattern} names more than {_MAX_SHARDS} files: give fewer")
        yield "".join(chosen)


def _choices(inside: str) -> Iterable[str]:
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if not span:
        return inside.split(",") if "," in inside else [f"{{{inside}}}"]
    first, last = int(span[1]), int(span[2])
    if last - first >= _MAX_SHARDS:
        raise BadRequest(f"{{{inside}}} names more than {_MAX_SHARDS} files: give fewer")
    return [f"{number:0{len(span[1])}d}" for number in range(first, last + 1)]


def _shard(path: Path, name: str, uri: Uri, place: Unseen | None = None) -> Iterator[Row]:
    """The samples of a tar up to where it is damaged, if it is; the damage is listed as a skipped item.

    place: what stands there instead of a tar.
    """
    if place is not None:
        yield unreadable(name, place), None
        return
    if path.suffix.lower() != ".tar":
        yield unreadable(name, "a compressed tar cannot be shown from: unpack it to a plain .tar"), None
        return
    held = tars.read(path)
    damage = held.damage
    try:
        if held.members:
            with path.open("rb") as file:
                for sample in tars.samples(held):
                    yield from _sample(file, path, name, sample, uri)
    except OSError as error:
        damage = damage or tars.said_of(error)
    yield from ((unreadable(f"{name}/{member}", reason), None) for member, reason in held.lost)
    if damage:
        yield unreadable(name, damage), None


def _sample(file: BinaryIO, path: Path, name: str, sample: tars.Sample, uri: Uri) -> Iterator[Row]:
    lost: list[Row] = []
    fields, text = _json(_text(file, name, sample.fields, lost)), _text(file, name, sample.text, lost)
    yield from lost
    if not matches(fields, uri.where):
        return
    captions = captions_in(text) or captions_of(fields.get("caption"))
    member = sample.picture
    place = within.InTar(name, member.stored, member.offset, member.size)
    item = Item(
        id_of(f"{name}/{sample.key}"), f"{name}/{member.name}", lambda: reopen.read_tar(path, place),
        stamp=f"{stamp_of(path)}:{member.offset}", meta=_plain(fields), within=place,
    )  # fmt: skip
    yield from ((item, caption) for caption in captions or (None,))


def _text(file: BinaryIO, name: str, member: tars.Member | None, lost: list[Row]) -> str:
    """A text of the tar of that name; "" for one that cannot be read, which is put down as lost."""
    if member is None:
        return ""
    file.seek(member.offset)
    try:
        if member.size > _MAX_TEXT:
            raise texts.Unsure(f"a text of more than {_MAX_TEXT} bytes")
        return texts.sure(file.read(member.size))
    except texts.Unsure as error:
        lost.append((unreadable(f"{name}/{member.name}", str(error)), None))
        return ""


def _json(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in fields.items() if isinstance(v, str | int | float | bool) and k not in _LEFT_OUT}
    return {k: v for k, v in plain.items() if v != "" and not (isinstance(v, str) and len(v) > 2000)}


# ---------------------------------------------------------------- img2dataset


def is_img2dataset(folder: Path) -> bool:
    """True for a folder that holds what img2dataset wrote: 00000_stats.json beside a shard."""
    return any(re.fullmatch(r"\d{5,}_stats\.json", path.name) for path in folder.glob("*_stats.json"))


def img2dataset(uri: Uri) -> Iterable[Row]:
    """The output folder of img2dataset in any of its formats but tfrecord. Raises BadRequest."""
    root = Path(uri.path)
    if not root.is_dir():
        raise BadRequest(f"no such folder: {uri.path}: check the path")
    shards = sorted(path for path in root.iterdir() if re.fullmatch(r"\d{5,}(\.tar|\.parquet|\.tfrecord)?", path.name))
    if any(path.suffix == ".tfrecord" for path in shards):
        raise BadRequest(f"{uri.path} holds tfrecords: run img2dataset with --output_format webdataset")
    # Beside tars and folders the parquet files have the fields alone, of failed downloads too.
    pictures = [path for path in shards if path.suffix != ".parquet"]
    each = uri.options.each if pictures else one_by_one  # cells of a table are read by who opened it
    for rows in each(_written, ((path, _read_plainly(uri)) for path in pictures or shards)):
        yield from rows


def _written(path: Path, uri: Uri) -> Iterable[Row]:
    """A shard in whichever format."""
    if path.is_dir():
        return _files_shard(path, uri)
    return _shard(path, path.name, uri) if path.suffix == ".tar" else _parquet_shard(path, uri)


def _files_shard(folder: Path, uri: Uri) -> Iterator[Row]:
    from retrieval.sources import folders

    plain = Uri(str(folder), "folder", str(folder), {}, Options(exclude=uri.options.exclude))
    for item, caption in folders.rows(plain):
        beside = folder / Path(item.uri).with_suffix(".json")
        try:
            fields = _json(texts.sure(beside.read_bytes()) if beside.is_file() else "")
        except texts.Unsure as error:
            yield unreadable(f"{folder.name}/{beside.relative_to(folder).as_posix()}", str(error)), None
            fields = {}
        if matches(fields, uri.where):
            name = f"{folder.name}/{item.uri}"
            captions = (caption,) if caption is not None else captions_of(fields.get("caption"))
            meta = {**item.meta, **_plain(fields), "folder": folder.name}
            named = replace(item, id=id_of(name), uri=name, meta=meta)
            yield from ((named, one) for one in captions or (None,))


def _parquet_shard(path: Path, uri: Uri) -> Iterator[Row]:
    from retrieval.sources import tables

    one = Uri(str(path), uri.scheme, str(path), uri.where, uri.options)
    existing_file(one)
    for item, caption in tables.parquet(one):
        name = f"{path.name}/{item.meta.get('key', item.id)}"
        yield replace(item, id=id_of(name), uri=name), caption
