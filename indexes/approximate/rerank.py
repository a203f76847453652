"""Re-rank: of proposed rows the best by the stored rows' true scores.

Where all proposals lie in one segment, FAISS reads them straight from the mapped file: in C++, and without torch.
Otherwise they are gathered segment by segment.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from indexes import mapped
from indexes.approximate import parameters
from indexes.kernels import as_float32
from indexes.segments import Neighbors, Segment

if TYPE_CHECKING:
    import faiss

QUERIES_AT_ONCE = 256  # their rows fit the caches


def rerank(segments: Sequence[Segment], queries: np.ndarray, rows: np.ndarray, k: int) -> Neighbors:
    """The k best of the proposed rows (q, n). Deleted and unknown rows fall out."""
    rows = np.sort(rows, axis=1)  # ties go to the lower row, and memory is read in order
    scores = np.full(rows.shape, -np.inf, np.float32)
    for segment in segments:
        offsets = segment.offsets(rows)
        for start in range(0, len(rows), QUERIES_AT_ONCE):
            part = slice(start, start + QUERIES_AT_ONCE)
            _score(segment, queries[part], offsets[part], scores[part])
    return _best(rows, scores, k)


def refined(
    index: "faiss.Index", asked: "faiss.SearchParameters | None", segment: Segment, queries: np.ndarray, k: int,
    fetch: int,
) -> Neighbors:  # fmt: skip
    """`fetch` rows that a FAISS index proposes, re-ranked by FAISS. Every id of the index must be a row of the segment.

    It is given the whole query: an index of reduced rows must reduce it itself.
    """
    import faiss

    view = mapped.index(segment.vectors, segment.first_row)
    view.ntotal = index.ntotal  # FAISS asks for as many in both
    refine = faiss.IndexRefine(index, view)
    refine.ntotal = segment.first_row + len(segment.vectors)  # ids from here on are an error of FAISS's
    wanted = fetch if len(segment.dead) else min(k, fetch)  # the dead fall out afterwards
    scores, rows = refine.search(queries, wanted, params=parameters.for_refine(asked, fetch / wanted))
    if len(segment.dead):
        rows = np.where(segment.offsets(rows) < 0, -1, rows)
    order = np.argsort(rows, axis=1, kind="stable")
    rows, scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
    return _best(rows, np.where(rows < 0, -np.inf, scores).astype(np.float32), k)


def _best(rows: np.ndarray, scores: np.ndarray, k: int) -> Neighbors:
    """The k best of rows (q, n) that ascend in each line; -1 and -inf where there are fewer."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best_scores = np.take_along_axis(scores, order, 1)
    best = np.where(np.isneginf(best_scores), -1, np.take_along_axis(rows, order, 1))
    padding = ((0, 0), (0, max(0, k - best.shape[1])))
    return Neighbors(np.pad(best, padding, constant_values=-1), np.pad(best_scores, padding, constant_values=-np.inf))


def _score(segment: Segment, queries: np.ndarray, offsets: np.ndarray, scores: np.ndarray) -> None:
    """Write the scores of the offsets (q, n) of a segment where they are not -1."""
    here = offsets >= 0
    if here.all():
        vectors = as_float32(segment.vectors[offsets.ravel()]).reshape(*offsets.shape, -1)
        np.matmul(vectors, queries[:, :, None], out=scores[:, :, None])
    elif here.any():
        number, place = np.nonzero(here)
        vectors = as_float32(segment.vectors[offsets[number, place]])
        scores[number, place] = np.einsum("nd,nd->n", vectors, queries[number])
