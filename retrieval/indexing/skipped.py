"""The list of what could not be indexed, in the index's folder: a line each, the item's id and why.

It is what a person reads, and what tells a file that was looked at in vain from one that is new.
"""

from collections.abc import Sequence
from pathlib import Path

from indexes import durable
from retrieval.sources.uri import id_of

FILE = "skipped.txt"
_ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})  # names may hold what ends a line


def write(index: Path, skipped: Sequence[tuple[str, str]], starts: tuple[str, ...] = ("",)) -> Path:
    """List these (uri, reason) in place of those whose ids start so; the file. None is made for nothing."""
    file = index / FILE
    lines = [line for line in _lines(file) if not line.startswith(starts)]
    lines += [f"{_written(uri)}\t{reason.translate(_ESCAPES)}" for uri, reason in skipped]
    if lines or file.exists():
        durable.write_bytes(file, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    return file


class Skipped:
    """The items that are on the list of an index."""

    def __init__(self, index: Path) -> None:
        self._names = {line.partition("\t")[0] for line in _lines(index / FILE)}

    def __bool__(self) -> bool:
        return bool(self._names)

    def __contains__(self, item: str) -> bool:
        return bool(self._names) and _written(item) in self._names


def _written(uri: str) -> str:
    return id_of(uri).translate(_ESCAPES)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").split("\n")[:-1]
    except OSError:
        return []
