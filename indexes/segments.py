"""Rows on disk as they are searched: segments, what is deleted of them, and the neighbors that a search gives."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from indexes.kernels import as_float32

BLOCK_ROWS = 65_536
GATHER_BELOW = 4  # a filter that leaves less than a quarter of the rows has them gathered


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The k best rows of each query, best first; ties go to the lower row.

    Attributes:
        rows: int64 (q, k), -1 where there is none.
        scores: float32 (q, k), the inner product, which is the cosine of unit rows; -inf where there is none.
    """

    rows: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `first_row .. first_row + len(vectors)`; `dead` are the offsets of those deleted, ascending.

    copies: what is kept of rows for a scan (rounded.py, certified.py) by its kind and first row; one dict for all
    segments of a store, as is asked: queries put to them so far, by first row. names: what the rows are called where
    that is not their place, int64 ascending.
    """

    first_row: int
    vectors: np.ndarray  # (n, d) float16, usually mapped
    dead: np.ndarray  # (m,) int64
    copies: dict = field(default_factory=dict)
    names: np.ndarray | None = None
    asked: dict[int, int] = field(default_factory=dict)

    def rows(self, offsets: np.ndarray) -> np.ndarray:
        """The rows at these offsets; -1 stays -1."""
        if self.names is not None:
            return np.where(offsets < 0, -1, self.names[offsets])
        return np.where(offsets < 0, -1, offsets + self.first_row)

    def offsets(self, rows: np.ndarray) -> np.ndarray:
        """Where these rows are; -1 for those that are not here, or deleted."""
        if self.names is not None:
            offsets = np.searchsorted(self.names, rows)
            here = self.names[np.minimum(offsets, len(self.names) - 1)] == rows
        else:
            offsets = rows - self.first_row
            here = (offsets >= 0) & (offsets < len(self.vectors)) & (rows >= 0)
        if len(self.dead):
            here &= ~np.isin(offsets, self.dead)
        return np.where(here, offsets, -1)

    def alive(self) -> np.ndarray:
        """The rows that are not deleted, ascending."""
        return self.rows(np.delete(np.arange(len(self.vectors)), self.dead))

    def holds(self, row: int) -> bool:
        """Is that row one of it, deleted or not?"""
        return self.first_row <= row < self.first_row + len(self.vectors)

    def among(self, rows: np.ndarray | None) -> np.ndarray | None:
        """Those of these rows, ascending, that are here and not deleted; None for None."""
        return None if rows is None else rows[self.offsets(rows) >= 0]

    def blocks(self, at_once: int = BLOCK_ROWS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, vectors float32) of what is alive, so many rows at a time."""
        return ((rows, as_float32(vectors)) for rows, vectors in self.stored(at_once))

    def stored(self, at_once: int = BLOCK_ROWS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same as it is stored: (rows, vectors float16)."""
        for start in range(0, len(self.vectors), at_once):
            vectors = self.vectors[start : start + at_once]
            offsets = np.arange(start, start + len(vectors))
            low, high = np.searchsorted(self.dead, [start, start + len(vectors)])
            if high > low:
                alive = np.ones(len(vectors), bool)
                alive[self.dead[low:high] - start] = False
                offsets, vectors = offsets[alive], vectors[alive]
            if len(vectors):
                yield self.rows(offsets), vectors


def restrict(segments: Iterable[Segment], rows: np.ndarray) -> list[Segment]:
    """The segments with only `rows` (alive, ascending) left to answer.

    Few are gathered into a segment of their own, which costs once what a scan over them costs each time; where they are
    many, the others count as deleted.
    """
    segments = list(segments)
    if len(rows) * GATHER_BELOW < sum(len(segment.vectors) for segment in segments):
        return gather(segments, rows)
    return [
        replace(segment, dead=np.setdiff1d(np.arange(len(segment.vectors)), _within(segment, rows), True))
        for segment in segments
    ]


def gather(segments: Sequence[Segment], rows: np.ndarray) -> list[Segment]:
    """One segment of copies of these rows (ascending), which answer under their own numbers; none for no rows."""
    parts = [segment.vectors[_within(segment, rows)] for segment in segments]
    return [Segment(0, np.concatenate(parts), np.empty(0, np.int64), {}, rows)] if len(rows) else []


def _within(segment: Segment, rows: np.ndarray) -> np.ndarray:
    """The offsets of those rows that are in the segment."""
    low, high = np.searchsorted(rows, [segment.first_row, segment.first_row + len(segment.vectors)])
    return rows[low:high] - segment.first_row
