"""The segments of a store: their files, and what its database says of them.

    segments/000001.f16    immutable rows (n, d), little-endian float16

A file is written before the database names it, and removed after the database has forgotten it. A segment that was
replaced is *retired*: those who opened the store before still read it. It is forgotten when none of those is left whom
a lease counts (leases.py), by the next rewriting or a later one.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from indexes import database, durable, proof
from indexes.errors import Damaged
from indexes.typed import Malformed

FOLDER_NAME = "segments"
AT_ONCE = 8192  # rows that a rewriting has in memory, whatever the store holds


def file_of(path: Path, number: int) -> Path:
    """The file of that segment in the store at `path`."""
    return path / FOLDER_NAME / f"{number:06d}.f16"


def files(connection: sqlite3.Connection, path: Path) -> set[Path]:
    """The files that the database names, those of retired segments among them."""
    return {file_of(path, number) for (number,) in connection.execute("SELECT id FROM segments")}


def next_number(connection: sqlite3.Connection) -> int:
    """The number of a new segment."""
    return connection.execute("SELECT coalesce(max(id), 0) + 1 FROM segments").fetchone()[0]


@dataclass(frozen=True, slots=True)
class Written:
    """The file of a segment that no commit names yet."""

    number: int
    rows: int
    sha256: str


def write(path: Path, number: int, blocks: Iterable[np.ndarray]) -> Written:
    """Write blocks of rows (n, d), one after the other, as the file of a new segment, durably."""
    sha256, rows = hashlib.sha256(), 0

    def each(file: BinaryIO) -> None:
        nonlocal rows
        for block in blocks:
            content = np.ascontiguousarray(block, "<f2").view(np.uint8).data
            file.write(content)
            sha256.update(content)
            rows += len(block)

    durable.write_file(file_of(path, number), each)
    return Written(number, rows, sha256.hexdigest())


def copy(connection: sqlite3.Connection, path: Path, other: Path) -> None:
    """Copy the files of all segments that are not retired into the store's folder `other`, durably."""
    for number, _, _ in living(connection):
        durable.copy_file(file_of(path, number), file_of(other, number))


def living(connection: sqlite3.Connection) -> list[tuple[int, int, int]]:
    """(number, first row, rows) of the segments that are not retired, by their rows. Raises Malformed."""
    sql = "SELECT id, first_row, rows FROM segments WHERE retired IS NULL ORDER BY first_row"
    found = connection.execute(sql).fetchall()
    end = 0
    for number, first_row, count in found:
        if not (isinstance(count, int) and isinstance(first_row, int) and count > 0 and first_row >= end):
            raise Malformed(f"segment {number} is of rows that cannot be")
        end = first_row + count
    return found


def mapped_rows(path: Path, number: int, count: int, dim: int) -> np.ndarray:
    """The rows (count, dim) float16 where they lie. Raises Damaged where the file is missing or of another length."""
    file, expected = file_of(path, number), count * dim * 2
    size = file.stat().st_size if file.is_file() else -1
    if size != expected:
        what = "is missing" if size < 0 else f"has {size} bytes instead of {expected}"
        raise Damaged(f"{file} {what}: restore it and see what `mmr verify` says, or remove {path} and index again")
    return np.memmap(file, "<f2", "r", shape=(count, dim))


def sha256_of(rows: np.ndarray) -> str:
    """The SHA-256 of mapped rows, as that of their file."""
    return hashlib.sha256(rows.view(np.uint8).data).hexdigest()


def are_there(connection: sqlite3.Connection, first_row: int) -> bool:
    """Are the segments of a generation, the first of which begins there, not forgotten yet? All are at once."""
    return bool(connection.execute("SELECT 1 FROM segments WHERE first_row = ?", (first_row,)).fetchone())


def waiting(connection: sqlite3.Connection, generation: int) -> int | None:
    """The last generation up to that one by which segments were retired; None where there are none.

    Those that the last rewriting replaced do not count: whom no lease counts may still read them.
    """
    sql = "SELECT max(retired) FROM segments WHERE retired <= ? AND retired < (SELECT max(retired) FROM segments)"
    return connection.execute(sql, (generation,)).fetchone()[0]


def parts(connection: sqlite3.Connection, retired_by: int | None = None) -> Iterator[tuple[int, int]]:
    """(first, end) of rows, AT_ONCE at most, of the segments that are read; or of those retired by a generation."""
    sql = f"SELECT first_row, rows FROM segments WHERE retired {'IS' if retired_by is None else '<='} ? ORDER BY 1"
    for first_row, count in connection.execute(sql, (retired_by,)).fetchall():
        for first in range(first_row, first_row + count, AT_ONCE):
            yield first, min(first + AT_ONCE, first_row + count)


# ---------------------------------------------------------------- within a transaction of the writer's


def insert(connection: sqlite3.Connection, written: Written, first_row: int) -> None:
    """Name a file that was written; its rows are numbered from `first_row` on."""
    connection.execute(
        "INSERT INTO segments (id, first_row, rows, sha256) VALUES (?, ?, ?, ?)",
        (written.number, first_row, written.rows, written.sha256),
    )
    database.put(connection, {"next_row": first_row + written.rows})


def retire_all(connection: sqlite3.Connection, generation: int) -> None:
    """Every segment is replaced; the items in them are dead."""
    connection.execute("UPDATE segments SET retired = ? WHERE retired IS NULL", (generation,))
    proof.count_retired(connection)


def forget(connection: sqlite3.Connection, oldest: int) -> None:
    """Remove the segments that were retired by generation `oldest`, whose items are gone: no reader asks for them."""
    connection.execute("DELETE FROM segments WHERE retired <= ?", (oldest,))
