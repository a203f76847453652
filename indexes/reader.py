"""StoreReader: one committed state of a store, as it is searched and looked at.

It reads the state in one short transaction and stays on it: rows carry the generations they were born and died in, so
that a writer may go on meanwhile.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from indexes import exact, items, segment_files
from indexes.approximate.derived import Derived
from indexes.approximate.recorded import KEY, Recorded
from indexes.database import DATABASE
from indexes.errors import Damaged
from indexes.filters import Condition
from indexes.items import Record
from indexes.segments import Neighbors, Segment, restrict

COMPACT_FROM_SEGMENTS = 32
FILTERS_KEPT = 8


class StoreReader:
    """What can be asked of a store; `Store` opens one and writes to it.

    Attributes:
        path: The folder.
        manifest: What the store remembers of its making, and its generation.
        generation: The number of the commit that is read.
        segments: The rows of that commit.
        derived: The approximate index, where there is one.
    """

    segments: list[Segment]
    manifest: dict[str, Any]
    generation: int
    derived: Derived

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._database = connection
        self._filtered: dict[Condition, list[Segment]] = {}  # what the last filters let through
        # What serves one state as it serves the next: rows in low precision by a segment's first row (exact.py fills
        # it), and the approximate index by its checksum (approximate/derived.py).
        self._copies: dict[int, Any] = {}
        self._approximate: dict[str, Any] = {}
        self._load()

    def close(self) -> None:
        """Let go of the files."""
        self.segments = []
        self._copies.clear()
        self._approximate.clear()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return sum(len(segment.vectors) - len(segment.dead) for segment in self.segments)

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.manifest["dim"]

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

        Examples:
            >>> found = store.search(encoder.encode_texts(["a dog"]), 5)  # doctest: +SKIP
            >>> store.records(found.rows[0])  # doctest: +SKIP
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
        """The rows of the state that was opened.

        Args:
            where: Only rows whose fields meet this (filters.parse).

        Returns:
            int64 (n,), ascending.

        Raises:
            BadFilter: The condition is too large for SQLite.
        """
        return items.rows(self._database, self.generation, where)

    def records(self, rows: Iterable[int]) -> list[Record]:
        """What is known of some rows.

        Args:
            rows: Such as a search gives; no -1 among them.

        Returns:
            A record for each, in their order.

        Raises:
            KeyError: A row never was, or was collected after a compaction.
        """
        found = []
        for row in rows:
            record = items.record(self._database, int(row))
            if record is None:
                raise KeyError(f"row {row} is not in {self.path}")
            found.append(record)
        return found

    def stamps(self) -> dict[str, str]:
        """The stamp of every item in the state that was opened, by its id.

        Returns:
            id -> stamp: what an update compares with the items that it is given.
        """
        return items.stamps(self._database, self.generation)

    def stamps_of(self, ids: Sequence[str]) -> dict[str, str]:
        """The stamps of some items, by id: quick, where they are few among many.

        Args:
            ids: Those that the last commit does not hold are left out.

        Returns:
            id -> stamp, as of the last commit.
        """
        return items.stamps_of(self._database, ids)

    def records_of(self, ids: Sequence[str]) -> dict[str, tuple[int, Record]]:
        """The rows and records of some items, by id.

        Args:
            ids: Those that the last commit does not hold are left out.

        Returns:
            id -> (row, record), as of the last commit.
        """
        return items.records_of(self._database, ids)

    def ids_between(self, first: str, end: str) -> list[str]:
        """The ids of the last commit in a range.

        Args:
            first: From here on.
            end: Before this one, in the order of code points.

        Returns:
            The first LOOKED_UP of them (items.py), ascending.
        """
        return items.ids_between(self._database, first, end)

    # ---------------------------------------------------------------- look at

    def verify(self) -> list[str]:
        """Read everything and compare it with its checksum.

        Returns:
            The problems found, one line each; those of derived files, which can be made again, begin with "derived/".
        """
        checked = [line[0] for line in self._database.execute("PRAGMA integrity_check")]
        broken = [f"{DATABASE}: {line}" for line in checked if line != "ok"]
        return broken + segment_files.problems(self._database, self.path) + self.derived.problems()

    def describe(self) -> dict[str, int]:
        """What the store takes.

        Returns:
            rows; deleted: rows that a compaction would drop; segments; not merged: rows that the approximate index
            does not know yet; bytes: on disk.
        """
        return {
            "rows": len(self), "deleted": sum(len(segment.dead) for segment in self.segments),
            "segments": len(self.segments), "not merged": self.derived.unmerged(),
            "bytes": sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
        }  # fmt: skip

    def needs_compaction(self) -> bool:
        """Do many small segments, or more dead rows than living ones, slow down every search?

        Returns:
            True where `compact` pays.
        """
        dead = sum(len(segment.dead) for segment in self.segments)
        return len(self.segments) >= COMPACT_FROM_SEGMENTS or dead > len(self)

    # ---------------------------------------------------------------- inside

    def _load(self) -> None:
        """Read the last committed state in one transaction; map the segments."""
        try:
            self._database.execute("BEGIN")
            lines = self._database.execute("SELECT key, value FROM manifest")
            self.manifest = {key: json.loads(value) for key, value in lines}
            self.generation = self.manifest["generation"]
            self.segments = [self._mapped(*line) for line in segment_files.living(self._database)]
            self._database.execute("COMMIT")
            said = self.manifest.get(KEY)
            recorded = Recorded.from_json(said) if said else None
            self.derived = Derived(self.path, recorded, self.segments, self.dim, self._approximate)
            self._filtered.clear()
            for gone in self._copies.keys() - {segment.first_row for segment in self.segments}:
                del self._copies[gone]
        except (sqlite3.DatabaseError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, sqlite3.OperationalError) and "disk" in str(error):
                raise
            raise Damaged(
                f"{self.path / DATABASE} cannot be read ({error}): restore it, or remove {self.path} and index again"
            ) from error

    def _mapped(self, number: int, first_row: int, count: int) -> Segment:
        vectors = segment_files.mapped_rows(self.path, number, count, self.dim)
        dead = items.dead(self._database, first_row, first_row + count) - first_row
        return Segment(first_row, vectors, dead, self._copies)

    def _matching(self, where: Condition) -> list[Segment]:
        """The segments as a filter leaves them; those of the last few filters are kept."""
        if where not in self._filtered:
            while len(self._filtered) >= FILTERS_KEPT:
                del self._filtered[next(iter(self._filtered))]
            self._filtered[where] = restrict(self.segments, self.rows(where))
        return self._filtered[where]

    def _check(self, vectors: np.ndarray, dim: int | None = None) -> np.ndarray:
        """The vectors as float32, C-contiguous. Raises ValueError where they are not unit rows of `dim` numbers."""
        vectors, dim = np.ascontiguousarray(vectors, np.float32), dim or self.dim
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise ValueError(f"vectors of shape {vectors.shape}; this index holds rows of {dim}")
        length = np.linalg.norm(vectors, axis=1)
        if not np.all(np.abs(length - 1) < 1e-3):  # NaN fails as well
            raise ValueError("vectors must be finite and of unit length")
        return vectors
