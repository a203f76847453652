"""mmr.db: its schema, how it is made and how it is opened."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from indexes import durable, folding
from indexes.distribution import UPGRADE
from indexes.errors import Damaged, NewerFormat, NotAnIndex

FORMAT_VERSION = 1
APPLICATION_ID = 0x6D6D7201  # "mmr" in the header of mmr.db
DATABASE = "mmr.db"

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (
  id INTEGER PRIMARY KEY, first_row INTEGER NOT NULL UNIQUE, rows INTEGER NOT NULL, sha256 TEXT NOT NULL,
  records_sha256 TEXT NOT NULL, retired INTEGER);
CREATE TABLE items (
  row INTEGER PRIMARY KEY, id TEXT NOT NULL, stamp TEXT NOT NULL, fields TEXT NOT NULL,
  born INTEGER NOT NULL, died INTEGER);
CREATE UNIQUE INDEX items_alive ON items (id) WHERE died IS NULL;
CREATE INDEX items_dead ON items (row, died) WHERE died IS NOT NULL;
"""


def create(file: Path, manifest: dict[str, object]) -> None:
    """Make an empty database with that manifest; `file` is never seen half-made."""
    with _made_beside(file) as database:
        database.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        put(database, manifest)


def copy(source: sqlite3.Connection, file: Path, changes: dict[str, object]) -> None:
    """A copy of a database's committed state, with changes to its manifest; `file` is never seen half-made."""
    with _made_beside(file) as database:
        source.backup(database)
        put(database, changes)


def put(database: sqlite3.Connection, values: dict[str, object]) -> None:
    """Set values of the manifest, in the transaction there is or in one of their own."""
    lines = [(key, json.dumps(value)) for key, value in values.items()]
    within = database.in_transaction
    if not within:
        database.execute("BEGIN")
    database.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?)", lines)
    if not within:
        database.execute("COMMIT")


@contextmanager
def _made_beside(file: Path) -> Iterator[sqlite3.Connection]:
    """A database under another name, which gets its own once it is whole and durable."""
    beside = file.with_name(file.name + ".partial")
    for leftover in (beside, Path(f"{beside}-journal")):
        leftover.unlink(missing_ok=True)
    database = sqlite3.connect(beside, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = EXTRA")
        yield database
    finally:
        database.close()
    beside.replace(file)
    durable.sync_folder(file.parent)


def connect(file: Path) -> sqlite3.Connection:
    """Open an existing database; mode=rw, so that a reader can roll back the journal of a crashed writer.

    SQLite falls back to reading alone where the file system forbids writing.
    """
    database = sqlite3.connect(
        f"file:{quote(str(file.absolute()))}?mode=rw", uri=True, isolation_level=None, timeout=30,
        check_same_thread=False,  # opened.py has threads take turns
    )  # fmt: skip
    try:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute("PRAGMA synchronous = EXTRA")
        folding.teach(database)
    except sqlite3.DatabaseError as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise Damaged(f"{file} is damaged ({error}): restore it, or remove {file.parent} and index again") from error
    if application != APPLICATION_ID:
        database.close()
        raise NotAnIndex(f"{file} was not written by mmr: give another --index")
    if version > FORMAT_VERSION:
        database.close()
        raise NewerFormat(f"{file.parent} has format {version}, this mmr reads up to {FORMAT_VERSION}: run `{UPGRADE}`")
    return database
