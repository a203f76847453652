"""Exact top-k: every stored row is scored against every query.

Rows are float16 on disk and are scored in float32, block by block, so memory stays bounded by `BLOCK_ROWS` rows and
`MAX_SCORES` scores. A small index is searched by NumPy alone; FAISS is imported only where it pays.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from indexes.errors import StoreError

BLOCK_ROWS = 65_536
MAX_SCORES = 1 << 24  # queries x rows scored at once: 64 MiB of float32
FAISS_FROM_ROWS = 50_000  # below this, importing FAISS (about 0.1 s) costs more than it saves


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The k best rows of each query, best first; ties go to the lower row.

    rows: int64 (q, k), -1 where there is none. scores: float32 (q, k), the inner product, -inf where there is none.
    """

    rows: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `first_row .. first_row + len(vectors)`; `dead` are the offsets of those deleted, ascending."""

    first_row: int
    vectors: np.ndarray  # (n, d) float16, usually mapped
    dead: np.ndarray  # (m,) int64

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, vectors float32) of what is alive, at most BLOCK_ROWS at a time."""
        for start in range(0, len(self.vectors), BLOCK_ROWS):
            vectors = self.vectors[start : start + BLOCK_ROWS].astype(np.float32)
            offsets = np.arange(start, start + len(vectors))
            low, high = np.searchsorted(self.dead, [start, start + len(vectors)])
            if high > low:
                alive = np.ones(len(vectors), bool)
                alive[self.dead[low:high] - start] = False
                offsets, vectors = offsets[alive], vectors[alive]
            if len(vectors):
                yield offsets + self.first_row, vectors


def search(segments: Iterable[Segment], queries: np.ndarray, k: int, device: str = "cpu") -> Neighbors:
    """The k rows with the greatest inner product for each query.

    queries: float32 (q, d). k: at least 1. device: "cpu" or "cuda" (FAISS on the GPU, block by block).
    """
    segments = list(segments)
    total = sum(len(segment.vectors) for segment in segments)
    top_k = _faiss_top_k(device) if device == "cuda" or total >= FAISS_FROM_ROWS else _numpy_top_k
    rows = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    step = max(1, MAX_SCORES // BLOCK_ROWS)
    for segment in segments:
        for block_rows, vectors in segment.blocks():
            for start in range(0, len(queries), step):
                part = slice(start, start + step)
                found, found_scores = top_k(queries[part], vectors, min(k, len(vectors)))
                rows[part], scores[part] = _merge((rows[part], scores[part]), (block_rows[found], found_scores), k)
    return Neighbors(rows, scores)


def _merge(best: tuple, more: tuple, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Of two (rows, scores) the k best, by score and then by row. Rows only grow from block to block."""
    rows, scores = np.hstack([best[0], more[0]]), np.hstack([best[1], more[1]])
    tie_breaker = np.where(rows < 0, np.iinfo(np.int64).max, rows)
    order = np.lexsort((tie_breaker, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def _numpy_top_k(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
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


def _faiss_top_k(device: str):  # noqa: ANN202 - a function with the contract of _numpy_top_k
    import faiss

    if device == "cuda":
        if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
            raise StoreError("FAISS finds no GPU here: use --device cpu")
        resources = faiss.StandardGpuResources()

        def on_gpu(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            scores, found = faiss.knn_gpu(resources, queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
            return found, scores

        return on_gpu

    def on_cpu(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, found = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return found, scores

    return on_cpu
