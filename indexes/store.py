"""Store: a folder that holds vectors and their records, and stays whole through crashes, power cuts and full disks.

    mmr.db                 SQLite (rollback journal, synchronous=EXTRA): the commit log and the records
    derived/000001.faiss   an approximate index of the rows (approximate/ann.py): may be deleted at any time
    segments/000001.f16    immutable rows (n, d), little-endian float16; length and checksums are in mmr.db
    readers/               a lease of each reader (leases.py)
    lock                   held by the one writer

A commit writes the segment, fsyncs it and its folder, and then one SQLite transaction names it: a crash leaves the old
state or the new one, and at worst an orphan file that the next writer removes. Rows are numbered once and never reused;
each carries the generation it was born and died in, so a reader stays on the state it opened without a long
transaction, and what its lease says that it needs is not collected. Update is delete and add under one id, in one
transaction.
"""

import functools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import filelock
import numpy as np

from indexes import claim, database, durable, first_format, forks, items, leases, proof, segment_files, verify
from indexes.approximate import derived
from indexes.approximate.recorded import KEY, Recorded
from indexes.database import DATABASE
from indexes.errors import NotAnIndex, StoreError
from indexes.fulltext import table
from indexes.items import Record
from indexes.opened import Opened
from indexes.reader import StoreReader
from indexes.typed import Malformed

if TYPE_CHECKING:
    from indexes.approximate.ann import Ann

_Given = ParamSpec("_Given")
_Got = TypeVar("_Got")


def _alone(
    method: "Callable[Concatenate[Store, _Given], _Got]",
) -> "Callable[Concatenate[Store, _Given], _Got]":
    """A method that writes: threads do so one after the other. Raises StoreError for a reader."""

    @functools.wraps(method)
    def writing(store: "Store", *given: _Given.args, **named: _Given.kwargs) -> _Got:
        store._must_be_writer()
        with store._writing:
            return method(store, *given, **named)

    return writing


class Store(StoreReader):
    """Rows and records in a folder. `create` makes one, `open` reads one, `open(write=True)` also changes it.

    What is asked of it is in reader.py. Close it, or use it in a `with`: a writer holds the folder's lock.

    Threads may share it, for reading and for writing. A child that was forked goes on with it, on the state that it was
    on, but cannot write.

    Args:
        path: Its folder.
        opened: Its database, open.
        lock: The folder's lock, held, for a writer; None for a reader.

    Examples:
        >>> with Store.create("photos.mmr", 512, encoder={"name": "small"}) as store:  # doctest: +SKIP
        ...     store.add(vectors, [Record("a.jpg"), Record("b.jpg")])
        ...     found = store.search(vectors[:1], 2)
    """

    def __init__(self, path: Path, opened: Opened, lock: filelock.BaseFileLock | None) -> None:
        self._lock, self._writing = lock, forks.Lock()
        super().__init__(path, opened)

    # ---------------------------------------------------------------- open, create, close

    @classmethod
    def create(cls, path: Path | str, dim: int, **manifest: object) -> "Store":
        """Make an empty store and open it for writing.

        Args:
            path: Its folder, which is new, or empty.
            dim: Numbers in a row.
            **manifest: What the store must remember of its making (JSON values), its encoder above all.

        Returns:
            The store, at generation 0.

        Raises:
            NotAnIndex: The folder holds something.
            Locked: Another process is writing to it.
        """
        path = Path(path)
        lock = claim.new_folder(path)
        try:
            database.create(path / DATABASE, {"dim": dim, "generation": 0, "next_row": 0, **manifest})
        except BaseException:
            lock.release()
            raise
        return cls(path, Opened(path, counted=False), lock)

    @classmethod
    def open(cls, path: Path | str, write: bool = False, wait: float | None = None) -> "Store":
        """Open the last committed state.

        Args:
            path: Its folder.
            write: Take the lock, and remove what a crash left behind.
            wait: Seconds for other processes: for the lock, not at all if not given; for what they commit, 30 then.

        Returns:
            The store; without `write` it stays on that state, whatever a writer does meanwhile: a lease counts it.
            Where the folder cannot be written it has none, and gets Outdated once the index was rewritten twice.

        Raises:
            NotAnIndex: There is none.
            NewerFormat: A newer version wrote it.
            Damaged: A file is missing, or of another length than it had.
            Locked: Another process is writing to it; to a reader only where that commits for longer than it waits.
        """
        path = Path(path)
        file = path / DATABASE
        if not file.is_file() and (path / "shards.json").is_file():
            raise NotAnIndex(f"{path} is shards, which this asks one by one: see `mmr shards show {path}` for them")
        if not file.is_file():
            raise NotAnIndex(f"no index at {path}: make one with `mmr index FOLDER --index {path}`")
        if file.stat().st_size == 0:
            raise NotAnIndex(f"{file} is empty, so {path} is no index: remove the folder and run `mmr index` again")
        lock = claim.lock(path, wait or 0.0) if write else None
        opened = None
        try:
            opened = Opened(path, not write, database.WAIT if wait is None else wait)
            store = cls(path, opened, lock)
            if write:
                store.remove_orphans()
            return store
        except BaseException:
            if opened:
                opened.close()
            if lock:
                lock.release()
            raise

    def close(self) -> None:
        """Let go of the files and of the lock. Another thread that asks meanwhile gets a StoreError."""
        with self._writing:  # what another thread writes is committed first
            super().close()
            if self._lock:
                self._lock.release()

    def view(self) -> Self:
        """As StoreReader says: for reading alone."""
        made = super().view()
        made._lock = None
        return made

    # ---------------------------------------------------------------- rows

    @_alone
    def add(self, vectors: np.ndarray, records: Sequence[Record]) -> None:
        """Commit rows with their records; an id that is there already is replaced.

        Args:
            vectors: float32 (n, dim), of unit length. They are kept as float16.
            records: One for each row.

        Raises:
            ValueError: The vectors are anything else, an id stands twice, or fields are no JSON, which has no NaN.
                Nothing is changed then.
            StoreError: The store was opened for reading.
        """
        vectors = self._check(vectors).astype("<f2")
        if len(vectors) != len(records):
            raise ValueError(f"{len(vectors)} vectors for {len(records)} records")
        if len({record.id for record in records}) != len(records):
            raise ValueError("an id stands twice in one add")
        if not records:
            return
        lines, first_row = items.lines(records, vectors), self.manifest["next_row"]
        written = self._write_segment([vectors])
        with self._commit() as generation:
            items.bury(self._database, (record.id for record in records), generation)
            items.insert(self._database, first_row, lines, generation)
            segment_files.insert(self._database, written, first_row)

    def delete(self, ids: Iterable[str]) -> None:
        """Commit that items are gone.

        Args:
            ids: Unknown ones are no error.

        Raises:
            StoreError: The store was opened for reading.
        """
        ids = list(ids)
        if ids:
            with self._commit() as generation:
                items.bury(self._database, ids, generation)

    def set_manifest(self, **values: object) -> None:
        """Commit values of the manifest.

        Args:
            **values: JSON values; the others stay.

        Raises:
            StoreError: The store was opened for reading.
        """
        with self._commit():
            database.put(self._database, values)

    @_alone
    def renew_words(self) -> None:
        """Commit the words of all records as they are made of the records now: where they are damaged, or of an index
        that an older version wrote.

        Raises:
            StoreError: The store was opened for reading.
        """
        with self._commit():
            table.renew(self._database)

    @_alone
    def compact(self) -> None:
        """Rewrite what is alive as one segment, and drop what the compaction before this one replaced.

        The old rows stay readable for those who opened the store before; a later compaction, or the next writer,
        collects them when the last of those is gone. What it takes of memory does not grow with the rows.

        Raises:
            Damaged: Rows are not what was written. Nothing is changed then.
            StoreError: The store was opened for reading.
        """
        self.require_sound()
        known, recorded = self.derived.index, self.derived.recorded
        alive = (vectors for segment in self.segments for _, vectors in segment.stored(segment_files.AT_ONCE))
        # The rows that the approximate index speaks of have new numbers.
        self._rewrite(self._write_segment(alive), self._buried(), {KEY: None} if recorded else {})
        if recorded and known is not None:
            self._renumber(known, recorded.asked)
        self.remove_orphans()

    @_alone
    def replace(
        self, blocks: Iterable[tuple[np.ndarray, Sequence[Record]]], *, dim: int | None = None, **manifest: object
    ) -> None:
        """Commit, in one step, that the store holds these rows and no others, and these values of the manifest.

        What the store held stays readable for those who opened it before, as after a compaction. An approximate index
        is dropped.

        Args:
            blocks: Vectors and records as `add` takes them. Vectors are written as they come; what is stored of the
                records is in memory until the commit.
            dim: Numbers in a row, where they are not as many as before.
            **manifest: JSON values; the others stay.

        Raises:
            ValueError: As `add` does. Nothing is changed then.
            StoreError: The store was opened for reading.
        """
        lines: list[list[items.Line]] = []
        names: set[str] = set()

        def rows() -> Iterator[np.ndarray]:
            for given, records in blocks:
                vectors = self._check(given, dim).astype("<f2")
                count = len(names) + len(records)
                names.update(record.id for record in records)
                if len(names) != count or len(vectors) != len(records):
                    raise ValueError("every row needs a record, and an id of its own")
                lines.append(items.lines(records, vectors))
                yield vectors

        said = manifest | ({} if dim is None else {"dim": dim}) | ({KEY: None} if self.derived.recorded else {})
        self._rewrite(self._write_segment(rows()), lines, said)
        self.remove_orphans()

    # ---------------------------------------------------------------- the approximate index

    @_alone
    def set_approximate(self, built: "Ann", asked: float) -> None:
        """Commit an approximate index of the rows.

        Args:
            built: What tune.choose made of these rows.
            asked: The recall that it is used for by default.

        Raises:
            StoreError: The store was opened for reading.
        """
        from indexes.approximate import ann_file

        number = derived.next_number(self.path)
        file = derived.file_of(self.path, number)
        durable.make_folder(file.absolute().parent)
        sha256 = ann_file.write(built, file)
        recorded = Recorded(number, sha256, built.spec, built.rows_below, asked, built.rows_from, tuple(built.points))
        self._kept.approximate.clear()
        self._kept.approximate[sha256] = built  # what was just built need not be read
        self.set_manifest(**{KEY: recorded.to_json()})
        self.remove_orphans()

    @_alone
    def drop_approximate(self) -> None:
        """Commit that there is no approximate index.

        Raises:
            StoreError: The store was opened for reading.
        """
        self.set_manifest(**{KEY: None})
        self.remove_orphans()

    @_alone
    def merge_approximate(self) -> bool:
        """Take the rows that came since into the approximate index; what was learned, and its points, stay.

        Returns:
            False where there was nothing to do.

        Raises:
            Damaged: Those rows are not what was written.
            StoreError: The store was opened for reading.
        """
        from indexes.approximate import ann

        known, recorded = self.derived.index, self.derived.recorded
        if known is None or recorded is None or not self.derived.unmerged():
            return False
        self.require_sound(row for segment in self.derived.newer() for row in segment.alive())
        copy = ann.copy_of(known)
        ann.extend(copy, self.derived.newer(), self.manifest["next_row"])
        self.set_approximate(copy, recorded.asked)
        return True

    def _renumber(self, known: "Ann", asked: float) -> None:
        """After a compaction, which gave all rows new numbers: the same index of the same rows."""
        from indexes.approximate import ann

        again = ann.emptied(known)
        ann.extend(again, self.segments, self.manifest["next_row"])
        self.set_approximate(again, asked)

    # ---------------------------------------------------------------- copies

    @_alone  # so that no compaction removes a segment meanwhile
    def snapshot(self, path: Path | str, *, beside: Iterable[str] = (), **manifest: object) -> None:
        """Write a consistent copy of the last committed state to another folder, durable when this returns.

        Those who read the store meanwhile are not disturbed. Where it fails, nothing of the copy is left.

        Args:
            path: A folder that is new, or empty.
            beside: Names of other files in the store's folder that are copied too, where they are there.
            **manifest: Values that are different there.

        Raises:
            NotAnIndex: The folder holds something, or lies inside this one.
            Damaged: Something of this store is not what was written.
            StoreError: The store was opened for reading.
        """
        path = Path(path)
        if path.resolve().is_relative_to(self.path.resolve()):
            raise NotAnIndex(f"{path} lies inside the index itself: give a folder outside {self.path}")
        self.require_sound()
        if found := verify.of_database(self.path):
            raise database.damaged(self.path, found[0])
        with claim.filling(path, "give a folder that is new or empty"):
            with self._opened.alone() as connection:
                segment_files.copy(connection, self.path, path)
            for name in beside:
                if (self.path / name).is_file():
                    durable.copy_file(self.path / name, path / name)
            manifest |= self._copy_derived(path)
            with self._opened.alone() as connection:
                database.copy(connection, path / DATABASE, manifest)

    def _copy_derived(self, path: Path) -> dict[str, Any]:
        """Copy the approximate index; what the manifest there must say of it. A damaged one is left out."""
        if self.derived.recorded is None or self.derived.problems():
            return {KEY: None}
        for file in self.derived.files():
            durable.make_folder(path.absolute() / file.parent.name)
            durable.copy_file(file, path / file.parent.name / file.name)
        return {}

    # ---------------------------------------------------------------- inside

    def _rewrite(
        self, written: segment_files.Written, lines: Iterable[Sequence[items.Line]], manifest: dict[str, object]
    ) -> None:
        """Commit these rows in place of all that there are, and drop what the rewriting before replaced.

        lines: of the rows, some at a time; they are asked for when what there was is buried.
        """
        first_row = row = self.manifest["next_row"]
        with self._commit() as generation:
            self._forget(self._oldest(generation - 1))
            for first, end in segment_files.parts(self._database):
                items.bury_all(self._database, first, end, generation)
            for some in lines:
                items.insert(self._database, row, some, generation)
                row += len(some)
            if row - first_row != written.rows:
                raise Malformed("there are rows without a record")
            segment_files.retire_all(self._database, generation)
            if written.rows:
                segment_files.insert(self._database, written, first_row)
            database.put(self._database, manifest)

    def _buried(self) -> Iterator[list[items.Line]]:
        """Within a rewriting: what it buried."""
        for first, end in segment_files.parts(self._database):
            yield items.buried(self._database, first, end, self.generation + 1)

    def _forget(self, oldest: int) -> None:
        """Within a commit: remove what was retired by generation `oldest`."""
        for first, end in segment_files.parts(self._database, oldest):
            items.forget(self._database, first, end)
        segment_files.forget(self._database, oldest)

    def _write_segment(self, blocks: Iterable[np.ndarray]) -> segment_files.Written:
        self._must_be_writer()
        with self._opened.alone() as connection:
            number = segment_files.next_number(connection)
        return segment_files.write(self.path, number, blocks)

    @contextmanager
    def _commit(self) -> Iterator[int]:
        """One transaction that bumps the generation, which it yields; afterwards this Store is on the new state."""
        self._must_be_writer()
        with self._writing, self._opened.alone():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._upgrade()
                generation = self.generation + 1
                database.put(self._database, {"generation": generation})
                yield generation
                proof.seal(self._database)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                # COMMIT may report a failure after it took effect; whoever tries again must start from what there is.
                with suppress(sqlite3.Error, StoreError):
                    self._load()
                raise
            self._load()

    def _upgrade(self) -> None:
        """Within a commit: the format of this version."""
        was = database.version(self._database)
        if was < 2:
            first_format.upgrade(self._database, self.path, self.dim)
        if was < 3:
            table.create(self._database)
            self._database.execute(f"PRAGMA user_version = {database.FORMAT_VERSION}")

    @property
    def _database(self) -> sqlite3.Connection:
        """Within a commit. Each use is a turn of its own: however many there are, none goes in circles."""
        with self._opened.alone() as connection:
            return connection

    def _oldest(self, newest: int) -> int:
        """The oldest generation that a reader may be on; `newest` where there is none."""
        return min([newest, *(needed.generation for needed in leases.living(self.path))])

    def _must_be_writer(self) -> None:
        if not self._lock:
            raise StoreError(f"{self.path} was opened for reading: open it with write=True")
        if not self._lock.is_locked:  # it was closed, or this is a forked child, whose lock it is not
            raise StoreError(f"this process does not write to {self.path}: open it with write=True")

    @_alone
    def remove_orphans(self) -> None:
        """Remove what nobody asks for: files that no commit names, as a crash, a compaction or a newer index left them,
        and what waited for readers that are gone."""
        readers = leases.living(self.path)
        oldest = min([self.generation, *(needed.generation for needed in readers)])
        with self._opened.alone() as connection:
            waiting = segment_files.waiting(connection, oldest)
        if waiting is not None:
            with self._commit():
                self._forget(waiting)
        with self._opened.alone() as connection:
            known = segment_files.files(connection, self.path) | self.derived.files()
        if readers:
            known |= derived.files_from(self.path, min(needed.derived for needed in readers))
        for folder in (self.path / segment_files.FOLDER_NAME, self.path / "derived"):
            for file in folder.iterdir() if folder.is_dir() else ():
                if file not in known:
                    file.unlink(missing_ok=True)
