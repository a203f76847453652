"""Exact top-k without torch: scan rows in low precision, keep what rounding could hide, score it again.

Once t is the k-th best true score of any rows, a row that is scanned as a, give or take e (rounded.py), with a + e < t
is not among the top k. t is found from the rows that look best, scored in float32 as they are stored; all that is left
is scored like them. A query that keeps too many rows is named, and answered by brute force.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from indexes import cpu, kernels
from indexes.rounded import Rows

BLOCK_SCORES = 1 << 19  # scores of one product: 2 MiB, in the cache while they are looked at
BLOCK_ROWS = 1 << 18  # rows of one product at most: one core reads so many about as fast as two do
QUERIES_AT_ONCE, MANY_QUERIES = 256, 64
GROUP = 32  # rows whose best score is compared first
MOST_KEPT = 4096  # rows a query may keep, beyond which it is answered by brute force

Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # numbers of queries, offsets of rows, products


def search(scanned: Rows, dead: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k best offsets of each query in one segment, best first, ties to the lower one.

    dead: offsets that may not answer, ascending. queries: float32 (q, d). Returns offsets int64 (q, k), -1 where there
    is none, their float32 scores, -inf where there is none, and the numbers of the queries that were not answered.
    """
    offsets = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    step = max(1, min(QUERIES_AT_ONCE, -(-len(queries) // cpu.cores())))
    alone = step >= MANY_QUERIES  # enough for a core, which needs nothing from the others then

    def one(start: int) -> np.ndarray:
        part = slice(start, start + (step if alone else QUERIES_AT_ONCE))
        kept = _Kept(scanned, queries[part], k)
        _scan(kept, dead, _in_turn if alone else _by_cores)
        kept.rank(offsets[part], scores[part])
        return start + np.flatnonzero(kept.least == kept.asked.never)

    if alone:
        unanswered = [found for _, found in _by_cores(one, range(0, len(queries), step))]
    else:
        unanswered = [one(start) for start in range(0, len(queries), QUERIES_AT_ONCE)]
    return offsets, scores, np.concatenate([np.empty(0, np.int64), *unanswered])


def _scan(kept: "_Kept", dead: np.ndarray, each: "_Each") -> None:
    """Some rows at a time against all queries, the products looked at while they are in the cache."""
    rows, columns = kept.scanned.rows, kept.asked.columns
    block = max(_rows_at_once(columns.count) // GROUP, 1) * GROUP

    def look(start: int) -> Found:
        values = columns.times(rows[start : start + block])
        low, high = np.searchsorted(dead, [start, start + block])
        values[dead[low:high] - start] = kept.asked.dead
        return kept.among(values, start)

    settled = 0
    for start, found in each(look, range(0, len(rows), block)):
        kept.take(found)
        if start + block >= 4 * settled:  # the floor rises most at first
            settled = start + block
            kept.settle()


def _rows_at_once(queries: int) -> int:
    """A query or two are a stream of rows, whose products are few; more are a matrix that should stay in the cache."""
    return BLOCK_ROWS if queries <= kernels.FEW else BLOCK_SCORES // queries


_Each = Callable[[Callable[[int], Any], range], Iterator[tuple[int, Any]]]


def _in_turn(do: Callable[[int], Any], starts: range) -> Iterator[tuple[int, Any]]:
    return ((start, do(start)) for start in starts)


def _by_cores(do: Callable[[int], Any], starts: range) -> Iterator[tuple[int, Any]]:
    if len(starts) < 2 or cpu.cores() < 2:
        yield from _in_turn(do, starts)
        return
    with ThreadPoolExecutor(cpu.cores()) as threads:
        yield from zip(starts, threads.map(do, starts), strict=True)


class _Kept:
    """The rows that may be among each query's top k.

    least: the product that a row needs, (q,); `never` for a query that was given up. It only grows, so who has read an
    earlier one keeps more than need be.
    """

    def __init__(self, scanned: Rows, queries: np.ndarray, k: int) -> None:
        self.scanned, self.queries, self.k, self.asked = scanned, queries, k, scanned.asked(queries)
        self.most = max(MOST_KEPT, 8 * k)
        self.least = np.full(len(queries), self.asked.lowest, self.asked.type)
        none = np.empty(0, np.int64)
        self.numbers, self.offsets, self.values = none, none, np.empty(0, self.asked.type)

    def among(self, values: np.ndarray, start: int) -> Found:
        """Those of a block's products (rows, q) that are great enough. For any thread: changes nothing."""
        rows, count = values.shape
        whole = rows // GROUP * GROUP
        groups = values[:whole].reshape(-1, GROUP, count)
        top, least = _tops(values[:whole]), self.least
        if len(top) >= self.k and (least == self.asked.lowest).all():  # k groups hold k rows at least as good
            least = np.maximum(least, self._first(top))
        group, number = np.nonzero(top >= least)
        hit, place = np.nonzero(groups[group, :, number] >= least[number][:, None])
        rest, rest_number = np.nonzero(values[whole:] >= least)
        offsets = np.concatenate([group[hit] * GROUP + place, rest + whole])
        numbers = np.concatenate([number[hit], rest_number])
        return numbers, offsets + start, values[offsets, numbers]

    def _first(self, top: np.ndarray) -> np.ndarray:
        last = np.partition(top, len(top) - self.k, axis=0)[len(top) - self.k]
        return self.asked.least(self.asked.base + self.asked.scale * last - self.asked.error)

    def take(self, found: Found) -> None:
        """Have these as well."""
        numbers, offsets, values = found
        self.numbers = np.concatenate([self.numbers, numbers])
        self.offsets = np.concatenate([self.offsets, offsets])
        self.values = np.concatenate([self.values, values])

    def settle(self) -> None:
        """Raise the floors by the true scores of the rows that look best, and let go of what is below them."""
        self._only(self.values >= self.least[self.numbers])
        self._only(np.lexsort((-self.values.astype(np.float64), self.numbers)))
        first = np.searchsorted(self.numbers, np.arange(len(self.queries) + 1))
        place = np.arange(len(self.numbers)) - first[self.numbers]
        look = np.flatnonzero(place < 2 * self.k)
        scores = kernels.scores(self.scanned.vectors, self.queries, self.numbers[look], self.offsets[look])
        table = np.full((len(self.queries), 2 * self.k), -np.inf, np.float32)
        table[self.numbers[look], place[look]] = scores
        floor = np.partition(table, self.k, axis=1)[:, self.k]  # so many true scores reach it
        least = np.maximum(self.least, self.asked.least(floor.astype(np.float64)))
        self._only(self.values >= least[self.numbers])
        least[np.bincount(self.numbers, minlength=len(self.queries)) > self.most] = self.asked.never
        self.least = least
        self._only(least[self.numbers] != self.asked.never)

    def _only(self, which: np.ndarray) -> None:
        self.numbers, self.offsets, self.values = self.numbers[which], self.offsets[which], self.values[which]

    def rank(self, found: np.ndarray, scores: np.ndarray) -> None:
        """Score what is kept as it is stored, and write each query's best into found and scores (q, k)."""
        self._only((self.values >= self.least[self.numbers]) & (self.values > self.asked.dead))
        exact = kernels.scores(self.scanned.vectors, self.queries, self.numbers, self.offsets)
        order = np.lexsort((self.offsets, -exact, self.numbers))
        numbers, offsets, exact = self.numbers[order], self.offsets[order], exact[order]
        place = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
        within = place < self.k
        found[numbers[within], place[within]] = offsets[within]
        scores[numbers[within], place[within]] = exact[within]


def _tops(values: np.ndarray) -> np.ndarray:
    """(n / GROUP, q): the greatest of each group of rows. Few queries are looked at one after the other, in a line."""
    count = values.shape[1]
    if count <= 4:
        lines = [np.ascontiguousarray(values[:, number]).reshape(-1, GROUP).max(1) for number in range(count)]
        return np.stack(lines, 1)
    return values.reshape(-1, GROUP, count).max(1) if len(values) else np.empty((0, count), values.dtype)
