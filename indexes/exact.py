"""Exact top-k: every stored row is scored against every query.

Rows are float16 on disk and are scored in float32, block by block, so memory stays bounded by `BLOCK_ROWS` rows and
`MAX_SCORES` scores. A small index is searched by NumPy alone; FAISS is imported only where it pays. Where torch is at
hand, or the work is so large that importing it pays, rows are scanned in low precision with a proof (certified.py): the
same answer, several times as fast.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterable

import numpy as np

from indexes import mapped
from indexes.errors import StoreError
from indexes.segments import BLOCK_ROWS, Neighbors, Segment

MAX_SCORES = 1 << 24  # queries x rows scored at once: 64 MiB of float32
FAISS_FROM_ROWS = 50_000  # below this, importing FAISS (about 0.1 s) costs more than it saves
FEW_QUERIES = 8  # so many are scored from the mapped rows: more are worth the conversion of blocks
TORCH_FROM_ROWS = 2_000  # where torch is loaded anyway: NumPy's threads and its own get in each other's way
TORCH_FROM_SCORES = 30_000_000  # below this, importing torch (about 1 s) costs more than it saves

Best = tuple[np.ndarray, np.ndarray]  # rows or offsets int64 (q, k), -1 where there is none, and float32 scores
SegmentSearch = Callable[[Segment, np.ndarray, int], Best]  # (segment, queries, k) -> rows and scores
BlockSearch = Callable[[np.ndarray, np.ndarray, int], Best]  # (queries, vectors, k) -> offsets and scores


def search(segments: Iterable[Segment], queries: np.ndarray, k: int, device: str = "cpu") -> Neighbors:
    """The k rows with the greatest inner product for each query: those of float32 brute force over the stored rows.

    queries: float32 (q, d). k: at least 1. device: "cpu" or "cuda". Raises StoreError for "cuda" where there is none.
    """
    segments = list(segments)
    total = sum(len(segment.vectors) for segment in segments)
    one_segment = proven(device) if _torch_pays(total * len(queries), total, device) else brute_force(total)
    best: Best = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
    for segment in segments:
        best = _merge(best, one_segment(segment, queries, k), k)
    return Neighbors(*best)


def _torch_pays(scores: int, rows: int, device: str) -> bool:
    if device == "cuda":
        return True
    if "torch" in sys.modules:
        return rows >= TORCH_FROM_ROWS
    return scores >= TORCH_FROM_SCORES and importlib.util.find_spec("torch") is not None


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
        copies = family.setdefault(segment.first_row, certified.Copies(segment.vectors, family))
        offsets, scores, unanswered = certified.search(copies, segment.dead, queries, k, device)
        rows = segment.rows(offsets)
        if len(unanswered):
            rest = brute_force(len(segment.vectors))(segment, queries[unanswered], k)
            rows[unanswered], scores[unanswered] = rest
        return rows, scores

    return one_segment


def brute_force(total: int) -> SegmentSearch:
    """Score all rows in float32, with FAISS where `total` rows are worth its import."""
    by_faiss = total >= FAISS_FROM_ROWS
    top_k: BlockSearch = _faiss_top_k() if by_faiss else _numpy_top_k

    def one_segment(segment: Segment, queries: np.ndarray, k: int) -> Best:
        if by_faiss and len(queries) <= FEW_QUERIES:
            offsets, scores = mapped.search(segment.vectors, segment.dead, queries, k + 1)
            if not _tied(scores, k).any():
                return segment.rows(offsets[:, :k]), scores[:, :k]
        rows = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        step = max(1, MAX_SCORES // BLOCK_ROWS)
        for block_rows, vectors in segment.blocks():
            for start in range(0, len(queries), step):
                part = slice(start, start + step)
                found, found_scores = top_k(queries[part], vectors, min(k, len(vectors)))
                rows[part], scores[part] = _merge((rows[part], scores[part]), (block_rows[found], found_scores), k)
        return rows, scores

    return one_segment


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


def _numpy_top_k(queries: np.ndarray, vectors: np.ndarray, k: int) -> Best:
    scores = queries @ vectors.T
    found = np.argsort(-scores, axis=1, kind="stable")[:, :k] if k * 8 > len(vectors) else _partition(scores, k)
    return found, np.take_along_axis(scores, found, 1)


def _partition(scores: np.ndarray, k: int) -> np.ndarray:
    """Offsets of the k best of each line; where the k-th score is tied, the lowest offsets (argpartition picks any)."""
    found = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    last = np.take_along_axis(scores, found, 1).min(1, keepdims=True)
    for line in np.flatnonzero((scores >= last).sum(1) > k):
        found[line] = np.argsort(-scores[line], kind="stable")[:k]
    return found


def _faiss_top_k() -> BlockSearch:
    import faiss

    def top_k(queries: np.ndarray, vectors: np.ndarray, k: int) -> Best:
        scores, found = faiss.knn(queries, vectors, min(k + 1, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
        again = _tied(scores, k)
        scores, found = scores[:, :k], found[:, :k]
        if again.any():
            found[again], scores[again] = _numpy_top_k(queries[again], vectors, k)
        return found, scores

    return top_k


def _tied(scores: np.ndarray, k: int) -> np.ndarray:
    """Which lines of (q, k or k + 1) best scores have a k-th that equals the next: FAISS then kept any of them."""
    if scores.shape[1] == k:
        return np.zeros(len(scores), bool)
    return (scores[:, k - 1] == scores[:, k]) & ~np.isneginf(scores[:, k])
