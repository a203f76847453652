"""Parquet files, read in batches: their rows, and the single cells of a column, in bounded memory.

A file that somebody sends may inflate without bounds, so what comes out of it is held against its size.
"""

import bisect
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pyarrow
import pyarrow.parquet

from retrieval.errors import BadRequest, first_line
from retrieval.sources import arrow

BATCH = 64  # rows that are in memory at once
_PICTURES = 8  # those that may be large
_BUFFER = 1 << 20  # bytes that are read at once
_FREE = 1 << 30  # bytes that any file may become
_FREE_ROWS = 1 << 20
_TIMES = 1000  # and how many times its own size a larger one
# What pyarrow raises on damage, and on hostile files also what its parsing runs into.
_DAMAGED = (pyarrow.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError)


class NoSuchCell(Exception):
    """A file has no such row."""


@contextmanager
def opened(path: Path, metadata: Any = None) -> Iterator[Any]:  # a pyarrow.parquet.ParquetFile, which has no types
    """The file. metadata: its footer, where it was read before. Raises BadRequest where it is none, or is damaged."""
    if not path.is_file():
        raise BadRequest(f"no such file: {path}: check the path")
    try:
        with pyarrow.parquet.ParquetFile(path, metadata=metadata, buffer_size=_BUFFER, pre_buffer=False) as file:
            yield file
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the machine's, not the file's
        raise BadRequest(
            f"{path} cannot be read as parquet ({first_line(error).rstrip(':. ')}): check the file"
        ) from error


class Head(NamedTuple):
    """What the footer of a file says. columns: name -> its type. names: of classes, by column."""

    columns: dict[str, Any]
    rows: int
    names: arrow.Names


def head_of(path: Path) -> Head:
    """Read the footer. Raises BadRequest, also where it promises more than a file of its size could hold."""
    with opened(path) as file:
        schema = file.schema_arrow
        if len(set(schema.names)) < len(schema.names):
            twice = next(name for name in schema.names if schema.names.count(name) > 1)
            raise BadRequest(f"{path} has two columns `{twice}`: rename one of them")
        _require_likely(path, file.metadata)
        return Head({field.name: field.type for field in schema}, file.metadata.num_rows, arrow.class_names_in(schema))


def _require_likely(path: Path, metadata: Any) -> None:
    size = path.stat().st_size
    chunks = [
        metadata.row_group(group).column(place)
        for group in range(metadata.num_row_groups)
        for place in range(metadata.num_columns)
    ]
    most = max(
        sum(chunk.total_uncompressed_size for chunk in chunks), 8 * max((c.num_values for c in chunks), default=0)
    )
    rows_at_most = _FREE_ROWS + 8 * size  # each has a picture of its own, so some bits at least
    if not 0 <= metadata.num_rows <= rows_at_most or most > _FREE + _TIMES * size:
        raise BadRequest(_inflates(path))


def _inflates(path: Path) -> str:
    return f"{path} becomes more than {_TIMES} times its size when it is read: leave it out"


class _Bound:
    """Counts the bytes that came out of a file. Raises BadRequest where no honest file would have that many."""

    def __init__(self, path: Path) -> None:
        self._path, self._left = path, _FREE + _TIMES * path.stat().st_size

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise BadRequest(_inflates(self._path))


def rows(path: Path, head: Head, leave_out: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows as plain values, without columns that hold bytes and without those named. Raises BadRequest."""
    wanted = [
        name for name, kind in head.columns.items() if name not in leave_out and not arrow.holds_bytes(kind)
    ]  # fmt: skip
    if not wanted:
        yield from ({} for _ in range(head.rows))
        return
    bound = _Bound(path)
    with opened(path) as file:
        for batch in file.iter_batches(BATCH, columns=wanted):
            bound.take(batch.nbytes)
            yield from arrow.rows(batch, head.names, str(path))


# ---------------------------------------------------------------- cells


def cell(path: Path, column: str, row: int) -> bytes | str | None:
    """One cell, as `Cells` has it; what is before it in its row group is passed over. Raises BadRequest, NoSuchCell."""
    with opened(path) as file:
        group, first = _group_of(_starts(file.metadata), row)
        return next(islice(_values(path, file, group, column), row - first, None))


def _starts(metadata: Any) -> list[int]:
    """The first row of each row group, and the end of the last."""
    counts = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return list(accumulate(counts, initial=0))


def _group_of(starts: list[int], row: int) -> tuple[int, int]:
    if not 0 <= row < starts[-1]:
        raise NoSuchCell("it has fewer rows")
    group = bisect.bisect_right(starts, row) - 1
    return group, starts[group]


def _values(path: Path, file: Any, group: int, column: str) -> Iterator[bytes | str | None]:
    """The pictures of a row group, a few in memory at a time."""
    bound = _Bound(path)
    for batch in file.iter_batches(_PICTURES, row_groups=[group], columns=[column]):
        bound.take(batch.nbytes)
        yield from map(picture_in, batch.column(column).to_pylist())


def picture_in(value: Any) -> bytes | str | None:
    """A picture as tables have it, bytes or a path, or a struct of either; None where there is none."""
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    return value if isinstance(value, bytes | str) else None


class Cells:
    """The pictures of a column, asked for in any order, from several threads.

    A row group is read once, into a file that has no name, and let go of when as many cells were asked for as it has:
    what is read in order takes the place of one row group, what is read at random (training) that of the column.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column, self._lock = path, column, threading.Lock()
        self._groups: dict[int, _Spooled] = {}
        self._metadata: Any = None
        self._starts: list[int] = []

    def __reduce__(self) -> NoReturn:
        """Another process would read whole row groups for a few of their cells."""
        raise TypeError(f"{self._path} is read by the process that opened it")

    def __call__(self, row: int) -> bytes | str | None:
        """The bytes or the path of a picture; None where the cell has none. Raises BadRequest, OSError."""
        with self._lock:
            if not self._starts:
                with opened(self._path) as file:
                    self._metadata, self._starts = file.metadata, _starts(file.metadata)
            group, first = _group_of(self._starts, row)
            spooled = self._groups.get(group)
            if spooled is None:
                spooled = self._groups[group] = self._spool(group)
            found = spooled.cell(row - first)
            if spooled.is_done:
                self._groups.pop(group).close()
            return found

    def _spool(self, group: int) -> "_Spooled":
        spooled = _Spooled(self._starts[group + 1] - self._starts[group])
        try:
            with opened(self._path, self._metadata) as file:
                for value in _values(self._path, file, group, self._column):
                    spooled.add(value)
        except BadRequest as error:  # what is before the damage can be used
            spooled.damage = error
        return spooled


class _Spooled:
    """The cells of a row group in a temporary file, up to its damage, if it has any."""

    def __init__(self, count: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as this lives
        self._ends = [0]
        self._others: list[str | None] = []  # what is no bytes: a path, "" for none
        self._left = count
        self.damage: BadRequest | None = None

    def add(self, value: bytes | str | None) -> None:
        """Append a cell."""
        content = value if isinstance(value, bytes) else b""
        self._file.write(content)
        self._ends.append(self._ends[-1] + len(content))
        self._others.append(None if isinstance(value, bytes) else value or "")

    def cell(self, place: int) -> bytes | str | None:
        """A cell by its place in the group. Raises BadRequest where the file is damaged there."""
        self._left -= 1
        if self.damage and place >= len(self._others):
            raise self.damage
        other = self._others[place]
        if other is not None:
            return other or None
        self._file.seek(self._ends[place])
        return self._file.read(self._ends[place + 1] - self._ends[place])

    @property
    def is_done(self) -> bool:
        """Were as many cells asked for as there are?"""
        return self._left <= 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
