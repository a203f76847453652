"""The segments of a store: their files, and what its database says of them.

    segments/000001.f16    immutable rows (n, d), little-endian float16

A file is written before the database names it, and removed after the database has forgotten it. A segment that was
replaced is *retired*: those who opened the store before still read it. It is forgotten when none of those is left whom
a lease counts (leases.py), by the next rewriting or a later one.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexes import database, durable, items, proof
from indexes.errors import Damaged
from indexes.items import Record
from indexes.typed import Malformed

FOLDER_NAME = "segments"


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
    """The file of a segment that no commit names yet. vectors: the checksum of each row (proof.py)."""

    number: int
    sha256: str
    vectors: list[int]


def write(path: Path, number: int, rows: np.ndarray) -> Written:
    """Write rows (n, d) as the file of a new segment, durably."""
    rows = np.ascontiguousarray(rows, "<f2")
    content = rows.tobytes()
    durable.write_bytes(file_of(path, number), content)
    return Written(number, hashlib.sha256(content).hexdigest(), proof.of_vectors(rows))


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


def are_waiting(connection: sqlite3.Connection, generation: int) -> bool:
    """Are there segments that were retired by that generation, and before the last rewriting?"""
    sql = "SELECT 1 FROM segments WHERE retired <= ? AND retired < (SELECT max(retired) FROM segments)"
    return bool(connection.execute(sql, (generation,)).fetchone())


# ---------------------------------------------------------------- within a transaction of the writer's


def insert(
    connection: sqlite3.Connection, written: Written, first_row: int, records: Sequence[Record], generation: int
) -> None:
    """Name a file that was written, and its records; rows are numbered from `first_row` on."""
    items.insert(connection, first_row, records, written.vectors, generation)
    connection.execute(
        "INSERT INTO segments (id, first_row, rows, sha256) VALUES (?, ?, ?, ?)",
        (written.number, first_row, len(records), written.sha256),
    )
    database.put(connection, {"next_row": first_row + len(records)})


def retire_all(connection: sqlite3.Connection, generation: int, oldest: int) -> None:
    """Every segment is replaced, and every item in them dies. What was retired by generation `oldest` is forgotten."""
    forget(connection, oldest)
    items.bury_all(connection, generation)
    connection.execute("UPDATE segments SET retired = ? WHERE retired IS NULL", (generation,))
    proof.count_retired(connection)


def forget(connection: sqlite3.Connection, oldest: int) -> None:
    """Remove the segments that were retired by generation `oldest`, with their items: no reader asks for them."""
    items.forget_retired(connection, oldest)
    connection.execute("DELETE FROM segments WHERE retired <= ?", (oldest,))


def forget_waiting(connection: sqlite3.Connection, oldest: int) -> None:
    """The same, but for those that the last rewriting replaced: whom no lease counts may still read them."""
    (last,) = connection.execute("SELECT max(retired) FROM segments").fetchone()
    if last is not None:
        forget(connection, min(oldest, last - 1))
