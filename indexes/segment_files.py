"""The segments of a store: their files, and what its database says of them.

    segments/000001.f16    immutable rows (n, d), little-endian float16

A file is written before the database names it, and removed after the database has forgotten it. A segment that was
replaced is *retired*: those who opened the store before still read it. It is forgotten when none of those is left whom
a lease counts (leases.py), by the next rewriting or a later one.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexes import database, durable, items
from indexes.errors import Damaged
from indexes.items import Record

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


def write(path: Path, number: int, rows: np.ndarray) -> tuple[int, str]:
    """Write rows (n, d) as the file of a new segment, durably: its number and its SHA-256. No commit names it yet."""
    content = rows.astype("<f2", copy=False).tobytes()
    durable.write_bytes(file_of(path, number), content)
    return number, hashlib.sha256(content).hexdigest()


def copy(connection: sqlite3.Connection, path: Path, other: Path) -> None:
    """Copy the files of all segments that are not retired into the store's folder `other`, durably."""
    for number, _, _ in living(connection):
        durable.copy_file(file_of(path, number), file_of(other, number))


def living(connection: sqlite3.Connection) -> list[tuple[int, int, int]]:
    """(number, first row, rows) of the segments that are not retired, by their rows."""
    sql = "SELECT id, first_row, rows FROM segments WHERE retired IS NULL ORDER BY first_row"
    return connection.execute(sql).fetchall()


def mapped_rows(path: Path, number: int, count: int, dim: int) -> np.ndarray:
    """The rows (count, dim) float16 where they lie. Raises Damaged where the file is missing or of another length."""
    file, expected = file_of(path, number), count * dim * 2
    size = file.stat().st_size if file.is_file() else -1
    if size != expected:
        what = "is missing" if size < 0 else f"has {size} bytes instead of {expected}"
        raise Damaged(f"{file} {what}: restore it, or remove {path} and index again")
    return np.memmap(file, "<f2", "r", shape=(count, dim))


def are_there(connection: sqlite3.Connection, first_row: int) -> bool:
    """Are the segments of a generation, the first of which begins there, not forgotten yet? All are at once."""
    return bool(connection.execute("SELECT 1 FROM segments WHERE first_row = ?", (first_row,)).fetchone())


def are_waiting(connection: sqlite3.Connection, generation: int) -> bool:
    """Are there segments that were retired by that generation, and before the last rewriting?"""
    sql = "SELECT 1 FROM segments WHERE retired <= ? AND retired < (SELECT max(retired) FROM segments)"
    return bool(connection.execute(sql, (generation,)).fetchone())


def problems(connection: sqlite3.Connection, path: Path, generation: int, next_row: int) -> list[str]:
    """Compare records and rows of a generation, which are below `next_row`, with their checksums: a line a problem."""
    found = []
    sql = (
        "SELECT id, sha256, first_row, rows, records_sha256 FROM segments"
        " WHERE (retired IS NULL OR retired > ?) AND first_row < ?"
    )
    for number, sha256, first, count, records in connection.execute(sql, (generation, next_row)).fetchall():
        file = file_of(path, number)
        if items.digest(connection, first, count) != records:
            found.append(f"{database.DATABASE}: the records of rows {first} to {first + count - 1} were changed")
        if not file.is_file():
            found.append(f"{FOLDER_NAME}/{file.name} is missing")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            found.append(f"{FOLDER_NAME}/{file.name} does not match its checksum")
    return found


# ---------------------------------------------------------------- within a transaction of the writer's


def insert(
    connection: sqlite3.Connection, written: tuple[int, str], first_row: int, records: Sequence[Record],
    generation: int,
) -> None:  # fmt: skip
    """Name a file that was written, and its records; rows are numbered from `first_row` on."""
    number, sha256 = written
    items.insert(connection, first_row, records, generation)
    connection.execute(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?, NULL)",
        (number, first_row, len(records), sha256, items.digest(connection, first_row, len(records))),
    )
    database.put(connection, {"next_row": first_row + len(records)})


def retire_all(connection: sqlite3.Connection, generation: int, oldest: int) -> None:
    """Every segment is replaced, and every item in them dies. What was retired by generation `oldest` is forgotten."""
    forget(connection, oldest)
    items.bury_all(connection, generation)
    connection.execute("UPDATE segments SET retired = ? WHERE retired IS NULL", (generation,))


def forget(connection: sqlite3.Connection, oldest: int) -> None:
    """Remove the segments that were retired by generation `oldest`, with their items: no reader asks for them."""
    items.forget_retired(connection, oldest)
    connection.execute("DELETE FROM segments WHERE retired <= ?", (oldest,))


def forget_waiting(connection: sqlite3.Connection, oldest: int) -> None:
    """The same, but for those that the last rewriting replaced: whom no lease counts may still read them."""
    (last,) = connection.execute("SELECT max(retired) FROM segments").fetchone()
    if last is not None:
        forget(connection, min(oldest, last - 1))
