"""Which pictures of an index to caption first: those whose captions would say the most about all the others.

Of a map that is learned from vectors to captions, the variance that is left at a vector, summed over all vectors of
the index, says how little is known. Each pick is the picture that takes away the most of it, those with captions
counted as known from the start (sequential transductive experimental design; Yu, Bi and Tresp, 2006). So the first is
the most usual one, no two are alike, and an odd one comes only once nothing usual is left. Beside random ones, farthest
points, medoids of k-means and facility location: `python -m eval.bench.sample`.

With x the vectors, M what is left of the identity once some are known, and C the sum of all x x', a pick at x gives

    gain = x' M C M x / (x' M x + NOISE)

where both forms are kept for every candidate and brought up to date with two products of a vector and all candidates.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from indexes import Store
from retrieval.callbacks import OnProgress, no_progress

NOISE = 0.1  # of a caption, where a vector has the variance 1: between 0.03 and 0.3 nothing changes
CANDIDATES = 50_000  # vectors that are picked from; of more, these are drawn
BLOCK = 8192  # rows that are read at once


@dataclass(frozen=True, slots=True)
class Left:
    """Vectors that may be picked, and what captions do not say of them yet.

    vectors: float32 (n, d), unit rows. map: M, float64 (d, d). all: C, float64 (d, d).
    """

    vectors: np.ndarray
    map: np.ndarray
    all: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, all: np.ndarray, known: np.ndarray) -> "Left":
        """all, known: the sums of x x' over every vector, and over those with captions: float64 (d, d)."""
        return cls(vectors, np.linalg.inv(np.eye(len(all)) + known / NOISE), all)


def picks(left: Left) -> Iterator[tuple[int, Callable[[], None]]]:
    """Offsets of the vectors, the best first, each once; and what is to be called if it is taken, not passed over."""
    x, m, c = left.vectors, left.map.copy(), left.all
    own, reach = _forms(x, m), _forms(x, m @ c @ m)
    open_ = np.ones(len(x), bool)

    def take(at: int) -> None:
        u = m @ x[at]
        rest, w = float(x[at] @ u) + NOISE, m @ (c @ u)
        along, across = x @ u.astype(np.float32), x @ w.astype(np.float32)
        reach[:] += (u @ c @ u / rest * along - 2 * across) * along / rest
        own[:] -= np.square(along, dtype=np.float64) / rest
        m[:] -= np.outer(u, u) / rest

    while open_.any():
        gain = np.where(open_, reach / (np.maximum(own, 0) + NOISE), -np.inf)
        best = int(np.argmax(gain))
        open_[best] = False
        yield best, functools.partial(take, best)


def _forms(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """x' A x of every row, float64 (n,)."""
    narrow = matrix.astype(np.float32)
    parts = (x[start : start + BLOCK] for start in range(0, len(x), BLOCK))
    return np.concatenate([np.einsum("nd,nd->n", part @ narrow, part, dtype=np.float64) for part in parts])


def spread(
    store: Store, rows: np.ndarray, known: np.ndarray, count: int, fits: Callable[[int], bool],
    on_progress: OnProgress = no_progress,
) -> list[int]:  # fmt: skip
    """Those of the rows to caption first, at most `count`, the one that tells most first.

    rows: int64 (n,), ascending. known: those of them that have captions already, and are no answers. fits: is a row to
    be taken? It is asked of the best ones only. The same index gives the same answer.
    """
    free = np.setdiff1d(rows, known, True)
    if not len(free):
        return []
    if len(free) > CANDIDATES:
        free = np.sort(np.random.default_rng(0).choice(free, CANDIDATES, replace=False))
    all_ = _moment(store, rows, on_progress)
    left = Left.of(store.vectors(free), all_, _moment(store, known, no_progress))
    taken: list[int] = []
    for at, take in picks(left):
        if fits(int(free[at])):
            taken.append(int(free[at]))
            if len(taken) == count:
                break
            take()
    return taken


def _moment(store: Store, rows: np.ndarray, on_progress: OnProgress) -> np.ndarray:
    """The sum of x x' over the vectors of these rows: float64 (d, d)."""
    total = np.zeros((store.dim, store.dim))
    for start in range(0, len(rows), BLOCK):
        part = store.vectors(rows[start : start + BLOCK])
        total += part.T @ part
        on_progress(min(start + BLOCK, len(rows)), len(rows))
    return total
