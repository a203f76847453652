"""mmr.db: its schema, how it is made and how it is opened, and which errors of SQLite say that it is damaged."""

import functools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from indexes import durable, folding, foreign, proof
from indexes.distribution import UPGRADE
from indexes.errors import Damaged, Locked, NewerFormat, NotAnIndex
from indexes.fulltext import table
from indexes.typed import Malformed

FORMAT_VERSION = 3  # format 1 had no proof (first_format.py), format 2 no words (fulltext/)
APPLICATION_ID = 0x6D6D7201  # "mmr" in the header of mmr.db
DATABASE = "mmr.db"
WAIT = 30.0  # seconds, for the commit of another process
CELL = 512 << 20  # bytes of the longest text: a list of all ids is one

_TABLES_1 = """
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
SECOND_FORMAT = """
ALTER TABLE segments DROP COLUMN records_sha256;
ALTER TABLE items ADD COLUMN vector INTEGER;
ALTER TABLE items ADD COLUMN digest INTEGER;
CREATE TABLE proof (
  items INTEGER NOT NULL, dead INTEGER NOT NULL, deaths INTEGER NOT NULL, sha256 TEXT NOT NULL);
"""
_TABLES = {1: _TABLES_1, 2: _TABLES_1 + SECOND_FORMAT, 3: _TABLES_1 + SECOND_FORMAT}  # and the table of words
_MACHINE = {
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
}  # fmt: skip
_PLAIN = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite^_%' ESCAPE '^' ORDER BY type, name"


def create(file: Path, manifest: dict[str, object]) -> None:
    """Make an empty database with that manifest; `file` is never seen half-made."""
    with _made_beside(file) as database:
        database.executescript(f"PRAGMA application_id = {APPLICATION_ID};BEGIN;")
        _make_tables(database, FORMAT_VERSION)
        database.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        proof.begin(database)
        put(database, manifest)
        proof.seal(database)
        database.execute("COMMIT")


def _make_tables(database: sqlite3.Connection, version: int) -> None:
    for statement in filter(str.strip, _TABLES[version].split(";")):  # a script would commit what was begun
        database.execute(statement)
    if version > 2:
        table.create(database)


def copy(source: sqlite3.Connection, file: Path, changes: dict[str, object]) -> None:
    """A copy of a database's committed state, with changes to its manifest; `file` is never seen half-made."""
    with _made_beside(file) as database:
        source.backup(database)
        database.execute("BEGIN")
        put(database, changes)
        if version(database) > 1:
            proof.seal(database)
        database.execute("COMMIT")


def put(database: sqlite3.Connection, values: dict[str, object]) -> None:
    """Set values of the manifest, in a transaction."""
    lines = [(key, json.dumps(value)) for key, value in values.items()]
    database.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?)", lines)


def version(database: sqlite3.Connection) -> int:
    """The format of a database."""
    return database.execute("PRAGMA user_version").fetchone()[0]


def require_plain(database: sqlite3.Connection) -> int:
    """The format of a database. Raises Malformed where its tables are others than mmr makes: a view, a trigger, ..."""
    found = version(database)
    if found not in _TABLES:
        raise Malformed(f"format {found} never was")
    if [(kind, name, _words(name, sql)) for kind, name, sql in database.execute(_PLAIN)] != _schema(found):
        raise Malformed("its tables are not those of an index")
    return found


@functools.cache
def _schema(version: int) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(":memory:")) as database:
        _make_tables(database, version)
        return [(kind, name, _words(name, sql)) for kind, name, sql in database.execute(_PLAIN)]


def _words(name: str, sql: object) -> str:
    """Without what differs between versions of SQLite, which quote the names of FTS5's own tables as they like."""
    said = str(sql).replace("'", "").replace('"', "") if name.startswith("words_") else str(sql)
    return " ".join(said.split())


def is_damage(error: BaseException) -> bool:
    """Does an error of SQLite say that what it reads is not what was written? Else the machine or the call failed."""
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.ProgrammingError):
        return False
    code = getattr(error, "sqlite_errorcode", None)  # None: of Python, for a text that is no UTF-8
    return code is None or code & 0xFF not in _MACHINE


def damaged(folder: Path, what: object) -> Damaged:
    """The error of a database that is not what was written. what: how that is seen, in a few words."""
    said = str(what).replace("\n", " ")
    return Damaged(
        f"{folder / DATABASE} is damaged ({said}): restore it and see what `mmr verify` says, or remove {folder} and "
        "index again"
    )


def in_use(folder: Path) -> Locked:
    """The error of who waited long enough for another process."""
    return Locked(f"another process is writing to {folder}: wait for it, then try again")


def is_busy(error: BaseException) -> bool:
    """Does an error of SQLite say that another process has the database, for longer than was waited?"""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_BUSY


@contextmanager
def telling_damage(folder: Path) -> Iterator[None]:
    """Within it, what SQLite cannot read raises Damaged, what it waits for in vain Locked; all else as it does."""
    try:
        yield
    except (sqlite3.DatabaseError, Malformed) as error:
        if is_busy(error):
            raise in_use(folder) from error
        if isinstance(error, Malformed) or is_damage(error):
            raise damaged(folder, error) from error
        raise


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


def connect(file: Path, wait: float = WAIT) -> sqlite3.Connection:
    """Open an existing database; mode=rw, so that a reader can roll back the journal of a crashed writer.

    SQLite falls back to reading alone where the file system forbids writing. wait: seconds for what others commit.
    """
    database = sqlite3.connect(
        f"file:{quote(str(file.absolute()))}?mode=rw", uri=True, isolation_level=None, timeout=wait,
        check_same_thread=False,  # opened.py has threads take turns
    )  # fmt: skip
    try:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute("PRAGMA synchronous = EXTRA")
        foreign.limit(database, CELL)
        folding.teach(database)
    except sqlite3.DatabaseError:
        database.close()
        with telling_damage(file.parent):
            raise
    if application != APPLICATION_ID:
        database.close()
        raise NotAnIndex(f"{file} was not written by mmr: give another --index")
    if version > FORMAT_VERSION:
        database.close()
        raise NewerFormat(f"{file.parent} has format {version}, this mmr reads up to {FORMAT_VERSION}: run `{UPGRADE}`")
    return database
