"""Near-duplicates: rows that are nearly the same, in groups, by an exact search of rows against rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexes import Condition, Store
from retrieval.callbacks import OnProgress, no_progress
from retrieval.errors import BadRequest
from retrieval.indexing import stored

BLOCK = 4096  # rows against rows at a time: 64 MiB of scores


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are linked by likeness, ascending. scores: the cosine of each with the first, which has 1."""

    rows: np.ndarray
    scores: np.ndarray


def groups(
    store: Store, threshold: float = 0.97, where: Condition | None = None,
    on_progress: OnProgress = no_progress,
) -> list[Group]:  # fmt: skip
    """The groups of two and more rows, the largest first; every pair at or above the threshold is in one group.

    Groups are chains: A like B and B like C are one group even where A and C are less alike than the threshold. The
    work grows with the square of the rows. Raises BadRequest for a threshold that is no cosine.
    """
    if not -1 <= threshold <= 1:
        raise BadRequest(f"--threshold {threshold:g} is no cosine: give one from -1 to 1, say 0.97")
    rows = store.rows(where)
    starts = range(0, len(rows), BLOCK)
    first_of = np.arange(len(rows))
    for number, start in enumerate(starts):
        ones = stored.vectors(store, rows[start : start + BLOCK])
        for other in starts[number:]:
            others = ones if other == start else stored.vectors(store, rows[other : other + BLOCK])
            # A float32 sum of a row's own squares may miss 1 by its rounding.
            left, right = np.nonzero(ones @ others.T >= threshold - 1e-6)
            _link(first_of, left + start, right + other)
        on_progress(min(start + BLOCK, len(rows)), len(rows))
    return _collected(store, rows, first_of)


def _link(first_of: np.ndarray, ones: np.ndarray, others: np.ndarray) -> None:
    """Put both ends of every link into one group. first_of: the lowest member of everyone's group, always resolved."""
    while True:
        ends = np.sort(np.stack([first_of[ones], first_of[others]]), axis=0)
        ends = ends[:, ends[0] < ends[1]]
        if not ends.size:
            return
        np.minimum.at(first_of, ends[1], ends[0])
        while np.any(first_of[first_of] != first_of):
            first_of[:] = first_of[first_of]


def _collected(store: Store, rows: np.ndarray, first_of: np.ndarray) -> list[Group]:
    order = np.argsort(first_of, kind="stable")
    bounds = np.flatnonzero(np.diff(first_of[order])) + 1
    members: Sequence[np.ndarray] = [part for part in np.split(order, bounds) if len(part) > 1]
    found = []
    for part in sorted(members, key=lambda part: (-len(part), part[0])):
        vectors = stored.vectors(store, rows[part])
        found.append(Group(rows[part], np.minimum(vectors @ vectors[0], 1)))
    return found
