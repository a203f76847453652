"""Approximate search: a FAISS index proposes rows, and the stored rows decide.

Any FAISS factory string is a spec; those worth trying are in tune.py. An index knows the rows below `rows_below`; newer
ones are scanned exactly, so they are found at once. How it lies in a store is in derived.py.
"""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexes import durable, exact
from indexes.errors import Damaged
from indexes.exact import Neighbors, Segment

TRAIN_ROWS_A_LIST = 64  # rows that k-means sees for each list: more changes little
RERANK_QUERIES = 256  # re-ranked together: their rows fit the caches
LEAST_LIMIT = 1 << 26  # bytes FAISS may allocate for one array of a small file


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
    """A FAISS index whose ids are rows. points: by rising recall."""

    index: object
    spec: str
    rows_below: int
    points: Sequence[Point] = field(default_factory=list)

    def point(self, recall: float) -> Point | None:
        """The cheapest point that was measured to give this recall, or None."""
        return next((point for point in self.points if point.asked >= recall - 1e-9), None)

    def propose(self, queries: np.ndarray, count: int, effort: int) -> np.ndarray:
        """Rows (q, count) by falling approximate score, -1 where there is none."""
        return self.index.search(queries, count, params=_parameters(self.index, effort))[1]


def build(segments: Iterable[Segment], spec: str, dim: int, rows_below: int, seed: int = 0) -> Ann:
    """Train a FAISS index of that spec on a sample of the rows, and add all of them.

    Raises RuntimeError where FAISS does not take the spec.
    """
    import faiss

    segments = list(segments)
    index = faiss.index_factory(dim, spec, faiss.METRIC_INNER_PRODUCT)
    inverted = faiss.try_extract_index_ivf(index)
    if not index.is_trained:
        index.train(_sample(segments, TRAIN_ROWS_A_LIST * inverted.nlist if inverted else 65_536, seed))
    if not inverted:
        index = faiss.IndexIDMap2(index)
    ann = Ann(index, spec, rows_below)
    extend(ann, segments, rows_below)
    return ann


def extend(ann: Ann, segments: Iterable[Segment], rows_below: int) -> None:
    """Add the living rows of segments, which the index does not know yet."""
    for segment in segments:
        for rows, vectors in segment.blocks():
            ann.index.add_with_ids(vectors, rows)
    ann.rows_below = rows_below


def copy_of(ann: Ann) -> Ann:
    """A copy in memory: adding to it disturbs nobody."""
    import faiss

    return Ann(faiss.clone_index(ann.index), ann.spec, ann.rows_below, ann.points)


def emptied(ann: Ann) -> Ann:
    """A copy without rows, which keeps all that was learned from them."""
    made = copy_of(ann)
    made.index.reset()
    made.rows_below = 0
    return made


def search(
    ann: Ann, point: Point, segments: Sequence[Segment], queries: np.ndarray, k: int, share: float = 1.0
) -> Neighbors:
    """The k best rows of each query: those the index proposes, re-ranked, and those it does not know, scanned.

    share: of the rows that may answer; the fewer they are, the harder it looks.
    """
    fetch = int(np.ceil(max(point.fetch, point.fetch * k / 10) / share))
    effort = int(np.ceil(point.effort / share))
    known = [segment for segment in segments if segment.first_row < ann.rows_below]
    newer = [segment for segment in segments if segment.first_row >= ann.rows_below]
    best = rerank(known, queries, ann.propose(queries, fetch, effort), k)
    return exact.better(best, exact.search(newer, queries, k)) if newer else best


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
        return faiss.SearchParametersPreTransform(index_params=inside) if wrapped else inside
    inner = faiss.downcast_index(index.index) if hasattr(index, "index") else index
    return faiss.SearchParametersHNSW(efSearch=effort) if isinstance(inner, faiss.IndexHNSW) else None


def rerank(segments: Sequence[Segment], queries: np.ndarray, rows: np.ndarray, k: int) -> Neighbors:
    """Of the proposed rows (q, n) the k best by the stored rows' true scores. Deleted and unknown rows fall out."""
    rows = np.sort(rows, axis=1)  # ties go to the lower row, and memory is read in order
    scores = np.full(rows.shape, -np.inf, np.float32)
    for segment in segments:
        offsets = segment.offsets(rows)
        for start in range(0, len(rows), RERANK_QUERIES):
            part = slice(start, start + RERANK_QUERIES)
            _score(segment, queries[part], offsets[part], scores[part])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best_scores = np.take_along_axis(scores, order, 1)
    best = np.where(np.isneginf(best_scores), -1, np.take_along_axis(rows, order, 1))
    padding = ((0, 0), (0, max(0, k - best.shape[1])))
    return Neighbors(np.pad(best, padding, constant_values=-1), np.pad(best_scores, padding, constant_values=-np.inf))


def _score(segment: Segment, queries: np.ndarray, offsets: np.ndarray, scores: np.ndarray) -> None:
    """Write the scores of the offsets (q, n) of a segment where they are not -1."""
    here = offsets >= 0
    if here.all():
        vectors = _decoded(segment.vectors[offsets.ravel()]).reshape(*offsets.shape, -1)
        np.matmul(vectors, queries[:, :, None], out=scores[:, :, None])
    elif here.any():
        number, place = np.nonzero(here)
        vectors = _decoded(segment.vectors[offsets[number, place]])
        scores[number, place] = np.einsum("nd,nd->n", vectors, queries[number])


def _decoded(rows: np.ndarray) -> np.ndarray:
    """float16 rows as float32: by torch where it is at hand (eight times as fast as NumPy), else by FAISS (twice)."""
    if "torch" in sys.modules:
        return sys.modules["torch"].from_numpy(rows).float().numpy()
    import faiss

    return faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_fp16).sa_decode(rows.view(np.uint8))


# ---------------------------------------------------------------- on disk


def write(ann: Ann, path: Path) -> str:
    """Write the FAISS index durably; its SHA-256."""
    import faiss

    digest = hashlib.sha256()

    def pour(file: object) -> None:
        def take(data: bytes) -> int:
            digest.update(data)
            return file.write(data)

        faiss.write_index(ann.index, faiss.PyCallbackIOWriter(take))

    durable.write_file(path, pour)
    return digest.hexdigest()


def read(path: Path, sha256: str) -> object:
    """The FAISS index of a file that is what was written. Raises Damaged before FAISS sees anything else."""
    import faiss

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise Damaged(f"derived/{path.name} is missing: `mmr index` makes it again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Damaged(f"derived/{path.name} does not match its checksum: `mmr index` makes it again")
    before = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(max(LEAST_LIMIT, 8 * len(content)))
    try:
        return faiss.deserialize_index(np.frombuffer(content, np.uint8))
    finally:
        faiss.set_deserialization_vector_byte_limit(before)  # it is the whole process's
