"""Stores as versions before this one wrote them."""

import sqlite3
from contextlib import closing

from indexes import database, first_format, proof


def prove(connection):
    """Give what was changed in a database by hand the proof that its own version would have given it."""
    for line in connection.execute(f"SELECT {proof.ITEM} FROM items").fetchall():
        connection.execute("UPDATE items SET digest = ? WHERE row = ?", (proof.of_item(*line[:-1]), line[0]))
    connection.execute("DELETE FROM proof")
    proof.begin(connection)
    proof.seal(connection)


def second(path):
    """The store there as format 2 had it, without words."""
    with closing(sqlite3.connect(path / "mmr.db", isolation_level=None)) as connection:
        connection.execute("DROP TABLE words")
        connection.execute("PRAGMA user_version = 2")
    return path


def first(path):
    """The store there as format 1 had it."""
    second(path)
    with closing(sqlite3.connect(path / "mmr.db", isolation_level=None)) as connection:
        connection.execute("ALTER TABLE segments RENAME TO was")
        connection.executescript(
            "BEGIN; DROP INDEX items_alive; DROP INDEX items_dead; ALTER TABLE items RENAME TO items2;"
            "DROP TABLE proof; ALTER TABLE manifest RENAME TO manifest2;" + database._TABLES_1 +
            "INSERT INTO manifest SELECT * FROM manifest2; DROP TABLE manifest2;"
            "INSERT INTO items SELECT row, id, stamp, fields, born, died FROM items2; DROP TABLE items2;"
            "INSERT INTO segments SELECT id, first_row, rows, sha256, '', retired FROM was; DROP TABLE was;"
            "PRAGMA user_version = 1; COMMIT"
        )  # fmt: skip
        for number, row, count in connection.execute("SELECT id, first_row, rows FROM segments").fetchall():
            sha256 = first_format._digest(connection, row, count)
            connection.execute("UPDATE segments SET records_sha256 = ? WHERE id = ?", (sha256, number))
    return path
