"""Store: a folder that holds vectors and their records, and survives anything.

    mmr.db                 SQLite (rollback journal, synchronous=EXTRA): the commit log and the records
    derived/000001.faiss   an approximate index of the rows (approximate/ann.py): may be deleted at any time
    segments/000001.f16    immutable rows (n, d), little-endian float16; length and SHA-256 are in mmr.db
    lock                   held by the one writer

A commit writes the segment, fsyncs it and its folder, and then one SQLite transaction names it: a crash leaves the old
state or the new one, and at worst an orphan file that the next writer removes. Rows are numbered once and never reused;
each carries the generation it was born and died in, so a reader stays on the state it opened without a long
transaction. Update is delete and add under one id, in one transaction.
"""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import filelock
import numpy as np

from indexes import claim, database, durable, exact, items
from indexes.approximate.derived import KEY, Derived
from indexes.database import DATABASE
from indexes.errors import Damaged, NotAnIndex, StoreError
from indexes.filters import Condition
from indexes.items import Record
from indexes.segments import Neighbors, Segment, restrict

COMPACT_FROM_SEGMENTS = 32
FILTERS_KEPT = 8


class Store:
    """Rows and records in a folder. `create` makes one, `open` reads one, `open(write=True)` also changes it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: filelock.BaseFileLock | None) -> None:
        self.path = path
        self._database = connection
        self._lock = lock
        self.derived = Derived(self)
        self._filtered: dict[Condition, list[Segment]] = {}  # what the last filters let through
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
        lock = claim.new_folder(path)
        try:
            database.create(path / DATABASE, {"dim": dim, "generation": 0, "next_row": 0, **manifest})
        except BaseException:
            lock.release()
            raise
        return cls(path, database.connect(path / DATABASE), lock)

    @classmethod
    def open(cls, path: Path | str, write: bool = False) -> "Store":
        """Open the last committed state. Raises NotAnIndex, NewerFormat, Damaged, or Locked where `write`."""
        path = Path(path)
        file = path / DATABASE
        if not file.is_file():
            raise NotAnIndex(f"no index at {path}: make one with `mmr index FOLDER --index {path}`")
        if file.stat().st_size == 0:
            raise NotAnIndex(f"{file} is empty, so {path} is no index: remove the folder and run `mmr index` again")
        lock = claim.lock(path) if write else None
        connection = None
        try:
            connection = database.connect(file)
            store = cls(path, connection, lock)
            if write:
                store.remove_orphans()
            return store
        except BaseException:
            if connection:
                connection.close()
            if lock:
                lock.release()
            raise

    def close(self) -> None:
        """Let go of the files and of the lock."""
        self.segments = []
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
        return sum(len(segment.vectors) - len(segment.dead) for segment in self.segments)

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.manifest["dim"]

    def search(
        self, queries: np.ndarray, k: int, device: str = "cpu", where: Condition | None = None,
        recall: float | None = None,
    ) -> Neighbors:  # fmt: skip
        """The k rows nearest to each query by inner product, of those whose fields meet the condition.

        queries: float32 (q, dim) of unit length. where: what filters.parse made of an expression. recall: what the
        approximate index, where there is one, must give (None: what it was built for); 1 asks for the exact answer.
        On a GPU, device "cuda", the answer is exact unless a recall is given.
        """
        queries = self._check(queries)
        segments = self.segments if where is None else self._matching(where)
        approximate = recall != 1 and (device == "cpu" or recall is not None)
        if approximate and not any(segment.names is not None for segment in segments):
            found = self.derived.search(segments, queries, k, recall, device)
            if found is not None:
                return found
        return exact.search(segments, queries, k, device)

    def rows(self, where: Condition | None = None) -> np.ndarray:
        """The rows of the state that was opened, int64, ascending; those whose fields meet the condition."""
        return items.rows(self._database, self.generation, where)

    def records(self, rows: Iterable[int]) -> list[Record]:
        """The records of `rows`, in their order. Raises KeyError for a row that never was or was collected."""
        found = []
        for row in rows:
            record = items.record(self._database, int(row))
            if record is None:
                raise KeyError(f"row {row} is not in {self.path}")
            found.append(record)
        return found

    def stamps(self) -> dict[str, str]:
        """id -> stamp of every item in the state that was opened."""
        return items.stamps(self._database, self.generation)

    def stamps_of(self, ids: Sequence[str]) -> dict[str, str]:
        """id -> stamp of those of these items that the last commit holds: quick, where they are few among many."""
        return items.stamps_of(self._database, ids)

    def ids_between(self, first: str, end: str) -> list[str]:
        """The first LOOKED_UP ids of the last commit from `first` on and before `end`, in order of code points."""
        return items.ids_between(self._database, first, end)

    def verify(self) -> list[str]:
        """Read everything and compare it with its checksum; the problems found, one line each."""
        problems = [
            f"{DATABASE}: {line[0]}" for line in self._database.execute("PRAGMA integrity_check") if line[0] != "ok"
        ]
        segments = self._database.execute(
            "SELECT id, sha256, first_row, rows, records_sha256 FROM segments WHERE retired IS NULL"
        )
        for number, sha256, first, count, records in segments.fetchall():
            file = self._segment_file(number)
            if items.digest(self._database, first, count) != records:
                problems.append(f"{DATABASE}: the records of rows {first} to {first + count - 1} were changed")
            if not file.is_file():
                problems.append(f"segments/{file.name} is missing")
            elif hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
                problems.append(f"segments/{file.name} does not match its checksum")
        return problems + self.derived.problems()

    def describe(self) -> dict[str, int]:
        """rows, deleted rows that compaction would drop, segments, bytes on disk."""
        return {
            "rows": len(self), "deleted": sum(len(segment.dead) for segment in self.segments),
            "segments": len(self.segments), "not merged": self.derived.unmerged(),
            "bytes": sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
        }  # fmt: skip

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
            items.bury(self._database, (record.id for record in records), generation)
            self._insert(number, sha256, records, generation)

    def delete(self, ids: Iterable[str]) -> None:
        """Commit that these items are gone. Unknown ids are no error."""
        ids = list(ids)
        if ids:
            with self._commit() as generation:
                items.bury(self._database, ids, generation)

    def set_manifest(self, **values: object) -> None:
        """Commit values of the manifest."""
        with self._commit():
            database.put(self._database, values)

    def snapshot(self, path: Path | str, **manifest: object) -> None:
        """Write a consistent copy of the last committed state to another folder, durable when this returns.

        manifest: values that are different there. Raises NotAnIndex if the folder holds something.
        """
        self._must_be_writer()  # so that no compaction removes a segment meanwhile
        path = Path(path)
        lock = claim.new_folder(path)
        try:
            for (number,) in self._database.execute("SELECT id FROM segments").fetchall():
                with self._segment_file(number).open("rb") as source:
                    copied = path / "segments" / self._segment_file(number).name
                    durable.write_file(copied, lambda file, source=source: shutil.copyfileobj(source, file, 1 << 20))
            database.copy(self._database, path / DATABASE, manifest)
        finally:
            lock.release()

    def compact(self) -> None:
        """Rewrite what is alive as one segment, and drop what the compaction before this one replaced.

        The old rows stay readable for those who opened the store before; the next compaction collects them.
        """
        known, recorded = self.derived.index, self.derived.recorded
        alive = [(rows, vectors.astype("<f2")) for segment in self.segments for rows, vectors in segment.blocks()]
        records = self.records(row for rows, _ in alive for row in rows)
        # The rows that the approximate index speaks of have new numbers.
        self._rewrite([vectors for _, vectors in alive], records, {KEY: None} if recorded else {})
        if recorded:
            self.derived.renumber(known, recorded["asked"])
        self.remove_orphans()

    def replace(self, blocks: Iterable[tuple[np.ndarray, Sequence[Record]]], **manifest: object) -> None:
        """Commit, in one step, that the store holds these rows and no others, and these values of the manifest.

        blocks: vectors and records as `add` takes them, of `dim` numbers if the manifest is given another. What the
        store held stays readable for those who opened it before, as after a compaction; an approximate index is
        dropped. Raises ValueError as `add` does.
        """
        rows, records = [], []
        for vectors, some in blocks:
            rows.append(self._check(vectors, manifest.get("dim", self.dim)).astype("<f2"))
            records += some
        if len({record.id for record in records}) != len(records) or sum(map(len, rows)) != len(records):
            raise ValueError("every row needs a record, and an id of its own")
        self._rewrite(rows, records, manifest | ({KEY: None} if self.derived.recorded else {}))
        self.remove_orphans()

    def needs_compaction(self) -> bool:
        """True where many small segments, or more dead rows than living ones, slow down every search."""
        dead = sum(len(segment.dead) for segment in self.segments)
        return len(self.segments) >= COMPACT_FROM_SEGMENTS or dead > len(self)

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
            self.segments = [self._map(*line) for line in lines.fetchall()]
            self._database.execute("COMMIT")
            self._filtered.clear()
            for gone in self._copies.keys() - {segment.first_row for segment in self.segments}:
                del self._copies[gone]
        except (sqlite3.DatabaseError, KeyError, ValueError) as error:
            if isinstance(error, sqlite3.OperationalError) and "disk" in str(error):
                raise
            raise Damaged(
                f"{self.path / DATABASE} cannot be read ({error}): restore it, or remove {self.path} and index again"
            ) from error

    def _map(self, number: int, first_row: int, count: int) -> Segment:
        file = self._segment_file(number)
        size = file.stat().st_size if file.is_file() else -1
        if size != count * self.dim * 2:
            what = "is missing" if size < 0 else f"has {size} bytes instead of {count * self.dim * 2}"
            raise Damaged(f"{file} {what}: restore it, or remove {self.path} and index again")
        offsets = items.dead(self._database, first_row, first_row + count) - first_row
        return Segment(first_row, np.memmap(file, "<f2", "r", shape=(count, self.dim)), offsets, self._copies)

    def _matching(self, where: Condition) -> list[Segment]:
        """The segments as a filter leaves them; those of the last few filters are kept."""
        if where not in self._filtered:
            while len(self._filtered) >= FILTERS_KEPT:
                del self._filtered[next(iter(self._filtered))]
            self._filtered[where] = restrict(self.segments, self.rows(where))
        return self._filtered[where]

    def _check(self, vectors: np.ndarray, dim: int | None = None) -> np.ndarray:
        vectors, dim = np.ascontiguousarray(vectors, np.float32), dim or self.dim
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise ValueError(f"vectors of shape {vectors.shape}; this index holds rows of {dim}")
        length = np.linalg.norm(vectors, axis=1)
        if not np.all(np.abs(length - 1) < 1e-3):  # NaN fails as well
            raise ValueError("vectors must be finite and of unit length")
        return vectors

    def _segment_file(self, number: int) -> Path:
        return self.path / "segments" / f"{number:06d}.f16"

    def _rewrite(self, rows: Sequence[np.ndarray], records: Sequence[Record], manifest: dict[str, object]) -> None:
        """Commit these rows (float16) in place of all that there are, and drop what the rewriting before replaced."""
        written = self._write_segment(np.concatenate(rows)) if records else None
        with self._commit() as generation:
            self._collect()
            items.bury_all(self._database, generation)
            self._database.execute("UPDATE segments SET retired = ? WHERE retired IS NULL", (generation,))
            if written:
                self._insert(*written, records, generation)
            database.put(self._database, manifest)

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
            database.put(self._database, {"generation": generation})
            yield generation
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            # COMMIT may report a failure after it took effect; whoever tries again must start from what there is.
            with suppress(sqlite3.Error, StoreError):
                self._load()
            raise
        self._load()

    def _must_be_writer(self) -> None:
        if not self._lock:
            raise StoreError(f"{self.path} was opened for reading: open it with write=True")

    def _insert(self, number: int, sha256: str, records: Sequence[Record], generation: int) -> None:
        first = self.manifest["next_row"]
        items.insert(self._database, first, records, generation)
        self._database.execute(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, NULL)",
            (number, first, len(records), sha256, items.digest(self._database, first, len(records))),
        )
        database.put(self._database, {"next_row": first + len(records)})

    def _collect(self) -> None:
        """Forget the segments that an earlier compaction retired, and their items."""
        items.forget_retired(self._database)
        self._database.execute("DELETE FROM segments WHERE retired IS NOT NULL")

    def remove_orphans(self) -> None:
        """Remove the files that no commit names: what a crash, a compaction or a newer index left behind."""
        known = {self._segment_file(number) for (number,) in self._database.execute("SELECT id FROM segments")}
        known |= self.derived.files()
        for folder in (self.path / "segments", self.path / "derived"):
            for file in folder.iterdir() if folder.is_dir() else ():
                if file not in known:
                    file.unlink()
