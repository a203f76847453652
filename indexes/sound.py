"""Are the stored vectors what was written? Asked by `verify`, and before any of them is written again.

A segment has a SHA-256, and each of its rows a checksum: the first is quickly compared, the second names the rows. An
index that was of format 1 when its segment was damaged has none of those rows; all of them are named then.
"""

import sqlite3
from collections.abc import Iterable, Iterator

import numpy as np

from indexes import database, items, proof, segment_files
from indexes.kernels import as_float32
from indexes.segments import Segment
from indexes.typed import Malformed

_LONG = 0.01  # what float16 leaves of a unit length is far closer
NAMED = 5  # items in one line


def damaged(connection: sqlite3.Connection, segment: Segment, only: np.ndarray | None = None) -> list[int]:
    """The living rows of a segment that are not what was written, or no unit vectors; ascending.

    only: these of them are looked at, int64 ascending. In a transaction.
    """
    blocks = segment.stored(segment_files.AT_ONCE) if only is None else _some(segment, only)
    bad = {row for rows, vectors in blocks for row in rows[~_are_unit(vectors)].tolist()}
    known = _checksums(connection, only) if only is not None else {}
    if only is None or len(known) < len(only):
        if matches(connection, segment):
            return sorted(bad)
        only = segment.alive() if only is None else only
        known = _checksums(connection, only)
    for row in only.tolist():
        if known.get(row) != proof.of_vectors(segment.vectors[row - segment.first_row][None])[0]:
            bad.add(row)
    return sorted(bad)


def matches(connection: sqlite3.Connection, segment: Segment) -> bool:
    """Is a segment, deleted rows included, what was written?"""
    said = connection.execute("SELECT sha256 FROM segments WHERE first_row = ?", (segment.first_row,)).fetchone()
    return said is not None and segment_files.sha256_of(segment.vectors) == said[0]


def names(connection: sqlite3.Connection, rows: Iterable[int]) -> list[str]:
    """What the items of rows are called."""
    return [_name(connection, row) for row in rows]


def listed(found: list[str], count: int) -> str:
    """The first names of so many, for a message."""
    shown = ", ".join(found[:NAMED])
    return shown if count <= NAMED else f"{shown} and {count - NAMED} more"


def _name(connection: sqlite3.Connection, row: int) -> str:
    try:
        record = items.record(connection, row)
    except Malformed:
        record = None
    return record.id if record else f"row {row}"


def _checksums(connection: sqlite3.Connection, rows: np.ndarray) -> dict[int, int]:
    """row -> its checksum, of those that have one."""
    if database.version(connection) < 2 or not len(rows):
        return {}
    if len(rows) <= items.LOOKED_UP:
        asked, values = f"row IN ({', '.join('?' * len(rows))})", rows.tolist()
    else:
        asked, values = "row BETWEEN ? AND ?", [int(rows[0]), int(rows[-1])]
    return dict(connection.execute(f"SELECT row, vector FROM items WHERE vector IS NOT NULL AND {asked}", values))


def _some(segment: Segment, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows, vectors float16) of some rows of a segment, as many at once as a rewriting has."""
    for start in range(0, len(rows), segment_files.AT_ONCE):
        part = rows[start : start + segment_files.AT_ONCE]
        yield part, segment.vectors[part - segment.first_row]


def _are_unit(vectors: np.ndarray) -> np.ndarray:
    some = as_float32(vectors)
    return np.abs(np.einsum("nd,nd->n", some, some) - 1) < 2 * _LONG  # NaN fails as well
