"""Exact top-k, faster than float32 can be read: scan in low precision, keep what rounding could hide, score it again.

Let a(q, x) be the low-precision score of a row and e a bound of |a(q, x) - <q, x>|. k rows with a - e >= t prove that
the k-th best true score is at least t, so a row with a + e < t is not among the top k. All others are kept and scored
in float32 on the stored rows: the result is that of float32 brute force, proven query by query. A query that keeps too
many rows is named, and answered by brute force. The bound (Cauchy-Schwarz on the rounding errors; that of the sums):

    e = |q - q~| |x| + |q~| |x - x~| + |q~| |x~| d 2^-23

This module imports torch: import it late. It is taken on a GPU, and on AMX where torch is loaded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from indexes import forks, kernels
from indexes.cpu import has_fast_bf16
from indexes.rounded import COPY_BYTES

PIECE_ROWS = 1 << 18  # rows that are rounded, and kept, together
ROUNDED_AT_ONCE = 1 << 11  # of them, while their float32 is in the cache
QUERIES_AT_ONCE = 1024
BLOCK_SCORES = 1 << 23  # scores of one matrix product: 16 MiB of bfloat16
GROUP = 64  # rows whose best score is compared first
MOST_KEPT = 4096  # rows a query may keep, beyond which it is answered by brute force
LOOSER = 1.0001  # the norms in the bounds are themselves float32
_making = forks.Lock()  # one copy, not one a thread


@dataclass(frozen=True, slots=True)
class Rounded:
    """Low-precision rows (n, d). error, length: the greatest |x - x~| and |x~|."""

    rows: Tensor
    error: Tensor
    length: Tensor


class Copies:
    """The low-precision copies of a segment's rows, made piece by piece when they are first needed.

    vectors: float16 (n, d), usually mapped. family: the copies of all segments of a store, which share COPY_BYTES.
    Deletions change nothing in them, so a Store keeps them from one generation to the next.
    """

    def __init__(self, vectors: np.ndarray, family: Mapping[Any, Any] | None = None) -> None:
        self.vectors = vectors
        self.nbytes = 0
        self._family = {0: self} if family is None else family
        self._made: dict[tuple, Rounded] = {}

    def pieces(self, device: torch.device) -> Iterator[tuple[int, Rounded]]:
        """(first offset, rows) of PIECE_ROWS at a time."""
        for start in range(0, len(self.vectors), PIECE_ROWS):
            yield start, self._kept(device, start) or self._rounded(device, start)

    def _kept(self, device: torch.device, start: int) -> Rounded | None:
        """The piece that is kept, made when it is first asked for; None where there is no room for it."""
        key = device, start
        if key not in self._made:
            with _making:
                size = len(self.vectors[start : start + PIECE_ROWS]) * self.vectors.shape[1] * low_type(device).itemsize
                if key not in self._made and size <= self._room(device):
                    self._made[key] = self._rounded(*key)
                    self.nbytes += size
        return self._made.get(key)

    def _rounded(self, device: torch.device, start: int) -> Rounded:
        return rounded(torch.from_numpy(np.array(self.vectors[start : start + PIECE_ROWS])).to(device))

    def _room(self, device: torch.device) -> int:
        """Bytes that may still be kept: of COPY_BYTES, or half of what is free on a GPU."""
        if device.type == "cuda":
            return torch.cuda.mem_get_info(device)[0] // 2
        return COPY_BYTES - sum(one.nbytes for one in list(self._family.values()))


def low_type(device: torch.device) -> torch.dtype:
    """The type that matrices are fastest in."""
    return torch.bfloat16 if device.type == "cuda" or has_fast_bf16() else torch.float32


def rounded(exact: Tensor) -> Rounded:
    """Float16 rows (n, d) in the type that matrices are fastest in, with one error for all of them.

    A part at a time, so that its float32 never leaves the cache.
    """
    low = torch.empty_like(exact, dtype=low_type(exact.device))
    errors, lengths = [], []
    for part, kept in zip(exact.split(ROUNDED_AT_ONCE), low.split(ROUNDED_AT_ONCE), strict=True):
        kept.copy_(part)
        nearly = kept.float()
        lengths.append(nearly.norm(dim=1).max())
        errors.append((part.float() - nearly).norm(dim=1).max())
    return Rounded(low, torch.stack(errors).max(), torch.stack(lengths).max())


def search(
    copies: Copies, dead: np.ndarray, queries: np.ndarray, k: int, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k best offsets of each query in one segment, best first, ties to the lower one.

    dead: offsets that may not answer, ascending. queries: float32 (q, d). Returns offsets int64 (q, k), -1 where there
    is none, their float32 scores, -inf where there is none, and the numbers of the queries that were not answered.
    """
    offsets = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    unanswered = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        kept = _scan(copies, torch.from_numpy(dead), torch.from_numpy(queries[part]), k, torch.device(device))
        unanswered.append(start + kept.full())
        _rank(copies.vectors, queries[part], *kept.candidates(), offsets[part], scores[part])
    return offsets, scores, np.concatenate(unanswered)


def _scan(copies: Copies, dead: Tensor, queries: Tensor, k: int, device: torch.device) -> "_Kept":
    dead, queries = dead.to(device), queries.to(device)
    kept = _Kept(len(queries), k, device)
    for start, low in copies.pieces(device):
        here = dead[(dead >= start) & (dead < start + len(low.rows))] - start
        _scan_blocks(low, start, here, queries, kept)
    return kept


def _scan_blocks(low: Rounded, start: int, dead: Tensor, queries: Tensor, kept: "_Kept") -> None:
    """A matrix product for some rows at a time, its scores looked at while they are in the cache."""
    rough = queries.to(low.rows.dtype)
    bound = error_bound(queries, rough.float(), low) * LOOSER
    transposed = rough.T.contiguous()
    block = max(BLOCK_SCORES // len(queries) // GROUP, 2 * kept.k) * GROUP
    for first in range(0, len(low.rows), block):
        scores = low.rows[first : first + block] @ transposed  # (rows, q)
        here = dead[(dead >= first) & (dead < first + block)] - first
        if len(here):
            scores.index_fill_(0, here, -torch.inf)
        numbers, offsets, values = _above(scores, kept, bound)
        if len(numbers):
            # A score that is stored in bfloat16 was rounded once more.
            error = bound[numbers] + (values.abs() * 2.0**-8 * 1.01 if scores.dtype == torch.bfloat16 else 0)
            kept.take(numbers, offsets + (start + first), values - error, values + error)


def error_bound(queries: Tensor, rough: Tensor, low: Rounded) -> Tensor:
    """The bound e of this module's docstring, to be multiplied by LOOSER.

    queries and rough: (q, d), as they are and as they were rounded. Returns e of each query, (q,), for all rows.
    """
    lost, length = (queries - rough).norm(dim=-1), rough.norm(dim=-1)
    return lost * (low.length + low.error) + length * (low.error + low.length * queries.shape[-1] * 2.0**-23)


def _above(scores: Tensor, kept: "_Kept", bound: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(query, row, score) of all scores that may be of the top k. Whole groups are passed over at once.

    Rounding keeps the order: if a + e >= t, the stored score is at least t - e rounded alike.
    """
    rows, count = scores.shape
    whole = rows // GROUP * GROUP
    groups = scores[:whole].view(-1, GROUP, count)
    top = groups.amax(1)  # (groups, q)
    if kept.young and len(top) >= kept.k:  # k groups hold k rows that are at least as good
        last = top.float().topk(kept.k, 0).values[-1]
        kept.raise_floor(last - bound - last.abs() * 2.0**-8 * 1.01)
    least = (kept.floor - bound).to(scores.dtype)
    group, number = (top >= least).nonzero(as_tuple=True)
    inside = groups[group, :, number]  # (hits, GROUP)
    hit, place = (inside >= least[number][:, None]).nonzero(as_tuple=True)
    numbers, offsets, values = number[hit], group[hit] * GROUP + place, inside[hit, place].float()
    if whole < rows:
        place, number = (scores[whole:] >= least).nonzero(as_tuple=True)
        numbers, offsets = torch.cat([numbers, number]), torch.cat([offsets, place + whole])
        values = torch.cat([values, scores[whole:][place, number].float()])
    alive = ~torch.isneginf(values)
    return numbers[alive], offsets[alive], values[alive]


class _Kept:
    """The rows that may be among each query's top k, and the floor: what its k-th best true score is at least."""

    def __init__(self, queries: int, k: int, device: torch.device) -> None:
        self.k = k
        self.young = True  # the floor is not yet that of k rows
        self.floor = torch.full((queries,), -torch.inf, device=device)
        self._best = torch.full((queries, k), -torch.inf, device=device)  # lower bounds, best first
        none = torch.empty(0, dtype=torch.int64, device=device)
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = [(none, none, none.float())]
        self._count = torch.zeros(queries, dtype=torch.int64, device=device)

    def raise_floor(self, floor: Tensor) -> None:
        self.floor = torch.maximum(self.floor, floor)

    def take(self, numbers: Tensor, offsets: Tensor, lower: Tensor, upper: Tensor) -> None:
        """Rows, with bounds of their true scores."""
        self._parts.append((numbers, offsets, upper))
        self._count += torch.bincount(numbers, minlength=len(self.floor))
        self._raise_by(numbers, lower)
        if int(self._count.max()) > self._most():
            self._parts = [self._still()]
            self._count = torch.bincount(self._parts[0][0], minlength=len(self.floor))
            self.floor[self._count > self._most()] = torch.inf  # a query that is given up keeps nothing more

    def _most(self) -> int:
        return max(MOST_KEPT, 8 * self.k)

    def _raise_by(self, numbers: Tensor, lower: Tensor) -> None:
        order = numbers.argsort(stable=True)
        numbers, lower = numbers[order], lower[order]
        count = torch.bincount(numbers, minlength=len(self.floor))
        place = torch.arange(len(numbers), device=numbers.device) - (count.cumsum(0) - count)[numbers]
        new = torch.full((len(self.floor), int(count.max())), -torch.inf, device=lower.device)
        new[numbers, place] = lower
        self._best = torch.cat([self._best, new], 1).topk(self.k, 1).values
        self.raise_floor(self._best[:, -1])
        self.young = bool(torch.isneginf(self._best[:, -1]).any())

    def _still(self) -> tuple[Tensor, Tensor, Tensor]:
        """All that was kept, without what has fallen below the floor since."""
        numbers, offsets, upper = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        sound = upper >= self.floor[numbers]
        return numbers[sound], offsets[sound], upper[sound]

    def full(self) -> np.ndarray:
        """The queries that were given up, as more rows were kept for them than are worth ranking."""
        return torch.isposinf(self.floor).nonzero()[:, 0].cpu().numpy()

    def candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """(queries, offsets) of all that is kept."""
        numbers, offsets, _ = self._still()
        return numbers.cpu().numpy(), offsets.cpu().numpy()


def _rank(
    vectors: np.ndarray, queries: np.ndarray, numbers: np.ndarray, offsets: np.ndarray,
    found: np.ndarray, scores: np.ndarray,
) -> None:  # fmt: skip
    """Score the candidates in float32 on the stored rows and write each query's best into found and scores (q, k)."""
    exact = kernels.scores(vectors, queries, numbers, offsets)
    order = np.lexsort((offsets, -exact, numbers))
    numbers, offsets, exact = numbers[order], offsets[order], exact[order]
    place = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
    within = place < found.shape[1]
    found[numbers[within], place[within]] = offsets[within]
    scores[numbers[within], place[within]] = exact[within]
