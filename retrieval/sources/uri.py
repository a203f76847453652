"""What every kind of source shares: a source taken apart, what was allowed or left out, and a row."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from retrieval.datatypes import Item
from retrieval.errors import BadRequest, Unreachable
from retrieval.sources import values

Row = tuple[Item, str | None]
_COLUMNS = ("image", "url", "caption")  # whose names a table may have otherwise
_TEXT = (*_COLUMNS, "sep", "quote", "encoding")
READING = {
    "csv": _TEXT, "urls": _TEXT, "jsonl": (*_COLUMNS, "encoding"), "parquet": _COLUMNS,
    "hf": (*_COLUMNS, "split", "config", "stream"),
}  # fmt: skip


# (how one is read, what each is read with) -> what is read of each, in their order
Each: TypeAlias = Callable[[Callable[..., Iterable[Any]], Iterable[tuple[Any, ...]]], Iterator[Iterable[Any]]]


def one_by_one(read: Callable[..., Iterable[Any]], parts: Iterable[tuple[Any, ...]]) -> Iterator[Iterable[Any]]:
    """Parts of a source one after the other, each as its rows are asked for."""
    return (read(*part) for part in parts)


@dataclass(frozen=True, slots=True)
class Options:
    """What of a source is left out, and what it may do.

    exclude: globs, as in a .gitignore. include_hidden: also names that start with a dot. urls: pictures may be fetched;
    local_urls: also from this machine and the network it is in. follow: links to folders are followed; where they are
    not, a walk puts those that it passes over into `links`. let_go: folders that are gone or empty may be so. expected:
    folders that other disks were mounted at; a walk puts those where one is into `mounts`. each: how files of many
    pictures are read, where there are several of them. kinds: of files that are taken from folders, as in Item; None
    for all.
    """

    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    urls: bool = False
    local_urls: bool = False
    follow: bool = False
    let_go: bool = False
    links: set[Path] = field(default_factory=set, compare=False, repr=False)
    expected: frozenset[Path] = field(default_factory=frozenset, compare=False, repr=False)
    mounts: set[Path] = field(default_factory=set, compare=False, repr=False)
    each: Each = field(default=one_by_one, compare=False, repr=False)
    kinds: frozenset[str] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Uri:
    """`scheme:path?key=value`, taken apart. text: as it was typed.

    where: column -> the value that rows must have. roots: of several folders, each relative to `path`, the deepest
    folder that holds them all; empty for one source. reading: how it is read, by names in READING. files: pictures that
    were named one by one, relative to `path` as well; where there are no roots, those alone.
    """

    text: str
    scheme: str
    path: str
    where: dict[str, str]
    options: Options = field(default_factory=Options)
    roots: tuple[str, ...] = ()
    reading: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def with_options(self, **options: str) -> str:
        """The source with more options, or others than it has, quoted for the shell: what a message says to type."""
        base, _, query = self.text.partition("?") if self.where or self.reading else (self.text, "", "")
        more = [f"{name}={_quoted(value)}" for name, value in options.items()]
        kept = [part for part in query.split("&") if part and not _says(part, options)]
        return shlex.quote(f"{base}?{'&'.join([*kept, *more])}")

    @property
    def folders(self) -> list[Path]:
        """The folders that are walked, of a source that is one or several; none of one that is files alone."""
        if self.files and not self.roots:
            return []
        return [Path(self.path, root) for root in self.roots or ("",)]

    @property
    def root(self) -> Path | None:
        """The folder that the items' uris are relative to, if they are files or lie in files."""
        if self.scheme in ("folder", "img2dataset"):
            return Path(self.path)
        if self.scheme == "webdataset":
            return pattern_root(self.path)
        return Path(self.path).parent if self.scheme in ("csv", "jsonl", "parquet") else None


def of_places(folders: list[Path], files: list[Path], text: str, options: Options | None = None) -> Uri:
    """Several folders and single files as one source, which is named from the deepest folder that holds them all.

    Files that lie in one of the folders are part of it. Raises BadRequest where nothing holds them all.
    """
    files = [file for file in files if not any(file.is_relative_to(folder) for folder in folders)]
    try:
        common = os.path.commonpath([*folders, *(file.parent for file in files)])
    except ValueError as error:  # two drives
        raise BadRequest(f"{text} have no folder in common: give each an --index of its own") from error
    roots, singles = (
        tuple(sorted({path.relative_to(common).as_posix() for path in paths})) for paths in (folders, files)
    )
    one = not files and len(roots) == 1
    path = str(folders[0]) if one else common
    return Uri(text, "folder", path, {}, options or Options(), () if one else roots, files=singles)


def query_of(scheme: str, query: str, text: str) -> tuple[dict[str, str], dict[str, str]]:
    """What stands behind a source's `?`: (where, reading).

    `name=value` is how the source is read where READING has the name for its scheme, else a filter; `name==value` is
    always a filter, so that a column may be called as an option. A plus is a plus; `%26` is an ampersand in a value.
    Raises BadRequest.
    """
    where: dict[str, str] = {}
    reading: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = (_unquoted(piece, text) for piece in part.partition("="))
        is_filter = name not in READING.get(scheme, ()) or value.startswith("=")
        kept = where if is_filter else reading
        if name in kept:
            raise BadRequest(f"{text} says `{name}` twice: say it once")
        kept[name] = value[1:] if value.startswith("=") else value
    return where, reading


def written(scheme: str, path: str, where: dict[str, str], reading: dict[str, str]) -> str:
    """A source as it can be typed: what `query_of` takes apart."""
    options = [f"{name}={_quoted(value)}" for name, value in reading.items()]
    known = READING.get(scheme, ())
    filters = [
        f"{_quoted(name)}{'==' if name in known or value.startswith('=') else '='}{_quoted(value)}"
        for name, value in where.items()
    ]
    return f"{scheme}:{path}" + ("?" + "&".join(options + filters) if options + filters else "")


def _says(part: str, options: dict[str, str]) -> bool:
    """Does this part of a query give one of the options? One with `==` filters."""
    name, _, value = part.partition("=")
    return unquote(name) in options and not value.startswith("=")


def _unquoted(piece: str, text: str) -> str:
    try:
        return unquote(piece, errors="strict")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{text}: {piece} is not UTF-8: write the letters as they are") from error


def _quoted(value: str) -> str:
    return quote(value, safe=" ;,:/|+!*()'@$")


def pattern_root(pattern: str) -> Path:
    """The folder above the first part of a path that is a pattern, or above the file.

    A part with the signs of a pattern that is there, as it is, is none.
    """
    path = Path(pattern)
    if path.is_dir():
        return path
    parts = path.parts[:-1]
    patterns = (n for n, part in enumerate(parts) if any(sign in part for sign in "{*?["))
    fixed = next((n for n in patterns if not is_folder(Path(*parts[: n + 1]))), len(parts))
    return Path(*parts[:fixed])


def is_folder(path: Path) -> bool:
    """True for a folder; False also where it cannot be looked at, or no file can have that name."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """True for a file; False also where it cannot be looked at, or no file can have that name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def existing_file(uri: Uri) -> Path:
    """The file of a source. Raises BadRequest where there is none."""
    if not Path(uri.path).is_file():
        raise BadRequest(f"no such file: {uri.path}: check the path")
    return Path(uri.path)


def id_of(name: str) -> str:
    """The name as proper Unicode: file names may hold bytes that are none."""
    return name.encode("utf-8", "backslashreplace").decode()


def stamp_of(path: Path) -> str:
    """Size and time of a file: changes when the file does. Empty where there is no file (decoding will say so)."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # the latter: a NUL, or half a character, is in no file's name
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def matches(row: dict[str, Any], where: dict[str, str]) -> bool:
    """True where a row has every value that was asked for."""
    return all(values.says(row.get(column), value) for column, value in where.items())


class Unseen:
    """The content of an item that stands for what cannot be looked at now, and for all that lies below its name.

    doubtful: it may well be nothing; it counts only where an index holds something below it.
    """

    def __init__(self, reason: str, doubtful: bool = False) -> None:
        self.reason, self.doubtful = reason, doubtful

    def __call__(self) -> bytes:
        """Raise Unreachable with the reason."""
        raise Unreachable(self.reason)


def unreadable(name: str, reason: str | Unseen) -> Item:
    """An item that stands for what cannot be read, so that it is listed with what was skipped and the rest goes on."""
    content = reason if isinstance(reason, Unseen) else Unseen(reason)
    return Item(id_of(name), name.replace("\0", "\\x00"), content)
