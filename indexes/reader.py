"""StoreReader: one committed state of a store, as it is searched and looked at.

It reads the state in one short transaction and stays on it: rows carry the generations they were born and died in, so
that a writer may go on meanwhile, and a lease (leases.py) keeps what it may still ask for.
"""

import copy
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from indexes import database, exact, items, segment_files, sound, verify
from indexes.approximate.derived import Derived
from indexes.approximate.recorded import Recorded
from indexes.errors import Damaged, Outdated, StoreError
from indexes.filters import Condition
from indexes.fulltext import ranking
from indexes.fulltext.words import Words
from indexes.items import Record
from indexes.opened import Opened
from indexes.segments import Neighbors, Segment, gather, restrict
from indexes.state import Kept, State, read
from indexes.typed import Malformed

COMPACT_FROM_SEGMENTS = 32
FILTERS_KEPT = 8


class StoreReader:
    """What can be asked of a store; `Store` opens one and writes to it.

    Threads may share it: each call is answered from one state. A forked child may go on with it, on the same state.

    Attributes:
        path: The folder.
    """

    _state: State

    def __init__(self, path: Path, opened: Opened) -> None:
        self.path = path
        self._opened = opened
        self._kept = Kept()
        self._is_view = False
        self._load()

    def close(self) -> None:
        """Let go of the files. Another thread that asks meanwhile gets a StoreError."""
        if self._is_view:
            return
        self._opened.close()
        state = self._state
        without = Derived(self.path, state.derived.recorded, [], self.dim)
        self._state = State(state.manifest, [], without)  # what is mapped is let go of
        self._kept.clear()

    def view(self) -> Self:
        """The state that is read now, to be asked several things while others write or `refresh`.

        Returns:
            A reader on that state, which shares what this one has open: it cannot write, and is not closed.

        Raises:
            StoreError: This one was closed.
        """
        with self._opened.alone():
            made = copy.copy(self)
        made._is_view = True
        return made

    def refresh(self, fits: "Callable[[Self], bool] | None" = None) -> bool:
        """Go to the newest committed state. Views stay on theirs, and hold no lease on it.

        Args:
            fits: Given a view of it, before anybody else sees it: where it says no, this one stays where it is.

        Returns:
            Whether it went there.

        Raises:
            Damaged: It cannot be read.
            Locked: Another process commits for longer than is waited.
            StoreError: This one was closed.
        """
        with self._opened.alone():
            newest = self.view()
            newest._load()
            if fits and not fits(newest):
                return False
            self._state = newest._state
            return True

    @property
    def key(self) -> tuple[int, int]:
        """Tells the state from all others that this process read, and from those of an index made in its place."""
        return self._opened.number, self.generation

    def marks(self) -> dict[str, tuple[int, int, int]]:
        """Tell files of rows that are as they were written: those are never changed.

        Returns:
            (inode, bytes, time of the last change) of each, by its path; one that is gone is left out.
        """
        found = {}
        for segment in self.segments:
            with suppress(OSError):
                file = Path(getattr(segment.vectors, "filename", ""))
                about = file.stat()
                found[str(file)] = about.st_ino, about.st_size, about.st_mtime_ns
        return found

    @property
    def manifest(self) -> dict[str, Any]:
        """What the store remembers of its making, and its generation."""
        return self._state.manifest

    @property
    def generation(self) -> int:
        """The number of the commit that is read."""
        return self._state.generation

    @property
    def segments(self) -> list[Segment]:
        """The rows of that commit."""
        return self._state.segments

    @property
    def approximate(self) -> Recorded | None:
        """What is recorded of the approximate index; None where there is none."""
        return self.derived.recorded

    @property
    def answered(self) -> tuple[int, int]:
        """How many shards answered, and of how many: a store is one, and answers or raises (sharded/reader.py)."""
        return 1, 1

    @property
    def derived(self) -> Derived:
        """The approximate index, where there is one."""
        return self._state.derived

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._state)

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.manifest["dim"]

    @property
    def holds_nothing(self) -> bool:
        """Was nothing ever committed to it?"""
        return self.manifest["next_row"] == 0

    # ---------------------------------------------------------------- ask

    def search(
        self, queries: np.ndarray, k: int, device: str = "cpu", where: Condition | None = None,
        recall: float | None = None,
    ) -> Neighbors:  # fmt: skip
        """The k rows nearest to each query by inner product.

        Args:
            queries: float32 (q, dim) of unit length.
            k: How many, at least 1.
            device: "cpu" or "cuda". On a GPU the answer is exact unless a recall is given.
            where: Only rows whose fields meet this (filters.parse).
            recall: What the approximate index, where there is one, must give. None is what it was built for; 1 asks for
                the exact answer.

        Returns:
            Rows and scores (q, k), the best first; row -1 where there are fewer.

        Raises:
            ValueError: The queries are of another shape or length.
            StoreError: There is no such device.
            BadFilter: The condition is too large for SQLite.
            Outdated: A condition is given, and what was opened was collected.

        Examples:
            >>> found = store.search(encoder.encode_texts(["a dog"]), 5)  # doctest: +SKIP
            >>> store.records(found.rows[0])  # doctest: +SKIP
        """
        queries = self._check(queries)
        state = self._now()
        segments = state.segments if where is None else self._matching(state, where)
        approximate = recall != 1 and (device == "cpu" or recall is not None)
        if approximate and not any(segment.names is not None for segment in segments):
            found = state.derived.search(segments, queries, k, recall, device)
            if found is not None:
                return found
        return exact.search(segments, queries, k, device)

    def search_words(self, asked: Words, k: int, where: Condition | None = None) -> Neighbors:
        """The k rows whose texts have the most of some words.

        Args:
            asked: The words (fulltext/words.py).
            k: How many, at least 1; fewer come where fewer rows have any of them.
            where: Only rows whose fields meet this (filters.parse).

        Returns:
            Rows and scores (1, n), the best first. The score is BM25, above 0.

        Raises:
            StoreError: An older version wrote the index, which kept no words.
            BadFilter: The condition is too large for SQLite.
            Outdated: What was opened was collected.

        Examples:
            >>> found = store.search_words(Words.parse("golden retriever"), 5)  # doctest: +SKIP
        """
        state = self._now()
        segments = state.segments if where is None else self._matching(state, where)
        with self._asking_words(state) as connection:
            rows, scores = ranking.nearest(connection, asked, k, _living(state), _among(segments))
        return Neighbors(rows[None], scores[None])

    def words_weight(self, asked: Words) -> float:
        """What a row would score that has all of some words.

        Args:
            asked: The words.

        Returns:
            Their weights together, at least 0: what scores of `search_words` are compared with.

        Raises:
            StoreError: An older version wrote the index, which kept no words.
            Outdated: What was opened was collected.
        """
        state = self._now()
        with self._asking_words(state) as connection:
            return ranking.weight(connection, asked, _living(state))

    def words_in(self, asked: Words, rows: Iterable[int]) -> list[tuple[str, ...]]:
        """Which of some words some rows have.

        Args:
            asked: The words.
            rows: Such as `search_words` gives.

        Returns:
            For each row the words as they were typed, neighbors together where they stand so in the row.

        Raises:
            StoreError: An older version wrote the index, which kept no words.
            Outdated: What was opened was collected.
        """
        with self._asking_words(self._now()) as connection:
            return ranking.matched(connection, asked, [int(row) for row in rows])

    def rows(self, where: Condition | None = None) -> np.ndarray:
        """The rows of the state that was opened.

        Args:
            where: Only rows whose fields meet this (filters.parse).

        Returns:
            int64 (n,), ascending.

        Raises:
            BadFilter: The condition is too large for SQLite.
            Outdated: What was opened was collected.
        """
        return self._rows(self._state, where)

    def records(self, rows: Iterable[int]) -> list[Record]:
        """What is known of some rows.

        Args:
            rows: Such as a search gives; no -1 among them.

        Returns:
            A record for each, in their order.

        Raises:
            KeyError: A row never was, or was collected before this state.
            Damaged: A record is not what was written.
            Outdated: What was opened was collected.
        """
        state, found, wanted = self._state, [], [int(row) for row in rows]
        for start in range(0, len(wanted), items.LOOKED_UP):  # in short transactions: a writer waits for each
            with self._reading(state) as connection:
                for row in wanted[start : start + items.LOOKED_UP]:
                    record = items.record(connection, row)
                    if record is None and any(segment.holds(row) for segment in state.segments):
                        raise Malformed(f"the record of row {row} is missing")
                    if record is None:
                        raise KeyError(f"row {row} is not in {self.path}")
                    found.append(record)
        return found

    def among(self, rows: Iterable[int]) -> np.ndarray:
        """Those of some rows that the state holds.

        Args:
            rows: Any numbers.

        Returns:
            int64 (n,), ascending, each once.
        """
        asked = np.unique(np.fromiter(rows, np.int64))
        here = [asked[segment.offsets(asked) >= 0] for segment in self._now().segments]
        return np.sort(np.concatenate([np.empty(0, np.int64), *here]))

    def vectors(self, rows: Iterable[int]) -> np.ndarray:
        """The stored vectors of some rows.

        Args:
            rows: Such as a search gives; no -1 among them. One may stand twice.

        Returns:
            float32 (n, dim) of unit length, in their order.

        Raises:
            Damaged: A row is of no segment.
        """
        wanted, place = np.unique(np.fromiter(rows, np.int64), return_inverse=True)
        if not len(wanted):
            return np.empty((0, self.dim), np.float32)
        (segment,) = gather(self._now().segments, wanted)
        if len(segment.vectors) != len(wanted):
            raise database.damaged(self.path, "rows of no segment")
        found = segment.vectors.astype(np.float32)
        return (found / np.linalg.norm(found, axis=1, keepdims=True))[place]

    def stamps(self) -> dict[str, str]:
        """The stamp of every item in the state that was opened, by its id.

        Returns:
            id -> stamp: what an update compares with the items that it is given.

        Raises:
            Outdated: What was opened was collected.
        """
        state = self._state
        with self._reading(state) as connection:
            return items.stamps(connection, state.generation)

    def stamps_of(self, ids: Sequence[str]) -> dict[str, str]:
        """The stamps of some items, by id: quick, where they are few among many.

        Args:
            ids: Those that the last commit does not hold are left out.

        Returns:
            id -> stamp, as of the last commit.
        """
        with self._opened.reading() as connection:
            return items.stamps_of(connection, ids)

    def fields_of(self, ids: Sequence[str]) -> dict[str, tuple[int, str]]:
        """The rows of some items and their fields as they are stored, by id: quicker than records, where few are read.

        Args:
            ids: Those that the last commit does not hold are left out.

        Returns:
            id -> (row, JSON), as of the last commit; `Record.read` reads it, `Record.text` is the same of a record.
        """
        with self._opened.reading() as connection:
            return items.fields_of(connection, ids)

    def ids_between(self, first: str, end: str) -> list[str]:
        """The ids of the last commit in a range.

        Args:
            first: From here on.
            end: Before this one, in the order of code points.

        Returns:
            The first LOOKED_UP of them (items.py), ascending.
        """
        with self._opened.reading() as connection:
            return items.ids_between(connection, first, end)

    # ---------------------------------------------------------------- look at

    def verify(self) -> list[str]:
        """Read everything of the state that was opened and compare it with its checksum.

        Returns:
            The problems found, one line each. Those of vectors, which can be encoded again, begin with "segments/";
            those of derived files, which can be made again, with "derived/", those of the table of words,
            which can be too, with verify.WORDS.

        Raises:
            Damaged: It cannot be read at all.
        """
        return verify.problems(self.path, self._now().segments) + self._now().derived.problems()

    def damaged(self, rows: Iterable[int] | None = None) -> list[int]:
        """The rows whose vectors are not what was written, or of no unit length.

        Args:
            rows: Only these are looked at; None for all.

        Returns:
            They, ascending. All of a segment where there is no telling.

        Raises:
            Outdated: What was opened was collected.
        """
        state = self._now()
        asked = None if rows is None else np.unique(np.fromiter(rows, np.int64))
        found: list[int] = []
        for segment in state.segments:
            with self._reading(state) as connection:
                found += sound.damaged(connection, segment, segment.among(asked))
        return found

    def require_sound(self, rows: Iterable[int] | None = None) -> None:
        """Raise Damaged, which names the items, where vectors are not what was written.

        To be called before they are written anywhere again: with a new checksum nobody would see it any more.

        Args:
            rows: Only these are looked at; None for all.

        Raises:
            Damaged: They are not.
            Outdated: What was opened was collected.
        """
        if found := self.damaged(rows):
            with self._opened.reading() as connection:
                first = sound.names(connection, found[: sound.NAMED])
            raise Damaged(
                f"{self.path} has vectors that are not what was written, those of {sound.listed(first, len(found))}: "
                f"`mmr verify --repair --index {self.path}` encodes them again"
            )

    def describe(self) -> dict[str, int]:
        """What the store takes.

        Returns:
            rows; deleted: rows that a compaction would drop; segments; not merged: rows that the approximate index
            does not know yet; bytes: on disk.
        """
        state = self._state
        return {
            "rows": len(state), "deleted": state.deleted,
            "segments": len(state.segments), "not merged": state.derived.unmerged(), "bytes": _bytes_below(self.path),
        }  # fmt: skip

    def needs_compaction(self) -> bool:
        """Do many small segments, or more dead rows than living ones, slow down every search?

        Returns:
            True where `compact` pays.
        """
        state = self._state
        return len(state.segments) >= COMPACT_FROM_SEGMENTS or state.deleted > len(state)

    # ---------------------------------------------------------------- inside

    def _now(self) -> State:
        """The state that is read. Raises StoreError after `close`."""
        with self._opened.alone():
            return self._state

    @contextmanager
    def _reading(self, state: State) -> Iterator[sqlite3.Connection]:
        """The database in one transaction, in which all of that state is there. Raises Outdated where it is not."""
        with self._opened.reading() as connection:
            if state.segments and not segment_files.are_there(connection, state.segments[0].first_row):
                raise Outdated(
                    f"{self.path} was rewritten, and what it held when it was opened is gone: run the command again"
                )
            yield connection

    @contextmanager
    def _asking_words(self, state: State) -> Iterator[sqlite3.Connection]:
        with self._reading(state) as connection:
            if database.version(connection) < 3:
                raise StoreError(
                    f"{self.path} is of an older version, without words: run `mmr index --index {self.path}` first"
                )
            yield connection

    def _load(self) -> None:
        """Go to the last committed state."""
        self._state = read(self.path, self._opened, self._kept)

    def _rows(self, state: State, where: Condition | None) -> np.ndarray:
        with self._reading(state) as connection:
            return items.rows(connection, state.generation, where)

    def _matching(self, state: State, where: Condition) -> list[Segment]:
        """The segments as a filter leaves them; those of the last few filters are kept."""
        kept = state.filtered.get(where)
        if kept is None:
            kept = restrict(state.segments, self._rows(state, where))
            with self._opened.alone():
                while len(state.filtered) >= FILTERS_KEPT:
                    del state.filtered[next(iter(state.filtered))]
                state.filtered[where] = kept
        return kept

    def _check(self, vectors: np.ndarray, dim: int | None = None) -> np.ndarray:
        """The vectors as float32, C-contiguous. Raises ValueError where they are not unit rows of `dim` numbers."""
        vectors, dim = np.ascontiguousarray(vectors, np.float32), dim or self.dim
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise ValueError(f"vectors of shape {vectors.shape}; this index holds rows of {dim}")
        length = np.linalg.norm(vectors, axis=1)
        if not np.all(np.abs(length - 1) < 1e-3):  # NaN fails as well
            raise ValueError("vectors must be finite and of unit length")
        return vectors


def _living(state: State) -> ranking.Living:
    return ranking.Living(len(state), _among(state.segments))


def _among(segments: Sequence[Segment]) -> Callable[[np.ndarray], np.ndarray]:
    """Given rows (n,), which of them these segments have, bool (n,)."""
    return lambda rows: np.any(
        [np.zeros(len(rows), bool), *(segment.offsets(rows) >= 0 for segment in segments)], axis=0
    )


def _bytes_below(path: Path) -> int:
    """Of all files; one that goes meanwhile has none."""
    total = 0
    for file in path.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total
