"""Where each right answer of a query stands among all items, in both directions at once, without a matrix of scores.

Scores are made in tiles, and of each only how many wrong items beat a right one is kept: memory grows with queries and
right answers, never with queries times items. Every metric is computed from these places (metrics.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

EQUAL = 5e-7  # scores that are no further apart are a tie: the same vectors in other tiles differ by their rounding
TILE = 1024  # rows of either side that are scored at once
SORTED_FROM = 12  # right answers of one query, from which a tile is sorted instead of compared with each


@dataclass(frozen=True, slots=True)
class Right:
    """Which items answer which queries: p pairs, each once.

    Attributes:
        query: int64 (p,).
        item: int64 (p,).
        grade: float64 (p,), how well, above 0; ones where relevance has no grades.
    """

    query: np.ndarray
    item: np.ndarray
    grade: np.ndarray

    @classmethod
    def of(
        cls,
        query: Sequence[int] | np.ndarray,
        item: Sequence[int] | np.ndarray,
        grade: Sequence[float] | np.ndarray | None = None,
    ) -> "Right":
        """From arrays of numbers. Raises ValueError where a pair comes twice."""
        query, item = np.asarray(query, np.int64), np.asarray(item, np.int64)
        grade = np.ones(len(query)) if grade is None else np.asarray(grade, np.float64)
        order = np.lexsort((item, query))
        made = cls(query[order], item[order], grade[order])
        if ((np.diff(made.query) == 0) & (np.diff(made.item) == 0)).any():
            raise ValueError("an item is said twice to answer the same query")
        return made

    def turned(self) -> "Right":
        """The same with items for queries."""
        return Right.of(self.item, self.query, self.grade)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Where the right answers stand: p places, those of one query together.

    Attributes:
        query: int64 (p,), ascending.
        worst: int64 (p,), the place from 1, where wrong items of the same score stand ahead.
        best: int64 (p,), where they stand behind.
        grade: float64 (p,).
        queries: How many queries there are; numbers run from 0.
        items: How many items each was ranked among.
    """

    query: np.ndarray
    worst: np.ndarray
    best: np.ndarray
    grade: np.ndarray
    queries: int
    items: int

    def part(self, chosen: np.ndarray) -> "Ranking":
        """Of some queries alone, numbered anew in their order. chosen: their numbers, each once, ascending."""
        kept = np.isin(self.query, chosen)
        query = np.searchsorted(chosen, self.query[kept])
        return Ranking(query, self.worst[kept], self.best[kept], self.grade[kept], len(chosen), self.items)


def rank(
    queries: np.ndarray, items: np.ndarray, right: Right, device: str | None = None
) -> tuple[Ranking, Ranking]:  # fmt: skip
    """Both directions: items for queries, and queries for items, of the same scores.

    Args:
        queries: float32 (q, d). A row that is not all numbers finds every wrong item first.
        items: float32 (n, d); a score is the product of two rows. One that is not all numbers is found last.
        right: What answers what. Queries, and items, without any right answer have no place.
        device: Where torch is to score and to count, "cuda" (not run on a card yet) or any other; None for NumPy. The
            places are the same but where a score is EQUAL from a right one to the last bit; TF32, which torch leaves
            off unasked, would not give them.

    Returns:
        How the items stand for each query, and how the queries stand for each item.
    """
    (queries, lost), (items, never) = finite(queries), finite(items)
    there = _Places(queries, items, right, lost, never)
    back = _Places(items, queries, right.turned(), never, lost)
    if device is not None:
        queries, items, lost, never = (_on(device, array) for array in (queries, items, lost, never))
        there.move(device)
        back.move(device)
    for rows, columns, scores in wrong_scores(queries, items, right, lost, never):
        there.count(scores, rows)
        back.count(scores.T, columns)
    return there.ranking(), back.ranking()


def wrong_scores(
    queries: Any, items: Any, right: Right, lost: Any, never: Any
) -> Iterator[tuple[slice, slice, Any]]:  # fmt: skip
    """The scores of all queries with all items, in tiles of TILE rows of either side: (rows, columns, scores).

    Right pairs are NaN, which is neither more nor less than anything; what is no number (`finite`) is -inf.
    """
    for start in range(0, len(queries), TILE):
        rows = slice(start, start + TILE)
        low, high = np.searchsorted(right.query, (start, start + TILE))
        for first in range(0, len(items), TILE):
            columns = slice(first, first + TILE)
            scores = queries[rows] @ items[columns].T
            scores[lost[rows]], scores[:, never[columns]] = -np.inf, -np.inf
            row, column = right.query[low:high] - start, right.item[low:high] - first
            here = (column >= 0) & (column < scores.shape[1])
            scores[row[here], column[here]] = np.nan
            yield rows, columns, scores


def right_scores(
    queries: np.ndarray, items: np.ndarray, right: Right, lost: np.ndarray, never: np.ndarray
) -> np.ndarray:  # fmt: skip
    """The score of each right pair: float32 (p,); -inf where either is no number (`finite`)."""
    score = np.empty(len(right.query), np.float32)
    for start in range(0, len(score), TILE):
        part = slice(start, start + TILE)
        score[part] = np.einsum("pd,pd->p", queries[right.query[part]], items[right.item[part]])
    score[lost[right.query] | never[right.item]] = -np.inf
    return score


def finite(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows with zeros for those that are no numbers, and which those are: they are found last, and find nothing."""
    bad = ~np.isfinite(rows).all(1)
    return (np.where(bad[:, None], np.float32(0), rows) if bad.any() else rows), bad


def _on(device: str, array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


class _Places:
    """Counts, for the right answers of each query, the wrong items that beat them."""

    def __init__(
        self, queries: np.ndarray, items: np.ndarray, right: Right, lost: np.ndarray, never: np.ndarray
    ) -> None:  # fmt: skip
        self._right, self._shape = right, (len(queries), len(items))
        score = right_scores(queries, items, right, lost, never)
        counts = np.bincount(right.query, minlength=len(queries))
        self._column = np.arange(len(score)) - (np.cumsum(counts) - counts)[right.query]  # its number among its query's
        self._score = score
        self._blocks = [self._block(start) for start in range(0, len(queries), TILE)]

    def _block(self, start: int) -> "_Block":
        """The queries of a tile, as wide as the one with the most right answers: one alone may have thousands."""
        first, last = np.searchsorted(self._right.query, (start, start + TILE))
        row, column = self._right.query[first:last] - start, self._column[first:last]
        asked = np.full((min(TILE, self._shape[0] - start), 1 + column.max(initial=0)), np.inf, np.float32)
        asked[row, column] = self._score[first:last]
        return _Block(row, column, asked)

    def move(self, device: str) -> None:
        """Count tiles of torch, which lie on a device."""
        for block in self._blocks:
            block.asked, block.reach, block.beat = (_on(device, one) for one in (block.asked, block.reach, block.beat))

    def count(self, scores: np.ndarray, rows: slice) -> None:
        """Add a tile of scores, a row for each of these queries."""
        self._blocks[rows.start // TILE].count(scores)

    def ranking(self) -> Ranking:
        """The places: of wrong items ahead, and of right ones that are ahead by score, then by the lower grade."""
        right = self._right
        worst = np.concatenate([block.counted(block.reach) for block in self._blocks])
        best = np.concatenate([block.counted(block.beat) for block in self._blocks])
        worst += self._among(right.grade)
        best += self._among(-right.grade)
        return Ranking(right.query, worst, best, right.grade, *self._shape)

    def _among(self, then: np.ndarray) -> np.ndarray:
        """The place of each right answer among those of its query, from 1: by score, then by what is given."""
        order = np.lexsort((then, -self._score, self._right.query))
        place = np.empty(len(order), np.int64)
        place[order] = self._column + 1
        return place


class _Block:
    """The right answers of some queries, the n-th of each in column n; infinity, which nothing reaches, behind them.

    asked, float32 (rows, most): their scores. reach, beat, int64 of that shape: how many wrong items score at least as
    much, and more.
    """

    def __init__(self, row: np.ndarray, column: np.ndarray, asked: np.ndarray) -> None:
        self._at = row, column
        self.asked: Any = asked
        self.reach: Any = np.zeros(asked.shape, np.int64)
        self.beat: Any = np.zeros(asked.shape, np.int64)

    def count(self, scores: Any) -> None:
        """Add a tile of scores, a row for each query."""
        if self.asked.shape[1] >= SORTED_FROM and isinstance(scores, np.ndarray):
            self._count_sorted(np.sort(scores, 1))
            return
        for number in range(self.asked.shape[1]):
            asked = self.asked[:, number, None]
            self.reach[:, number] += _counted(scores >= asked - np.float32(EQUAL))
            self.beat[:, number] += _counted(scores > asked + np.float32(EQUAL))

    def _count_sorted(self, scores: np.ndarray) -> None:
        for row, (held, asked) in enumerate(zip(scores, self.asked, strict=True)):
            count = np.searchsorted(held, np.nan)
            self.reach[row] += count - np.searchsorted(held[:count], asked - np.float32(EQUAL))
            self.beat[row] += count - np.searchsorted(held[:count], asked + np.float32(EQUAL), "right")

    def counted(self, numbers: Any) -> np.ndarray:
        """reach or beat of the right answers, in their order."""
        held = numbers if isinstance(numbers, np.ndarray) else numbers.cpu().numpy()
        return held[self._at]


def _counted(said: Any) -> Any:
    """How many of each row, at most TILE. count_nonzero takes three times as long where the tile is turned."""
    if not isinstance(said, np.ndarray):
        return said.sum(1)
    return said.view(np.uint8).sum(1, dtype=np.uint16)
