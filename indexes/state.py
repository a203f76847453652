"""State: one commit of a store, as a reader stays on it. It is read in one transaction, once the reader is counted."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexes import database, items, leases, manifest, proof, segment_files
from indexes.approximate.derived import Derived
from indexes.approximate.recorded import KEY, Recorded
from indexes.filters import Condition
from indexes.opened import Opened
from indexes.segments import Segment


@dataclass(frozen=True, slots=True)
class State:
    """One commit, as it was read; nothing in it changes. filtered: what the last filters let through."""

    manifest: dict[str, Any]
    segments: list[Segment]
    derived: Derived
    filtered: dict[Condition, list[Segment]] = field(default_factory=dict)

    @property
    def generation(self) -> int:
        """The number of the commit."""
        return self.manifest["generation"]

    def __len__(self) -> int:
        return sum(len(segment.vectors) - len(segment.dead) for segment in self.segments)

    @property
    def deleted(self) -> int:
        """Rows that a compaction would drop."""
        return sum(len(segment.dead) for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Kept:
    """What serves one state of a store as it serves the next.

    copies: rows in low precision by their kind and a segment's first row (exact.py fills it). asked: queries put to
    segments so far, by first row. approximate: the approximate index by
    its checksum (approximate/derived.py).
    """

    copies: dict[tuple[str, int], Any] = field(default_factory=dict)
    asked: dict[int, int] = field(default_factory=dict)
    approximate: dict[str, Any] = field(default_factory=dict)

    def only(self, segments: Iterable[Segment]) -> None:
        """Let go of the copies of other segments than these."""
        first_rows = {segment.first_row for segment in segments}
        for gone in [key for key in list(self.copies) if key[1] not in first_rows]:
            self.copies.pop(gone, None)
        for gone_row in self.asked.keys() - first_rows:
            self.asked.pop(gone_row, None)

    def clear(self) -> None:
        """Let go of everything."""
        self.copies.clear()
        self.asked.clear()
        self.approximate.clear()


def read(path: Path, opened: Opened, kept: Kept) -> State:
    """The last committed state, its segments mapped. Raises Damaged, StoreError."""
    _count_in(opened)
    with opened.reading() as connection:
        format_ = database.require_plain(connection)
        said = manifest.read(connection)
        living = segment_files.living(connection)
        manifest.require_fitting(said, living)
        if format_ > 1:
            proof.require(connection)
        mapped = [_mapped(connection, path, said["dim"], kept, *line) for line in living]
        if format_ > 1:
            proof.require_dead(connection, sum(marks for _, marks in mapped))
        recorded = _recorded(said)
    segments = [segment for segment, _ in mapped]
    kept.only(segments)
    return State(said, segments, Derived(path, recorded, segments, said["dim"], kept.approximate))


def _count_in(opened: Opened) -> None:
    """Have a reader's lease from the state on that is the newest now: what is read after this is kept."""
    with opened.reading() as connection:
        database.require_plain(connection)
        said = manifest.read(connection)
        recorded = _recorded(said)
    opened.need(leases.Needed(said["generation"], recorded.number if recorded else 0))


def _recorded(said: dict[str, Any]) -> Recorded | None:
    return Recorded.from_json(said[KEY]) if said.get(KEY) else None


def _mapped(
    connection: sqlite3.Connection, path: Path, dim: int, kept: Kept, number: int, first_row: int, count: int
) -> tuple[Segment, int]:
    """A segment, and the sum of the marks of its dead rows."""
    vectors = segment_files.mapped_rows(path, number, count, dim)
    rows = items.dead(connection, first_row, first_row + count)
    return Segment(first_row, vectors, rows - first_row, kept.copies, asked=kept.asked), proof.of_dead(rows)
