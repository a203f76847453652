"""Approximate search: a FAISS index proposes rows, and the stored rows decide.

Any FAISS factory string is a spec, and `Lean64,` before it reduces the rows to 64 dimensions first (reduction.py).
Those worth trying are in tune.py. An index knows the rows below `rows_below`; newer ones are scanned exactly, so they
are found at once. ann_file.py writes and reads its file, derived.py reads it from a store.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from indexes import exact, forks
from indexes.approximate import parameters, reduction
from indexes.approximate.recorded import Point, cheapest
from indexes.approximate.reduction import Reduction
from indexes.approximate.rerank import refined, rerank
from indexes.errors import StoreError
from indexes.segments import Neighbors, Segment

if TYPE_CHECKING:
    import faiss

TRAIN_ROWS_A_LIST = 64  # rows that k-means sees for each list: more changes little
BATCHED_FAST_SCAN = 13  # FAISS's `implem`: all queries of a list scan it together, a third faster than its choice
KMEANS_ROUNDS = 6  # for ten, FAISS's default, a list more in thirty is visited: less than it costs
REDUCED_ROWS = 1 << 13  # at a time: their float32 stays in the cache
_gpu = forks.Lock()  # FAISS's indexes there serve one thread at a time
ADD_AT_ONCE = 1 << 27  # bytes of rows: fast-scan packs its lists anew with each addition


@dataclass(slots=True)
class Ann:
    """A FAISS index whose ids are rows, from `rows_from` on and below `rows_below`. points: by rising recall."""

    index: "faiss.Index"
    spec: str
    rows_below: int
    points: Sequence[Point] = field(default_factory=list)
    reduction: Reduction | None = None
    rows_from: int = 0
    _there: "faiss.Index | None" = None  # the same index on a GPU, once it was asked for

    def point(self, recall: float) -> Point | None:
        """The cheapest point that was measured to give this recall, or None."""
        return cheapest(self.points, recall)

    def propose(self, queries: np.ndarray, count: int, effort: int, device: str = "cpu") -> np.ndarray:
        """Rows (q, count) by falling approximate score, -1 where there is none; from a GPU at most gpu.MOST_FETCHED."""
        if self.reduction:
            queries = queries @ self.reduction.for_queries
        card = gpu_for(device)
        asked = parameters.for_effort(self.index, effort)
        if card:
            with _gpu:
                if there := self.on_gpu(device):
                    return there.search(queries, min(count, card.MOST_FETCHED), params=asked)[1]
        return self.index.search(queries, count, params=asked)[1]

    def on_gpu(self, device: str) -> "faiss.Index | None":
        """The same index on the GPU, made when first asked for; None where it stays on the CPU."""
        with _gpu:
            if self._there is None and (card := gpu_for(device)):
                self._there = card.moved(self.index)
            return self._there if device == "cuda" else None


def build(
    segments: Iterable[Segment], spec: str, dim: int, rows_below: int, queries: np.ndarray | None = None, seed: int = 0,
    device: str = "cpu",
) -> Ann:  # fmt: skip
    """Train a FAISS index of that spec on a sample of the rows, and add all of them. It is an index of the CPU.

    queries: text queries (q, dim), which a spec that begins with `Lean` learns from. device: "cuda" lets a GPU do what
    FAISS has for it (gpu.py). Raises RuntimeError where FAISS does not take the spec, StoreError where `Lean` does not
    fit.
    """
    segments = list(segments)
    index, learned = _trained(segments, spec, dim, queries, seed, device)
    card = gpu_for(device) if _inverted(index) else None
    there = card.moved(index) if card else None
    ann = Ann(there or ready(index), spec, rows_below, reduction=learned)
    extend(ann, segments, rows_below)
    if card and there:
        ann.index = ready(card.back(there))
    return ann


def _trained(
    segments: Sequence[Segment], spec: str, dim: int, queries: np.ndarray | None, seed: int, device: str
) -> "tuple[faiss.Index, Reduction | None]":
    """An index without rows that has seen a sample of them, and what `Lean` learned."""
    import faiss

    width, plain = parse_spec(spec, dim)
    index = faiss.index_factory(width, plain, faiss.METRIC_INNER_PRODUCT)
    inverted = _inverted(index)
    sample = np.empty((0, dim), np.float32)
    if width < dim or not index.is_trained:
        sample = _sample(segments, TRAIN_ROWS_A_LIST * inverted.nlist if inverted else 65_536, seed)
    learned = None
    if width < dim:
        if queries is None:
            raise StoreError(f"{spec} learns from text queries: give them, or leave out `Lean`")
        learned = reduction.fit(sample, queries, width)
        sample = sample @ learned.for_rows
    if inverted:
        inverted.cp.niter = KMEANS_ROUNDS
    else:
        index = faiss.IndexIDMap2(index)
    if not index.is_trained:
        card = gpu_for(device)
        with card.clustering(inverted) if card and inverted else nullcontext():
            index.train(sample)
    return index, learned


def _inverted(index: "faiss.Index") -> "faiss.IndexIVF | None":
    """The inverted lists inside an index, where it has any."""
    import faiss

    return faiss.try_extract_index_ivf(index)


def gpu_for(device: str) -> ModuleType | None:
    """The module gpu.py, where a GPU is asked for and FAISS has one."""
    if device != "cuda":
        return None
    from indexes.approximate import gpu

    return gpu if gpu.is_here() else None


def parse_spec(spec: str, dim: int) -> tuple[int, str]:
    """The width that FAISS sees and its own factory string. Raises StoreError for a `Lean` that does not fit."""
    lean = re.fullmatch(r"Lean(\d+),(.+)", spec)
    if not lean:
        return dim, spec
    if not 0 < int(lean[1]) < dim:
        raise StoreError(f"{spec} does not reduce {dim} dimensions: give Lean{max(1, dim // 2)}, or leave it out")
    return int(lean[1]), lean[2]


def extend(ann: Ann, segments: Iterable[Segment], rows_below: int) -> None:
    """Add the living rows of segments, which the index does not know yet."""
    segments = list(segments)
    if not ann.index.ntotal:
        ann.rows_from = min((segment.first_row for segment in segments), default=0)
    blocks = (block for segment in segments for block in segment.blocks(REDUCED_ROWS))
    reduced = ((rows, vectors @ ann.reduction.for_rows if ann.reduction else vectors) for rows, vectors in blocks)
    while some := list(itertools.islice(reduced, max(1, ADD_AT_ONCE // (4 * REDUCED_ROWS * ann.index.d)))):
        ann.index.add_with_ids(
            np.concatenate([vectors for _, vectors in some]), np.concatenate([rows for rows, _ in some])
        )
    ann.rows_below, ann._there = rows_below, None


def ready(index: "faiss.Index") -> "faiss.Index":
    """An index of the CPU, set to search as fast as it can."""
    import faiss

    inverted = _inverted(index)
    inside = inverted and faiss.downcast_index(inverted)
    if isinstance(inside, faiss.IndexIVFPQFastScan):
        inside.implem = BATCHED_FAST_SCAN
    return index


def copy_of(ann: Ann) -> Ann:
    """A copy in memory: adding to it disturbs nobody."""
    import faiss

    return replace(ann, index=ready(faiss.clone_index(ann.index)), _there=None)


def emptied(ann: Ann) -> Ann:
    """A copy without rows, which keeps all that was learned from them."""
    made = copy_of(ann)
    made.index.reset()
    made.rows_below = 0
    return made


def search(
    ann: Ann, point: Point, segments: Sequence[Segment], queries: np.ndarray, k: int, share: float = 1.0,
    device: str = "cpu",
) -> Neighbors:  # fmt: skip
    """The k best rows of each query: those the index proposes, re-ranked, and those it does not know, scanned.

    share: of the rows that may answer; the fewer they are, the harder it looks. device: "cuda" has a GPU propose,
    where FAISS has a form of the index for it.
    """
    fetch = int(np.ceil(max(point.fetch, point.fetch * k / 10) / share))
    effort = int(np.ceil(point.effort / share))
    known = [segment for segment in segments if segment.first_row < ann.rows_below]
    newer = [segment for segment in segments if segment.first_row >= ann.rows_below]
    best = _reranked(ann, known, queries, k, fetch, effort, device)
    return exact.better(best, exact.search(newer, queries, k, device)) if newer else best


def _reranked(
    ann: Ann, known: Sequence[Segment], queries: np.ndarray, k: int, fetch: int, effort: int, device: str
) -> Neighbors:
    if ann.on_gpu(device) or not _is_one_segment(ann, known):
        return rerank(known, queries, ann.propose(queries, fetch, effort, device), k)
    base, asked = ann.index, parameters.for_effort(ann.index, effort)
    if ann.reduction:
        base, asked = _reducing(ann.index, ann.reduction), parameters.for_transform(asked)
    return refined(base, asked, known[0], queries, k, fetch)


def _is_one_segment(ann: Ann, known: Sequence[Segment]) -> bool:
    """Do all rows that the index may name lie side by side?"""
    if len(known) != 1 or known[0].names is not None:
        return False
    return known[0].first_row <= ann.rows_from and ann.rows_below <= known[0].first_row + len(known[0].vectors)


def _reducing(index: "faiss.Index", learned: Reduction) -> "faiss.Index":
    """The index with the reduction of queries before it, as FAISS has it."""
    import faiss

    dim, width = learned.for_queries.shape
    transform = faiss.LinearTransform(dim, width, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(learned.for_queries.T).ravel(), transform.A)
    transform.is_trained = True
    whole = faiss.IndexPreTransform(transform, index)
    whole.ntotal = index.ntotal
    return whole


def _sample(segments: Sequence[Segment], count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    total = sum(len(segment.vectors) for segment in segments)
    parts = []
    for segment in segments:
        size = len(segment.vectors)
        chosen = rng.choice(size, min(size, -(-count * size // max(1, total))), replace=False)
        parts.append(segment.vectors[np.sort(chosen)].astype(np.float32))
    return np.concatenate(parts)
