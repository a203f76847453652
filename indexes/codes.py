"""Exact top-k without torch: scan rows as whole numbers of eight bits, keep what rounding could hide, score it again.

Rows less their mean m, divided by one step s, are rounded to c in -127..127; a query is rounded to z with a step of its
own, w. The product of c and z is exact, so a = <q, m> + s w <c, z> is as far from <q, x> as the rounding alone can
bring it (Cauchy-Schwarz):

    e = |q - w z| |s c| + |q| |x - m - s c|, and what float32 loses in a sum

Once t is the k-th best true score of any rows, a row with a + e < t is not among the top k. t is found from the rows
that look best, scored in float32 as they are stored; all that is left is scored like them. A query that keeps too many
rows is named, and answered by brute force. Few queries are scanned by FAISS, many by ONNX Runtime.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from indexes import forks, mapped, products
from indexes.segments import as_float32

COPY_BYTES = 6 << 30  # of low-precision rows kept in memory for all segments together
PIECE_ROWS = 1 << 13  # rows rounded at once
SAMPLE = 4096  # rows whose mean is taken: any vector keeps the proof, a good one makes it narrow
BLOCK_SCORES = 1 << 20  # scores of one product: 4 MiB, in the cache while they are looked at
QUERIES_AT_ONCE = 256
GROUP = 32  # rows whose best score is compared first
MOST_KEPT = 4096  # rows a query may keep, beyond which it is answered by brute force
SCORED_AT_ONCE = 1 << 12  # rows whose float32 is made at once
FIRST_ASKED = 256  # rows that FAISS is asked for at first
FEW_QUERIES = 8  # so many are scanned by FAISS
NEVER = np.iinfo(np.int32).max
_making = forks.Lock()


class Codes:
    """The rounded rows of a segment, made when they are first needed: one byte a value.

    vectors: float16 (n, d), usually mapped. family: all copies of a store, which share COPY_BYTES. asked: queries that
    were put to these rows so far.
    """

    def __init__(self, vectors: np.ndarray, family: Mapping[Any, Any]) -> None:
        self.vectors, self.nbytes, self.asked, self._family = vectors, 0, 0, family
        self.rows = np.empty((0, vectors.shape[1]), np.uint8)  # with 128 added
        self.mean, self.step, self.error, self.length, self.greatest = (
            np.zeros(vectors.shape[1], np.float32),
            1.0,
            0.0,
            0.0,
            0.0,
        )

    def fits(self) -> bool:
        """Is there room for them?"""
        return (
            self.nbytes > 0 or self.vectors.size + sum(one.nbytes for one in list(self._family.values())) <= COPY_BYTES
        )

    def made(self) -> "Codes":
        """These, with their rows."""
        if not self.nbytes:
            with _making:
                if not self.nbytes:
                    self._make()
                    self.nbytes = self.rows.nbytes
        return self

    def _make(self) -> None:
        vectors = self.vectors
        self.mean = as_float32(vectors[:: max(1, len(vectors) // SAMPLE)]).mean(0)
        parts = [slice(start, start + PIECE_ROWS) for start in range(0, len(vectors), PIECE_ROWS)]
        self.step = max(max(float(np.abs(as_float32(vectors[part]) - self.mean).max()) for part in parts), 1e-30) / 127
        rows = np.empty((len(vectors), vectors.shape[1]), np.uint8)
        for part in parts:
            exact = as_float32(vectors[part])
            less = exact - self.mean
            code = np.rint(less / np.float32(self.step)).clip(-127, 127)
            np.add(code, 128, out=rows[part], casting="unsafe")
            code *= np.float32(self.step)
            self.length = max(self.length, _longest(code))
            self.error = max(self.error, _longest(less - code))
            self.greatest = max(self.greatest, _longest(exact))
        self.rows = rows


def _longest(rows: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", rows, rows).max()))


class _Asked:
    """Queries (q, d) rounded, with what turns products into scores, and the error of each."""

    def __init__(self, codes: Codes, queries: np.ndarray) -> None:
        self.step = np.maximum(np.abs(queries).max(1), 1e-30) / np.float32(127)
        whole = np.rint(queries / self.step[:, None]).clip(-127, 127)
        self.whole = whole.astype(np.int8)
        wide = queries.astype(np.float64)
        lost = np.linalg.norm(wide - whole * self.step[:, None].astype(np.float64), axis=1)
        length = np.linalg.norm(wide, axis=1)
        self.base = wide @ codes.mean.astype(np.float64)
        self.scale = self.step.astype(np.float64) * np.float32(codes.step)
        summed = queries.shape[1] * 2.0**-22 * length * (codes.greatest + np.linalg.norm(codes.mean) + codes.length)
        self.error = (lost * codes.length + length * codes.error) * (1 + queries.shape[1] * 2.0**-22) + summed + 1e-30

    def least(self, floor: np.ndarray) -> np.ndarray:
        """int32 (q,): the least product of a row that may score floor (q,) or more."""
        least = np.floor((floor - self.error - self.base) / self.scale)
        return np.clip(least, -NEVER, NEVER - 1).astype(np.int32)


def search(codes: Codes, dead: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k best offsets of each query in one segment, best first, ties to the lower one.

    dead: offsets that may not answer, ascending. queries: float32 (q, d). Returns offsets int64 (q, k), -1 where there
    is none, their float32 scores, -inf where there is none, and the numbers of the queries that were not answered.
    """
    offsets = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    unanswered = [np.empty(0, np.int64)]
    scan = _by_faiss if len(queries) <= FEW_QUERIES else _by_products
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        kept = _Kept(codes, queries[part], k)
        scan(kept, dead)
        unanswered.append(start + np.flatnonzero(kept.least == NEVER))
        kept.rank(offsets[part], scores[part])
    return offsets, scores, np.concatenate(unanswered)


def _by_faiss(kept: "_Kept", dead: np.ndarray) -> None:
    """FAISS's best by the products; more of them until what it left out cannot be among the top k."""
    alive = len(kept.codes.rows) - len(dead)
    for number, whole in enumerate(kept.asked.whole):
        count = min(max(FIRST_ASKED, 4 * kept.k), alive)
        while count:
            offsets, found = mapped.search(kept.codes.rows, dead, whole[None].astype(np.float32), count)
            values = found[0].astype(np.int32)
            kept.restart(number, offsets[0], values)
            kept.settle(np.array([number]))
            if count == alive or values[-1] < kept.least[number]:
                break
            if count >= kept.most:
                kept.least[number] = NEVER
                break
            count = min(kept.most, alive)


def _by_products(kept: "_Kept", dead: np.ndarray) -> None:
    """Some rows at a time against all queries, the products looked at while they are in the cache."""
    rows, columns = kept.codes.rows, np.ascontiguousarray(kept.asked.whole.T)
    block = max(BLOCK_SCORES // columns.shape[1] // GROUP, 1) * GROUP
    settled = 0
    for start in range(0, len(rows), block):
        values = products.products(rows[start : start + block], columns)
        low, high = np.searchsorted(dead, [start, start + block])
        values[dead[low:high] - start] = -NEVER
        kept.take(values, start)
        if start + block >= 2 * settled:  # the floor rises most at first
            settled = start + block
            kept.settle()


class _Kept:
    """The rows that may be among each query's top k.

    least: the product that a row needs, int32 (q,); NEVER for a query that was given up.
    """

    def __init__(self, codes: Codes, queries: np.ndarray, k: int) -> None:
        self.codes, self.queries, self.k, self.asked = codes, queries, k, _Asked(codes, queries)
        self.most = max(MOST_KEPT, 8 * k)
        self.least = np.full(len(queries), -NEVER + 1, np.int32)
        none = np.empty(0, np.int64)
        self.numbers, self.offsets, self.values = none, none, none.astype(np.int32)

    def restart(self, number: int, offsets: np.ndarray, values: np.ndarray) -> None:
        """Have these rows, and no others, for a query."""
        others = self.numbers != number
        self._keep(others, np.full(len(offsets), number), offsets, values)

    def _keep(self, old: Any, numbers: np.ndarray, offsets: np.ndarray, values: np.ndarray) -> None:
        self.numbers = np.concatenate([self.numbers[old], numbers])
        self.offsets = np.concatenate([self.offsets[old], offsets])
        self.values = np.concatenate([self.values[old], values])

    def take(self, values: np.ndarray, start: int) -> None:
        """Those of a block's products (rows, q) that are great enough."""
        rows, count = values.shape
        whole = rows // GROUP * GROUP
        groups = values[:whole].reshape(-1, GROUP, count)
        top = groups.max(1) if whole else np.empty((0, count), np.int32)
        if len(top) >= self.k and (self.least == -NEVER + 1).all():  # k groups hold k rows at least as good
            self._first_floor(top)
        group, number = np.nonzero(top >= self.least)
        hit, place = np.nonzero(groups[group, :, number] >= self.least[number][:, None])
        rest, rest_number = np.nonzero(values[whole:] >= self.least)
        offsets = np.concatenate([group[hit] * GROUP + place, rest + whole])
        numbers = np.concatenate([number[hit], rest_number])
        self._keep(slice(None), numbers, offsets + start, values[offsets, numbers])

    def _first_floor(self, top: np.ndarray) -> None:
        last = np.partition(top, len(top) - self.k, axis=0)[len(top) - self.k]
        self._raise(self.asked.base + self.asked.scale * last - self.asked.error, slice(None))

    def _raise(self, floor: np.ndarray, which: Any) -> None:
        """A floor that so many true scores reach, of these queries."""
        bounds = np.full(len(self.queries), -np.inf)
        bounds[which] = floor
        self.least = np.maximum(self.least, self.asked.least(bounds))

    def settle(self, which: np.ndarray | None = None) -> None:
        """Raise the floors by the true scores of the rows that look best, and let go of what is below them."""
        order = np.lexsort((-self.values.astype(np.int64), self.numbers))
        self._only(order)
        first = np.searchsorted(self.numbers, np.arange(len(self.queries) + 1))
        place = np.arange(len(self.numbers)) - first[self.numbers]
        look = np.flatnonzero(place < 2 * self.k)
        scores = _scores(self.codes.vectors, self.queries, self.numbers[look], self.offsets[look])
        table = np.full((len(self.queries), 2 * self.k), -np.inf, np.float32)
        table[self.numbers[look], place[look]] = scores
        self._raise(np.partition(table, self.k, axis=1)[:, self.k], slice(None))
        self._only(self.values >= self.least[self.numbers])
        self.least[np.bincount(self.numbers, minlength=len(self.queries)) > self.most] = NEVER
        self._only(self.least[self.numbers] != NEVER)

    def _only(self, which: np.ndarray) -> None:
        self.numbers, self.offsets, self.values = self.numbers[which], self.offsets[which], self.values[which]

    def rank(self, found: np.ndarray, scores: np.ndarray) -> None:
        """Score what is kept as it is stored, and write each query's best into found and scores (q, k)."""
        self._only((self.values >= self.least[self.numbers]) & (self.values > -NEVER))
        exact = _scores(self.codes.vectors, self.queries, self.numbers, self.offsets)
        order = np.lexsort((self.offsets, -exact, self.numbers))
        numbers, offsets, exact = self.numbers[order], self.offsets[order], exact[order]
        place = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
        within = place < self.k
        found[numbers[within], place[within]] = offsets[within]
        scores[numbers[within], place[within]] = exact[within]


def _scores(vectors: np.ndarray, queries: np.ndarray, numbers: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """float32 (n,): the inner product of each query, by its number, and the stored row at its offset."""
    scores = np.empty(len(numbers), np.float32)
    for start in range(0, len(numbers), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        scores[part] = (as_float32(vectors[offsets[part]]) * queries[numbers[part]]).sum(1)
    return scores
