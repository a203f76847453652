"""Exact top-k: every stored row is scored against every query.

Rows are float16 on disk. They are scored in float32, block by block, so that memory stays bounded by `BLOCK_ROWS` rows
and `MAX_SCORES` scores; or scanned in low precision with a proof, by scan.py, or by certified.py on a GPU and on AMX:
the same answer, several times as fast. ways.py chooses by what was measured.
"""

import sys
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from indexes import cpu, kernels, ways
from indexes.errors import StoreError
from indexes.segments import BLOCK_ROWS, Neighbors, Segment

ROUNDING = 5 * 2.0**-24  # a dimension: four times what a sum of products of unit rows may be off, and some
MAX_SCORES = 1 << 24  # queries x rows scored at once: 64 MiB of float32

Best = tuple[np.ndarray, np.ndarray]  # rows or offsets int64 (q, k), -1 where there is none, and float32 scores
SegmentSearch = Callable[[Segment, np.ndarray, int], Best]  # (segment, queries, k) -> rows and scores


def search(segments: Iterable[Segment], queries: np.ndarray, k: int, device: str = "cpu") -> Neighbors:
    """The k rows with the greatest inner product for each query: those of float32 brute force over the stored rows.

    queries: float32 (q, d). k: at least 1. device: "cpu" or "cuda". Raises StoreError for "cuda" where there is none.
    """
    segments = list(segments)
    one_segment = proven(device) if device == "cuda" else _way(segments, len(queries))
    best: Best = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
    for segment in segments:
        best = _merge(best, one_segment(segment, queries, k), k)
    return Neighbors(*best)


def _way(segments: Sequence[Segment], queries: int) -> SegmentSearch:
    """The fastest here. Rows of which nothing is kept (the few that a filter left) count their queries alone."""
    total = sum(len(segment.vectors) for segment in segments)
    asked = max([queries, *(_count(segment, queries) for segment in segments)])
    way = ways.choose(total, queries, asked, ways.Here(cpu.kind(), "torch" in sys.modules, kernels.can()))
    if way == "torch":
        return proven("cpu")
    return brute_force if way == "numpy" else scanned(way == "codes")


def _count(segment: Segment, queries: int) -> int:
    """Queries asked of a segment so far."""
    segment.asked[segment.first_row] = segment.asked.get(segment.first_row, 0) + queries
    return segment.asked[segment.first_row]


def proven(device: str) -> SegmentSearch:
    """Scan in low precision with a proof (certified.py), and by brute force what it leaves unanswered.

    Raises StoreError for "cuda" where there is none.
    """
    import torch

    from indexes import certified

    if device == "cuda" and not torch.cuda.is_available():
        raise StoreError("no CUDA device is available here: use --device cpu")
    if device == "cuda":  # it may else add the parts of a sum in bfloat16: the proof is of sums in float32
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False

    def one_segment(segment: Segment, queries: np.ndarray, k: int) -> Best:
        family = segment.copies
        copies = family.setdefault(("torch", segment.first_row), certified.Copies(segment.vectors, family))
        return _completed(segment, queries, k, certified.search(copies, segment.dead, queries, k, device))

    return one_segment


def scanned(by_codes: bool) -> SegmentSearch:
    """Scan in low precision with a proof (scan.py), and by brute force what it leaves unanswered.

    by_codes: in whole numbers of eight bits, where there is room for them, as soon as they are made.
    """
    from indexes import rounded, scan

    def one_segment(segment: Segment, queries: np.ndarray, k: int) -> Best:
        family, first = segment.copies, segment.first_row
        rows: rounded.Rows = family.setdefault(("halves", first), rounded.Halves(segment.vectors))
        if by_codes and len(segment.vectors):
            codes = family.setdefault(("codes", first), rounded.Codes(segment.vectors, family))
            if codes.fits() and (len(queries) >= ways.CODES_AT_ONCE or codes.are_made()):
                rows = codes.made()
        return _completed(segment, queries, k, scan.search(rows, segment.dead, queries, k))

    return one_segment


def _completed(segment: Segment, queries: np.ndarray, k: int, found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Best:
    """What a scan found of a segment, with the queries that it left to brute force."""
    offsets, scores, unanswered = found
    rows = segment.rows(offsets)
    if len(unanswered):
        rows[unanswered], scores[unanswered] = brute_force(segment, queries[unanswered], k)
    return rows, scores


def brute_force(segment: Segment, queries: np.ndarray, k: int) -> Best:
    """Score all rows in float32."""
    rows = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    step = max(1, MAX_SCORES // BLOCK_ROWS)
    for block_rows, vectors in segment.blocks():
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            found, found_scores = _top_k(queries[part], vectors, min(k, len(vectors)))
            rows[part], scores[part] = _merge((rows[part], scores[part]), (block_rows[found], found_scores), k)
    return rows, scores


def better(ones: Neighbors, others: Neighbors) -> Neighbors:
    """The best rows of two answers to the same queries, as many as the first answer has."""
    merged = _merge((ones.rows, ones.scores), (others.rows, others.scores), ones.rows.shape[1])
    return Neighbors(*merged)


def _merge(best: Best, more: Best, k: int) -> Best:
    """The k best of two (rows, scores), by score and then by row. Rows only grow from block to block."""
    rows, scores = np.hstack([best[0], more[0]]), np.hstack([best[1], more[1]])
    tie_breaker = np.where(rows < 0, np.iinfo(np.int64).max, rows)
    order = np.lexsort((tie_breaker, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def _top_k(queries: np.ndarray, vectors: np.ndarray, k: int) -> Best:
    """Offsets and scores (q, k), best first, k at most the rows.

    A product of matrices adds up in an order that its shape decides: it says which rows may be among the best, and they
    are scored one by one. So a row's score and place are the same wherever rows are cut, in blocks or in shards.
    """
    rough = queries @ vectors.T
    np.copyto(rough, -np.inf, where=np.isnan(rough))  # of damaged rows
    last = np.partition(rough, rough.shape[1] - k, axis=1)[:, rough.shape[1] - k, None]
    numbers, offsets = np.nonzero(rough >= last - vectors.shape[1] * ROUNDING)
    scores = kernels.scores(vectors, queries, numbers, offsets)
    np.copyto(scores, -np.inf, where=np.isnan(scores))
    order = np.lexsort((offsets, -scores, numbers))
    first = np.searchsorted(numbers, np.arange(len(queries)))
    best = order[first[:, None] + np.arange(k)]
    return offsets[best], scores[best]
