"""Format 1, which had no proof (proof.py): what could be compared of it, and how it becomes format 2.

The first commit of this version does that. Nothing is taken for granted on the way: where a record is not what was
written the commit is refused, and rows of a segment that is not get no checksum, so that they stay damaged.
"""

import hashlib
import sqlite3
from pathlib import Path

from indexes import database, proof, segment_files
from indexes.errors import Damaged
from indexes.typed import Malformed


def problems(connection: sqlite3.Connection) -> list[str]:
    """Compare the records of each segment with their checksum: a line a problem."""
    found = []
    sql = "SELECT first_row, rows, records_sha256 FROM segments"
    for first, count, sha256 in connection.execute(sql).fetchall():
        if _digest(connection, first, count) != sha256:
            found.append(f"the records of rows {first} to {first + count - 1} were changed")
    return found


def _digest(connection: sqlite3.Connection, first_row: int, count: int) -> str:
    """SHA-256 of the records of these rows."""
    sha256 = hashlib.sha256()
    sql = "SELECT row, id, stamp, fields FROM items WHERE row >= ? AND row < ? ORDER BY row"
    for line in connection.execute(sql, (first_row, first_row + count)):
        sha256.update("\0".join(map(str, line)).encode("utf-8", "surrogatepass"))
    return sha256.hexdigest()


def upgrade(connection: sqlite3.Connection, path: Path, dim: int) -> None:
    """Make a store at `path` one of format 2, in a transaction of its writer's; it is not sealed yet.

    Raises Malformed where a record is not what was written.
    """
    if found := problems(connection):
        raise Malformed(found[0])
    for statement in filter(str.strip, database.SECOND_FORMAT.split(";")):
        connection.execute(statement)
    connection.execute("PRAGMA user_version = 2")
    for number, first, count, sha256 in connection.execute(
        "SELECT id, first_row, rows, sha256 FROM segments"
    ).fetchall():
        _give_checksums(connection, first, _vectors(path, number, count, dim, sha256), count)
    proof.begin(connection)


def _vectors(path: Path, number: int, count: int, dim: int, sha256: str) -> list[int] | None:
    """The checksums of a segment's rows; None where it is not what was written, or gone."""
    try:
        rows = segment_files.mapped_rows(path, number, count, dim)
    except Damaged:
        return None
    return proof.of_vectors(rows) if segment_files.sha256_of(rows) == sha256 else None


def _give_checksums(connection: sqlite3.Connection, first: int, vectors: list[int] | None, count: int) -> None:
    sql = "SELECT row, id, stamp, fields, born FROM items WHERE row >= ? AND row < ?"
    lines = []
    for row, name, stamp, fields, born in connection.execute(sql, (first, first + count)):
        vector = None if vectors is None else vectors[row - first]
        lines.append((vector, proof.of_item(row, name, stamp, fields, born, vector), row))
    connection.executemany("UPDATE items SET vector = ?, digest = ? WHERE row = ?", lines)
