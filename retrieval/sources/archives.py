"""Pictures in tar files as webdataset writes them, and the output folders of img2dataset.

A sample is a run of members with one key: the path up to the first dot of its last part. `jpg`, `png` and so on is the
picture, `txt` its caption, the plain values of `json` its fields.
"""

import itertools
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrieval.datatypes import Item
from retrieval.errors import BadRequest
from retrieval.images.kinds import PICTURES
from retrieval.sources import reopen, within
from retrieval.sources.captions import captions_in, captions_of
from retrieval.sources.uri import Options, Row, Uri, existing_file, id_of, matches, pattern_root, stamp_of, unreadable

_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
_FIRST = ("jpg", "png", "jpeg", "webp")  # what is taken where a sample has several pictures, as open_clip's training
_PICTURES = frozenset(ending[1:] for ending in PICTURES)
_MAX_TEXT = 1 << 20  # bytes of a caption or of a json
_MAX_SHARDS = 1_000_000
# tarfile raises ReadError and its kin on damage, and on hostile headers also what its parsing runs into.
_DAMAGED = (tarfile.TarError, OSError, ValueError, OverflowError, EOFError)
_LEFT_OUT = ("caption", "exif", "error_message")


def webdataset(uri: Uri) -> Iterable[Row]:
    """`webdataset:shards/{00000..00041}.tar`, a glob, a folder of tars or one tar. Raises BadRequest."""
    shards = [Path(name) for pattern in braces(uri.path) for name in _files(pattern)]
    if not any(shard.is_file() for shard in shards):
        raise BadRequest(f"no such tar: {uri.path}: check the path")
    root = pattern_root(uri.path)
    for shard in shards:
        yield from _shard(shard, shard.relative_to(root).as_posix(), uri)


def _files(pattern: str) -> list[str]:
    path = Path(pattern)
    if path.is_dir():
        return sorted(str(found) for found in path.glob("*.tar"))
    if path.is_file() or not any(sign in pattern for sign in "*?["):
        return [pattern]  # where it is missing, the list of what was skipped says so
    return sorted(str(found) for found in Path(path.anchor or ".").glob(str(path.relative_to(path.anchor or "."))))


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


def _shard(path: Path, name: str, uri: Uri) -> Iterator[Row]:
    """The samples of a tar up to where it is damaged, if it is; the damage is listed as a skipped item."""
    if path.suffix != ".tar":
        yield unreadable(name, "a compressed tar cannot be shown from: unpack it to a plain .tar"), None
        return
    damage: list[str] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for key, parts in itertools.groupby(_members(tar, damage), lambda part: part[0]):
                yield from _sample(tar, path, name, key, [(ending, member) for _, ending, member in parts], uri)
    except FileNotFoundError:
        damage.append("no such file")
    except _DAMAGED as error:
        damage.append(_damage(error))
    for reason in damage:
        yield unreadable(name, reason), None


def _damage(error: Exception) -> str:
    return f"the tar is damaged: {(str(error) or type(error).__name__).splitlines()[0]}"[:200]


def _members(tar: tarfile.TarFile, damage: list[str]) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Key, ending and header of each file, up to the end or to where the tar is damaged; then `damage` says how."""
    try:
        while (member := tar.next()) is not None:
            vars(tar)["members"] = []  # tarfile would keep every header; its attribute is in no type stub
            match = _KEY.match(member.name)
            if match and member.isreg() and not member.issparse() and not match[1].rsplit("/")[-1].startswith("__"):
                yield match[1], match[2].lower(), member
        assert tar.fileobj is not None, "it is open"
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes half a header for the end
            raise tarfile.ReadError("a member's header cannot be read")
    except _DAMAGED as error:
        damage.append(_damage(error))


def _sample(
    tar: tarfile.TarFile,
    path: Path,
    name: str,
    key: str,
    parts: list[tuple[str, tarfile.TarInfo]],
    uri: Uri,
) -> Iterator[Row]:
    by_ending = dict(parts)
    pictures = [
        ending for ending in (*_FIRST, *by_ending) if ending in by_ending and ending.split(".")[-1] in _PICTURES
    ]
    if not pictures:
        return
    fields = _json(_text(tar, by_ending.get("json")))
    if not matches(fields, uri.where):
        return
    captions = captions_in(_text(tar, by_ending.get("txt"))) or captions_of(fields.get("caption"))
    member = by_ending[pictures[0]]
    place = within.InTar(name, member.name, member.offset_data, member.size)
    item = Item(
        id_of(f"{name}/{key}"), f"{name}/{member.name}", lambda: reopen.read_tar(path, place),
        stamp=f"{stamp_of(path)}:{member.offset_data}", meta=_plain(fields), within=place,
    )  # fmt: skip
    yield from ((item, caption) for caption in captions or (None,))


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> str:
    if member is None or member.size > _MAX_TEXT:
        return ""
    text = tar.extractfile(member)
    return "" if text is None else text.read().decode("utf-8-sig", "replace")


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
    pictures = [path for path in shards if path.suffix != ".parquet"] or shards
    for path in pictures:
        if path.is_dir():
            yield from _files_shard(path, uri)
        elif path.suffix == ".tar":
            yield from _shard(path, path.name, uri)
        else:
            yield from _parquet_shard(path, uri)


def _files_shard(folder: Path, uri: Uri) -> Iterator[Row]:
    from retrieval.sources import folders

    plain = Uri(str(folder), "folder", str(folder), {}, Options(exclude=uri.options.exclude))
    for item, caption in folders.rows(plain):
        beside = folder / Path(item.uri).with_suffix(".json")
        fields = _json(beside.read_text("utf-8-sig", "replace") if beside.is_file() else "")
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
