"""Approximate search: a FAISS index proposes rows, and the stored rows decide.

Any FAISS factory string is a spec, and `Lean64,` before it reduces the rows to 64 dimensions first (reduction.py).
Those worth trying are in tune.py. An index knows the rows below `rows_below`; newer ones are scanned exactly, so they
are found at once. Its file is ann_file.py, how it lies in a store derived.py.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import ModuleType

import numpy as np

from indexes import exact
from indexes.approximate import reduction
from indexes.approximate.reduction import Reduction
from indexes.approximate.rerank import refined, rerank
from indexes.errors import StoreError
from indexes.segments import Neighbors, Segment

TRAIN_ROWS_A_LIST = 64  # rows that k-means sees for each list: more changes little
BATCHED_FAST_SCAN = (
    13  # FAISS's `implem`: all queries that visit a list scan it together; a third faster than its choice
)
KMEANS_ROUNDS = 6  # for ten, FAISS's default, a list more in thirty is visited: less than it costs
REDUCED_ROWS = 1 << 13  # at a time: their float32 stays in the cache
ADD_AT_ONCE = 1 << 27  # bytes of rows: fast-scan packs its lists anew with each addition


@dataclass(frozen=True, slots=True)
class Point:
    """How hard to look: lists (or efSearch) visited, rows fetched for the re-rank; the recall@10 this gave on text.

    asked: the recall that was asked for. low: the lower end of the 95 % interval.
    """

    asked: float
    effort: int
    fetch: int
    recall: float
    low: float


@dataclass(slots=True)
class Ann:
    """A FAISS index whose ids are rows, from `rows_from` on and below `rows_below`. points: by rising recall."""

    index: object
    spec: str
    rows_below: int
    points: Sequence[Point] = field(default_factory=list)
    reduction: Reduction | None = None
    rows_from: int = 0
    _there: object | None = None  # the same index on a GPU, once it was asked for

    def point(self, recall: float) -> Point | None:
        """The cheapest point that was measured to give this recall, or None."""
        return next((point for point in self.points if point.asked >= recall - 1e-9), None)

    def propose(self, queries: np.ndarray, count: int, effort: int, device: str = "cpu") -> np.ndarray:
        """Rows (q, count) by falling approximate score, -1 where there is none; from a GPU at most gpu.MOST_FETCHED."""
        if self.reduction:
            queries = queries @ self.reduction.for_queries
        if there := self.on_gpu(device):
            count = min(count, _gpu(device).MOST_FETCHED)
        return (there or self.index).search(queries, count, params=_parameters(self.index, effort))[1]

    def on_gpu(self, device: str) -> object | None:
        """The same index on the GPU, made when first asked for; None where it stays on the CPU."""
        if self._there is None and (there := _gpu(device)):
            self._there = there.moved(self.index)
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
    import faiss

    segments = list(segments)
    width, plain = parse_spec(spec, dim)
    index = faiss.index_factory(width, plain, faiss.METRIC_INNER_PRODUCT)
    inverted = faiss.try_extract_index_ivf(index)
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
    on_gpu = _gpu(device) if inverted else None
    if not index.is_trained:
        with on_gpu.clustering(inverted) if on_gpu else nullcontext():
            index.train(sample)
    there = on_gpu and on_gpu.moved(index)
    ann = Ann(there or ready(index), spec, rows_below, reduction=learned)
    extend(ann, segments, rows_below)
    if there:
        ann.index = ready(on_gpu.back(there))
    return ann


def _gpu(device: str) -> ModuleType | None:
    """The module that uses it, where one is asked for and FAISS has one."""
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


def ready(index: object) -> object:
    """An index of the CPU, set to search as fast as it can."""
    import faiss

    inverted = faiss.try_extract_index_ivf(index)
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
    base, parameters = ann.index, _parameters(ann.index, effort)
    if ann.reduction:
        base, parameters = _reducing(ann), _inside(parameters)
    return refined(base, parameters, known[0], queries, k, fetch)


def _is_one_segment(ann: Ann, known: Sequence[Segment]) -> bool:
    """Do all rows that the index may name lie side by side?"""
    if len(known) != 1 or known[0].names is not None:
        return False
    return known[0].first_row <= ann.rows_from and ann.rows_below <= known[0].first_row + len(known[0].vectors)


def _reducing(ann: Ann) -> object:
    """The index with the reduction of queries before it, as FAISS has it."""
    import faiss

    dim, width = ann.reduction.for_queries.shape
    transform = faiss.LinearTransform(dim, width, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(ann.reduction.for_queries.T).ravel(), transform.A)
    transform.is_trained = True
    whole = faiss.IndexPreTransform(transform, ann.index)
    whole.ntotal = ann.index.ntotal
    return whole


def _inside(parameters: object) -> object:
    import faiss

    return faiss.SearchParametersPreTransform(index_params=parameters)


def _sample(segments: Sequence[Segment], count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    total = sum(len(segment.vectors) for segment in segments)
    parts = []
    for segment in segments:
        size = len(segment.vectors)
        chosen = rng.choice(size, min(size, -(-count * size // max(1, total))), replace=False)
        parts.append(segment.vectors[np.sort(chosen)].astype(np.float32))
    return np.concatenate(parts)


def _parameters(index: object, effort: int) -> object:
    import faiss

    if faiss.try_extract_index_ivf(index):
        inside = faiss.SearchParametersIVF(nprobe=effort)
        wrapped = isinstance(faiss.downcast_index(index), faiss.IndexPreTransform)
        return _inside(inside) if wrapped else inside
    inner = faiss.downcast_index(index.index) if hasattr(index, "index") else index
    return faiss.SearchParametersHNSW(efSearch=effort) if isinstance(inner, faiss.IndexHNSW) else None
