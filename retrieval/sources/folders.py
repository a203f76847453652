"""Pictures, clips and sounds in a folder and below it, with what their file says without being opened."""

import os
import posixpath
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from retrieval.datatypes import Item
from retrieval.errors import BadRequest, NothingThere
from retrieval.images import kinds
from retrieval.sources import texts
from retrieval.sources.captions import captions_in
from retrieval.sources.uri import Options, Row, Unseen, Uri, id_of, unreadable
from retrieval.sources.walk import Found, Walk

_MARKS: dict[str, dict[str, Any]] = {"picture": {}, "clip": {"video": True}, "sound": {"sound": True}}


def rows(uri: Uri) -> Iterable[Row]:
    """Each picture, clip or sound, with the lines of the .txt file beside it if there is one. Raises BadRequest."""
    if uri.where:
        raise BadRequest(f"{uri.text}: a folder has no columns: filter with `mmr search --where`, or give a csv")
    return _rows(Path(uri.path), _all_of(uri))


def touched(uri: Uri, paths: Iterable[Path]) -> tuple[tuple[str, ...], list[Row]]:
    """What is there now of these paths, which may be files, texts beside them or folders, there or gone.

    Returns how the ids of all that it may have been start (roots.is_of), and the rows. Raises NothingThere where a
    folder of the source that one lies in is gone or has no picture: then nothing is known of the path.
    """
    root, names = Path(uri.path), _by_folder(uri, paths)
    walk = Walk(uri.options)
    for top in {top for top, _ in names}:
        _is_there(top, False)
    found = [one for (top, folder), some in names.items() for one in walk.at(top, folder, some)]
    rows_now = list(_rows(root, iter(found)))
    for top in {top for top, _ in names}:  # last, as a disk may go while it is looked at
        _begun(walk, top, walk.below(top))
    starts = (
        id_of((folder / name).relative_to(root).as_posix()) for (_, folder), some in names.items() for name in some
    )
    return tuple(start + end for start in starts for end in ("\0", "/")), rows_now


def _by_folder(uri: Uri, paths: Iterable[Path]) -> dict[tuple[Path, Path], set[str]]:
    """(folder of the source, folder) -> names in it that are meant; with a text the pictures that it is beside."""
    found: dict[tuple[Path, Path], set[str]] = {}
    for path in paths:
        top = next(top for top in uri.folders if path.is_relative_to(top))
        found.setdefault((top, path.parent), set()).add(path.name)
    for (_, folder), names in found.items():
        stems = {Path(name).stem for name in names if name.lower().endswith(".txt")}
        with suppress(OSError):
            names |= {path.name for path in (folder.iterdir() if stems else ()) if path.stem in stems}
    return found


def _rows(root: Path, found: Iterator[Found]) -> Iterator[Row]:
    for folder, name, beside in found:
        relative = (folder / name).relative_to(root).as_posix()
        if isinstance(beside, Unseen):
            yield unreadable(relative, beside), None
            continue
        try:
            lines = _captions(folder / name, beside)
        except OSError as error:  # as it is indexed with those that it had, it stays
            yield unreadable(relative, f"its captions cannot be read: {error.strerror or error}"), None
            continue
        except texts.Unsure as error:  # it is a picture all the same
            yield unreadable(f"{relative}: its captions", str(error)), None
            lines = ()
        item = _item(root, relative)
        yield from ((item, line) for line in lines or (None,))


def _all_of(uri: Uri) -> Iterator[Found]:
    """What is found in each folder of a source. Raises NothingThere, before anything is yielded, for one of several
    that holds nothing: a disk that is not mounted must not look like pictures that are gone.
    """
    walk = Walk(uri.options)
    walks = [walk.below(folder) for folder in uri.folders if _is_there(folder, uri.options.let_go)]
    if uri.roots and not uri.options.let_go:
        walks = [_begun(walk, folder, found) for folder, found in zip(uri.folders, walks, strict=True)]
    return chain(*walks, walk.behind_links(), _singles(uri))


def _singles(uri: Uri) -> Iterator[Found]:
    """The files that are named one by one. One that its folder has no more is gone, and not among them."""
    by_folder: dict[Path, list[str]] = {}
    for file in uri.files:
        path = Path(uri.path, file)
        by_folder.setdefault(path.parent, []).append(path.name)
    for folder, names in by_folder.items():
        beside = _names_in(folder)
        if isinstance(beside, Unseen):
            yield from () if uri.options.let_go else ((folder, name, beside) for name in names)
        else:
            yield from ((folder, name, beside) for name in names if name in beside)


def _names_in(folder: Path) -> "frozenset[str] | Unseen":
    try:
        found = frozenset(path.name for path in folder.iterdir())
    except OSError as error:
        return Unseen(f"cannot be read: {error.strerror or error}")
    return found or Unseen("its folder holds nothing: is its disk there?")


def _is_there(folder: Path, may_be_gone: bool) -> bool:
    """True for a folder that can be read. Raises BadRequest, NothingThere."""
    try:
        os.scandir(folder).close()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        if may_be_gone:
            return False
        raise NothingThere(f"no such folder: {folder}: check the path", folder) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadRequest(f"{folder} cannot be read ({reason}): check its permissions and its disk") from error
    return True


def _begun(walk: Walk, folder: Path, found: Iterator[Found]) -> Iterator[Found]:
    """The same, begun with. Raises NothingThere where there is nothing."""
    first = next(found, None)
    if first is not None:
        return chain([first], found)
    if walk.has_links(folder):
        return found
    said = f"{folder} has no pictures: is its disk there? Else name the other folders, with --only"
    raise NothingThere(of_others(folder, walk.options) or said, folder)


def of_others(folder: Path, options: Options) -> str:
    """What to say of a folder that has files of other kinds than are wanted; "" where it has none."""
    if options.kinds is None or next(Walk(replace(options, kinds=None)).below(folder), None) is None:
        return ""
    return only_others(str(folder), options.kinds)


def only_others(source: str, taken: Iterable[str]) -> str:
    """What to say of a source that has files, and none of the kinds that are taken."""
    if "sound" in taken:
        return f"{source} has no sounds but pictures: give an encoder that sees, as --model builtin"
    return (
        f"{source} has no pictures but sounds: give an encoder that hears with --model RUN, as "
        "`mmr train SOUNDS --recipe sound --out RUN` makes it"
    )


def _item(root: Path, name: str) -> Item:
    path = root / name
    kind = kinds.kind(path)
    meta: dict[str, Any] = {"folder": posixpath.dirname(name) or "."} | _MARKS[kind]
    stamp = ""
    try:
        status = path.stat()
        stamp = f"{status.st_size}:{status.st_mtime_ns}"
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
        meta |= {"size": status.st_size, "modified": modified.strftime("%Y-%m-%dT%H:%M:%SZ")}
    except (OSError, ValueError, OverflowError):  # gone, or from a year that no calendar has: decoding will say so
        pass
    return Item(id_of(name), name, path, stamp=stamp, meta=meta, kind=kind)


def _captions(path: Path, beside: frozenset[str]) -> tuple[str, ...]:
    """The lines of the text beside a file, whatever the case of its ending. Raises OSError, Unsure."""
    name = next((name for name in _texts(path) if name in beside), None)
    if name is None:
        return ()
    try:
        return captions_in(texts.sure(path.with_name(name).read_bytes()))
    except (FileNotFoundError, IsADirectoryError):
        return ()


def _texts(path: Path) -> list[str]:
    return [path.stem + ending for ending in (".txt", ".TXT", ".Txt")]
