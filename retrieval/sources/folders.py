"""Pictures and clips in a folder and below it, with what their file says without being opened."""

import os
import posixpath
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.datatypes import Item
from retrieval.errors import BadRequest
from retrieval.images import kinds
from retrieval.sources import texts
from retrieval.sources.captions import captions_in
from retrieval.sources.uri import Options, Row, Uri, id_of, unreadable

if TYPE_CHECKING:
    import pathspec

Found = tuple[Path, str, "set[str] | str"]  # as `walk` yields it
IGNORE_FILE = ".mmrignore"
# What cameras, network disks, systems and programs keep beside pictures, and what is none of a person's.
_JUNK = frozenset(
    name.lower()
    for name in ("@eaDir", "#recycle", "#snapshot", ".thumbnails", ".thumb", ".git", ".hg", ".svn", "node_modules",
                 "__pycache__", "__MACOSX", "System Volume Information", "$RECYCLE.BIN", "lost+found", ".Trash",
                 ".Trashes", ".Spotlight-V100", ".fseventsd", ".venv", ".cache")
)  # fmt: skip


def rows(uri: Uri) -> Iterable[Row]:
    """Each picture or clip, with the lines of the .txt file beside it if there is one. Raises BadRequest."""
    for folder in uri.folders:
        if not folder.is_dir():
            raise BadRequest(f"no such folder: {folder}: check the path")
    if uri.where:
        raise BadRequest(f"{uri.text}: a folder has no columns: filter with `mmr search --where`, or give a csv")
    root = Path(uri.path)
    for folder, name, beside in _all_of(uri):
        relative = (folder / name).relative_to(root).as_posix()
        item = unreadable(relative, beside) if isinstance(beside, str) else _item(root, relative)
        lines = _captions(folder / name, beside) if isinstance(beside, set) else ()
        yield from ((item, line) for line in lines or (None,))


def _all_of(uri: Uri) -> Iterator[Found]:
    """What is found in each folder of a source. Raises BadRequest, before anything is yielded, for one of several that
    holds nothing: a disk that is not mounted must not look like pictures that are gone.
    """
    walks = [walk(folder, uri.options) for folder in uri.folders]
    if not uri.roots:
        return walks[0]
    begun = []
    for folder, found in zip(uri.folders, walks, strict=True):
        first = next(found, None)
        if first is None:
            raise BadRequest(f"{folder} has no pictures: is its disk there? Else name the other folders, with --only")
        begun.append(chain([first], found))
    return chain.from_iterable(begun)


def _item(root: Path, name: str) -> Item:
    path = root / name
    kind = kinds.kind(path)
    meta: dict[str, Any] = {"folder": posixpath.dirname(name) or "."} | ({"video": True} if kind == "clip" else {})
    stamp = ""
    try:
        status = path.stat()
        stamp = f"{status.st_size}:{status.st_mtime_ns}"
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
        meta |= {"size": status.st_size, "modified": modified.strftime("%Y-%m-%dT%H:%M:%SZ")}
    except (OSError, ValueError, OverflowError):  # gone, or from a year that no calendar has: decoding will say so
        pass
    return Item(id_of(name), name, path, stamp=stamp, meta=meta, kind=kind)


def _captions(path: Path, beside: set[str]) -> tuple[str, ...]:
    sidecar = path.with_suffix(".txt")
    if sidecar.name not in beside:
        return ()
    try:
        return captions_in(texts.read(sidecar))
    except OSError:
        return ()


def walk(root: Path, options: Options) -> Iterator[Found]:
    """(folder, file name, all names of that folder) in the order of names; (folder, "", reason) for one not readable.

    Hidden names, what programs keep beside pictures, and what --exclude or an .mmrignore names are left out. Links to
    folders are not followed, so no loop is walked; links to files are.
    """
    failed: list[OSError] = []
    rules = Rules(root, options)
    for here, subfolders, files in os.walk(root, onerror=failed.append):
        folder = Path(here)
        names = set(files)
        if IGNORE_FILE in names:
            rules.read(folder)
        subfolders[:] = sorted(name for name in subfolders if rules.wants_folder(folder, name))
        yield from ((folder, name, names) for name in sorted(files) if rules.wants_file(folder, name))
        while failed:
            error = failed.pop()
            yield Path(error.filename), "", f"cannot be read: {error.strerror}"


class Rules:
    """What is left out of a walk. A nearer .mmrignore has the last word, as with git."""

    def __init__(self, root: Path, options: Options) -> None:
        self._root, self._hidden = root, options.include_hidden
        self._excluded = _patterns(options.exclude)
        self._files: dict[Path, pathspec.GitIgnoreSpec | None] = {}

    def read(self, folder: Path) -> None:
        """Take in the ignore file of a folder."""
        try:
            lines = texts.read(folder / IGNORE_FILE).splitlines()
        except OSError:
            return
        self._files[folder] = _patterns(lines)

    def wants_folder(self, folder: Path, name: str) -> bool:
        """True for a folder that is walked."""
        junk = name.lower() in _JUNK or name.endswith(".mmr")
        return not junk and self._wants(folder, name, "/")

    def wants_file(self, folder: Path, name: str) -> bool:
        """True for a file that is an item."""
        ending = "." + name.rpartition(".")[2].lower()
        return (ending in kinds.PICTURES or ending in kinds.CLIPS) and self._wants(folder, name, "")

    def _wants(self, folder: Path, name: str, slash: str) -> bool:
        if name.startswith(".") and not self._hidden:
            return False
        path = folder / name
        if self._excluded and self._excluded.match_file(path.relative_to(self._root).as_posix() + slash):
            return False
        for above in (folder, *folder.parents) if self._files else ():
            patterns = self._files.get(above)
            if patterns is not None:
                verdict = patterns.check_file(path.relative_to(above).as_posix() + slash).include
                if verdict is not None:
                    return not verdict
            if above == self._root:
                break
        return True


def _patterns(lines: Iterable[str]) -> "pathspec.GitIgnoreSpec | None":
    """The globs, None where there is none: pathspec is imported where it is needed."""
    lines = [line for line in lines if line.strip()]
    if not lines:
        return None
    import pathspec

    try:
        return pathspec.GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise BadRequest(f"an exclude pattern makes no sense ({error}): write globs, as in a .gitignore") from error
