"""Store: a folder that holds vectors and their records, and survives anything.

    mmr.db                 SQLite (rollback journal, synchronous=EXTRA): the commit log and the records
    segments/000001.f16    immutable rows (n, d), little-endian float16; length and SHA-256 are in mmr.db
    lock                   held by the one writer

A commit writes the segment, fsyncs it and its folder, and then one SQLite transaction names it: a crash leaves the old
state or the new one, and at worst an orphan file that the next writer removes. Rows are numbered once and never reused;
each carries the generation it was born and died in, so a reader stays on the state it opened without a long
transaction. Update is delete and add under one id, in one transaction.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import filelock
import numpy as np

from indexes import durable, exact
from indexes.errors import Damaged, Locked, NewerFormat, NotAnIndex, StoreError

FORMAT_VERSION = 1
APPLICATION_ID = 0x6D6D7201  # "mmr" in the header of mmr.db
DATABASE = "mmr.db"
COMPACT_FROM_SEGMENTS = 32

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (
  id INTEGER PRIMARY KEY, first_row INTEGER NOT NULL UNIQUE, rows INTEGER NOT NULL, sha256 TEXT NOT NULL,
  retired INTEGER);
CREATE TABLE items (
  row INTEGER PRIMARY KEY, id TEXT NOT NULL, stamp TEXT NOT NULL, fields TEXT NOT NULL,
  born INTEGER NOT NULL, died INTEGER);
CREATE UNIQUE INDEX items_alive ON items (id) WHERE died IS NULL;
CREATE INDEX items_dead ON items (row, died) WHERE died IS NOT NULL;
"""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a row. id: the item's stable name. stamp: opaque, changes when the item does. fields: JSON."""

    id: str
    stamp: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


class Store:
    """Rows and records in a folder. `create` makes one, `open` reads one, `open(write=True)` also changes it."""

    def __init__(self, path: Path, database: sqlite3.Connection, lock: filelock.BaseFileLock | None) -> None:
        self.path = path
        self._database = database
        self._lock = lock
        self._copies: dict[int, object] = {}  # of rows in low precision, by a segment's first row: exact.py fills it
        self._load()

    # ---------------------------------------------------------------- open, create, close

    @classmethod
    def create(cls, path: Path | str, dim: int, **manifest: object) -> "Store":
        """Make an empty store for rows of `dim` numbers and open it for writing.

        manifest: what the artefact must remember of its making (JSON values), its encoder above all.
        Raises NotAnIndex if the folder holds something else, Locked if another process is writing to it.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise NotAnIndex(f"{path} is a file, not a folder: give another --index")
        if path.is_dir() and not _is_unborn(path):
            raise NotAnIndex(f"{path} exists and is not empty: give another --index")
        durable.make_folder(path.absolute() / "segments")
        lock = _acquire(path)
        try:
            _write_empty_database(path / DATABASE, {"dim": dim, "generation": 0, "next_row": 0, **manifest})
        except BaseException:
            lock.release()
            raise
        return cls(path, _connect(path / DATABASE), lock)

    @classmethod
    def open(cls, path: Path | str, write: bool = False) -> "Store":
        """Open the last committed state. Raises NotAnIndex, NewerFormat, Damaged, or Locked where `write`."""
        path = Path(path)
        file = path / DATABASE
        if not file.is_file():
            raise NotAnIndex(f"no index at {path}: make one with `mmr index FOLDER --index {path}`")
        if file.stat().st_size == 0:
            raise NotAnIndex(f"{file} is empty, so {path} is no index: remove the folder and run `mmr index` again")
        lock = _acquire(path) if write else None
        database = None
        try:
            database = _connect(file)
            store = cls(path, database, lock)
            if write:
                store._remove_orphans()
            return store
        except BaseException:
            if database:
                database.close()
            if lock:
                lock.release()
            raise

    def close(self) -> None:
        """Let go of the files and of the lock."""
        self._segments = []
        self._copies.clear()
        self._database.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ---------------------------------------------------------------- read

    def __len__(self) -> int:
        return sum(len(segment.vectors) - len(segment.dead) for segment in self._segments)

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.manifest["dim"]

    def search(self, queries: np.ndarray, k: int, device: str = "cpu") -> exact.Neighbors:
        """The k rows nearest to each query by inner product. queries: float32 (q, dim) of unit length."""
        return exact.search(self._segments, self._check(queries), k, device)

    def records(self, rows: Iterable[int]) -> list[Record]:
        """The records of `rows`, in their order. Raises KeyError for a row that never was or was collected."""
        found = []
        for row in rows:
            line = self._database.execute("SELECT id, stamp, fields FROM items WHERE row = ?", (int(row),)).fetchone()
            if line is None:
                raise KeyError(f"row {row} is not in {self.path}")
            found.append(Record(line[0], line[1], json.loads(line[2])))
        return found

    def stamps(self) -> dict[str, str]:
        """id -> stamp of every item in the state that was opened."""
        return dict(
            self._database.execute(
                "SELECT id, stamp FROM items WHERE born <= ?1 AND (died IS NULL OR died > ?1)", (self.generation,)
            )
        )

    def verify(self) -> list[str]:
        """Read everything and compare it with its checksum; the problems found, one line each."""
        problems = [
            f"{DATABASE}: {line[0]}" for line in self._database.execute("PRAGMA integrity_check") if line[0] != "ok"
        ]
        for number, sha256 in self._database.execute("SELECT id, sha256 FROM segments WHERE retired IS NULL"):
            file = self._segment_file(number)
            if not file.is_file():
                problems.append(f"segments/{file.name} is missing")
            elif hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
                problems.append(f"segments/{file.name} does not match its checksum")
        return problems

    # ---------------------------------------------------------------- write

    def add(self, vectors: np.ndarray, records: Sequence[Record]) -> None:
        """Commit rows with their records; an id that is there already is replaced.

        vectors: float32 (n, dim), unit length. Raises ValueError for anything else or for an id given twice.
        """
        vectors = self._check(vectors)
        if len(vectors) != len(records):
            raise ValueError(f"{len(vectors)} vectors for {len(records)} records")
        if len({record.id for record in records}) != len(records):
            raise ValueError("an id stands twice in one add")
        if not records:
            return
        number, sha256 = self._write_segment(vectors.astype("<f2"))
        with self._commit() as generation:
            self._bury([record.id for record in records], generation)
            self._insert(number, sha256, records, generation)

    def delete(self, ids: Iterable[str]) -> None:
        """Commit that these items are gone. Unknown ids are no error."""
        ids = list(ids)
        if ids:
            with self._commit() as generation:
                self._bury(ids, generation)

    def set_manifest(self, **values: object) -> None:
        """Commit values of the manifest."""
        with self._commit():
            self._put(values)

    def compact(self) -> None:
        """Rewrite what is alive as one segment, and drop what the compaction before this one replaced.

        The old rows stay readable for those who opened the store before; the next compaction collects them.
        """
        alive = [(rows, vectors) for segment in self._segments for rows, vectors in segment.blocks()]
        rows = np.concatenate([part for part, _ in alive]) if alive else np.empty(0, np.int64)
        records = self.records(rows)
        written = self._write_segment(np.concatenate([part for _, part in alive]).astype("<f2")) if alive else None
        with self._commit() as generation:
            self._collect()
            self._bury([record.id for record in records], generation)
            self._database.execute("UPDATE segments SET retired = ? WHERE retired IS NULL", (generation,))
            if written:
                self._insert(*written, records, generation)
        self._remove_orphans()

    def needs_compaction(self) -> bool:
        """True where many small segments, or more dead rows than living ones, slow down every search."""
        dead = sum(len(segment.dead) for segment in self._segments)
        return len(self._segments) >= COMPACT_FROM_SEGMENTS or dead > len(self)

    # ---------------------------------------------------------------- inside

    def _load(self) -> None:
        """Read the last committed state in one transaction; map the segments."""
        try:
            self._database.execute("BEGIN")
            lines = self._database.execute("SELECT key, value FROM manifest")
            self.manifest = {key: json.loads(value) for key, value in lines}
            self.generation: int = self.manifest["generation"]
            lines = self._database.execute(
                "SELECT id, first_row, rows FROM segments WHERE retired IS NULL ORDER BY first_row"
            )
            self._segments = [self._map(*line) for line in lines.fetchall()]
            self._database.execute("COMMIT")
            for gone in self._copies.keys() - {segment.first_row for segment in self._segments}:
                del self._copies[gone]
        except (sqlite3.DatabaseError, KeyError, ValueError) as error:
            if isinstance(error, sqlite3.OperationalError) and "disk" in str(error):
                raise
            raise Damaged(
                f"{self.path / DATABASE} cannot be read ({error}): restore it, or remove {self.path} and index again"
            ) from error

    def _map(self, number: int, first_row: int, count: int) -> exact.Segment:
        file = self._segment_file(number)
        size = file.stat().st_size if file.is_file() else -1
        if size != count * self.dim * 2:
            what = "is missing" if size < 0 else f"has {size} bytes instead of {count * self.dim * 2}"
            raise Damaged(f"{file} {what}: restore it, or remove {self.path} and index again")
        dead = self._database.execute(
            "SELECT row FROM items WHERE died IS NOT NULL AND row >= ? AND row < ? ORDER BY row",
            (first_row, first_row + count),
        )
        offsets = np.array([line[0] - first_row for line in dead], np.int64)
        return exact.Segment(first_row, np.memmap(file, "<f2", "r", shape=(count, self.dim)), offsets, self._copies)

    def _check(self, vectors: np.ndarray) -> np.ndarray:
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ValueError(f"vectors of shape {vectors.shape}; this index holds rows of {self.dim}")
        length = np.linalg.norm(vectors, axis=1)
        if not np.all(np.abs(length - 1) < 1e-3):  # NaN fails as well
            raise ValueError("vectors must be finite and of unit length")
        return vectors

    def _segment_file(self, number: int) -> Path:
        return self.path / "segments" / f"{number:06d}.f16"

    def _write_segment(self, rows: np.ndarray) -> tuple[int, str]:
        self._must_be_writer()
        (number,) = self._database.execute("SELECT coalesce(max(id), 0) + 1 FROM segments").fetchone()
        content = rows.tobytes()
        durable.write_bytes(self._segment_file(number), content)
        return number, hashlib.sha256(content).hexdigest()

    @contextmanager
    def _commit(self):  # noqa: ANN202 - yields the new generation
        """One transaction that bumps the generation; afterwards this Store is on the new state."""
        self._must_be_writer()
        self._database.execute("BEGIN IMMEDIATE")
        try:
            generation = self.generation + 1
            self._put({"generation": generation})
            yield generation
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._load()

    def _must_be_writer(self) -> None:
        if not self._lock:
            raise StoreError(f"{self.path} was opened for reading: open it with write=True")

    def _put(self, values: dict[str, object]) -> None:
        self._database.executemany(
            "INSERT OR REPLACE INTO manifest VALUES (?, ?)", [(key, json.dumps(value)) for key, value in values.items()]
        )

    def _bury(self, ids: Sequence[str], generation: int) -> None:
        self._database.executemany(
            "UPDATE items SET died = ? WHERE id = ? AND died IS NULL", [(generation, name) for name in ids]
        )

    def _insert(self, number: int, sha256: str, records: Sequence[Record], generation: int) -> None:
        first = self.manifest["next_row"]
        self._database.execute("INSERT INTO segments VALUES (?, ?, ?, ?, NULL)", (number, first, len(records), sha256))
        self._database.executemany(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?, NULL)",
            [
                (first + offset, record.id, record.stamp, json.dumps(record.fields), generation)
                for offset, record in enumerate(records)
            ],
        )
        self._put({"next_row": first + len(records)})

    def _collect(self) -> None:
        """Forget the segments that an earlier compaction retired, and their items."""
        self._database.execute(
            "DELETE FROM items WHERE EXISTS (SELECT 1 FROM segments AS s WHERE s.retired IS NOT NULL"
            " AND items.row >= s.first_row AND items.row < s.first_row + s.rows)"
        )
        self._database.execute("DELETE FROM segments WHERE retired IS NOT NULL")

    def _remove_orphans(self) -> None:
        """Remove the segment files that no commit names: what a crash, or a compaction, left behind."""
        known = {self._segment_file(number) for (number,) in self._database.execute("SELECT id FROM segments")}
        for file in (self.path / "segments").iterdir():
            if file not in known:
                file.unlink()


def _is_unborn(path: Path) -> bool:
    """True for an empty folder and for one whose making was interrupted before its database had its name."""
    made_first = {"segments", "lock", DATABASE + ".partial", DATABASE + ".partial-journal"}
    return all(child.name in made_first for child in path.iterdir())


def _acquire(path: Path) -> filelock.BaseFileLock:
    lock = filelock.FileLock(path / "lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise Locked(f"another process is writing to {path}: wait for it, then try again") from None
    return lock


def _write_empty_database(file: Path, manifest: dict[str, object]) -> None:
    """Build the database under another name, so that `file` is never seen half-made."""
    beside = file.with_name(file.name + ".partial")
    for leftover in (beside, Path(f"{beside}-journal")):
        leftover.unlink(missing_ok=True)
    database = sqlite3.connect(beside, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = EXTRA")
        database.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        database.execute("BEGIN")
        lines = [(key, json.dumps(value)) for key, value in manifest.items()]
        database.executemany("INSERT INTO manifest VALUES (?, ?)", lines)
        database.execute("COMMIT")
    finally:
        database.close()
    beside.replace(file)
    durable.sync_folder(file.parent)


def _connect(file: Path) -> sqlite3.Connection:
    """Open an existing database; mode=rw, so that a reader can roll back the journal of a crashed writer.

    SQLite falls back to reading alone where the file system forbids writing.
    """
    database = sqlite3.connect(
        f"file:{quote(str(file.absolute()))}?mode=rw", uri=True, isolation_level=None, timeout=30
    )
    try:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute("PRAGMA synchronous = EXTRA")
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
        raise NewerFormat(
            f"{file.parent} has format {version}, this mmr reads up to {FORMAT_VERSION}: run `pip install -U mmr`"
        )
    return database
