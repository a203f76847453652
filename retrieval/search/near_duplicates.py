"""Near-duplicates: rows that are nearly the same, in groups, by an exact search of rows against rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexes import Condition, Store
from retrieval.callbacks import OnProgress, no_progress
from retrieval.errors import BadRequest

BLOCK = 4096  # rows against rows at a time: 64 MiB of scores
_ROUNDING = 1e-6  # by which a float32 sum of a row's own squares may miss 1


@dataclass(frozen=True, slots=True)
class Group:
    """A row that stands for the others, and those that are near to it, the nearest first.

    rows: int64 (n,). scores: float32 (n,), the cosine of each with the first, which has 1.
    """

    rows: np.ndarray
    scores: np.ndarray


def groups(
    store: Store, threshold: float = 0.97, where: Condition | None = None,
    on_progress: OnProgress = no_progress,
) -> list[Group]:  # fmt: skip
    """The groups of two and more rows, the largest first. Every row that is near to another is in exactly one.

    Each member is at least that near to the first of its group, which has the most near ones of those that were left:
    of A like B and B like C, A and C unlike, the group is that of B. The work grows with the square of the rows. Raises
    BadRequest for a threshold that is no cosine.
    """
    if not -1 <= threshold <= 1:
        raise BadRequest(f"--threshold {threshold:g} is no cosine: give one from -1 to 1, say 0.97")
    rows = store.rows(where)
    starts = range(0, len(rows), BLOCK)
    first_of, degrees = np.arange(len(rows)), np.zeros(len(rows), np.int64)
    least = threshold - _ROUNDING
    for number, start in enumerate(starts):
        ones = store.vectors(rows[start : start + BLOCK])
        for other in starts[number:]:
            others = ones if other == start else store.vectors(rows[other : other + BLOCK])
            near = ones @ others.T >= least
            degrees[start : start + BLOCK] += near.sum(1)
            if other != start:
                degrees[other : other + BLOCK] += near.sum(0)
            left, right = np.nonzero(near)
            _link(first_of, left + start, right + other)
        on_progress(min(start + BLOCK, len(rows)), len(rows))
    return _collected(store, rows, first_of, degrees, least)


def _link(first_of: np.ndarray, ones: np.ndarray, others: np.ndarray) -> None:
    """Put both ends of every link into one chain. first_of: the lowest member of everyone's chain, always resolved."""
    while True:
        ends = np.sort(np.stack([first_of[ones], first_of[others]]), axis=0)
        ends = ends[:, ends[0] < ends[1]]
        if not ends.size:
            return
        np.minimum.at(first_of, ends[1], ends[0])
        while np.any(first_of[first_of] != first_of):
            first_of[:] = first_of[first_of]


def _collected(
    store: Store, rows: np.ndarray, first_of: np.ndarray, degrees: np.ndarray, least: float
) -> list[Group]:  # fmt: skip
    order = np.argsort(first_of, kind="stable")
    bounds = np.flatnonzero(np.diff(first_of[order])) + 1
    chains: Sequence[np.ndarray] = [part for part in np.split(order, bounds) if len(part) > 1]
    found = []
    for chain in chains:
        vectors = store.vectors(rows[chain])
        owner = _owners(vectors, degrees[chain], least)
        found += [_group(rows[chain], vectors, owner, one) for one in np.unique(owner[owner >= 0])]
    return sorted(found, key=lambda group: (-len(group.rows), group.rows[0]))


def _group(rows: np.ndarray, vectors: np.ndarray, owner: np.ndarray, one: int) -> Group:
    members = np.append(one, np.setdiff1d(np.flatnonzero(owner == one), one))
    scores = np.minimum(vectors[members] @ vectors[one], 1)
    scores[0] = 1
    order = np.argsort(-scores, kind="stable")
    return Group(rows[members[order]], scores[order])


def _owners(vectors: np.ndarray, degrees: np.ndarray, least: float) -> np.ndarray:
    """Cut a chain into stars: for each row the one that stands for it, int64 (n,); -1 for none.

    degrees: how many rows each is near to. Who has the most takes all that are near to it and still free.
    """
    owner = np.full(len(vectors), -1)
    for one in np.argsort(-degrees, kind="stable"):
        if owner[one] < 0:
            near = (owner < 0) & (vectors @ vectors[one] >= least)
            near[one] = False
            if near.any():
                owner[near] = owner[one] = one
    for one in np.flatnonzero(owner < 0).tolist():
        _let_in(vectors, owner, one, least)
    return owner


def _let_in(vectors: np.ndarray, owner: np.ndarray, one: int, least: float) -> None:
    """Give a row whose near ones are all taken a group with the nearest of them, which leaves its own for that."""
    scores = vectors @ vectors[one]
    scores[one] = -np.inf
    best = int(np.argmax(scores))
    if scores[best] < least:  # it was near by rounding alone
        return
    before = owner[best]
    if before >= 0 and before != best and np.count_nonzero(owner == before) == 2:
        owner[before] = best  # of a pair, the other comes along
    owner[best] = owner[one] = best
