"""What shards answered as one answer, by the numbers that rows have over all shards."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from indexes.segments import Neighbors

ROWS = 1 << 40  # numbers of rows that each shard has


def everywhere(number: int, rows: np.ndarray) -> np.ndarray:
    """Rows of the shard of that number as they are called over all shards; -1 stays -1."""
    return np.where(rows < 0, -1, rows + number * ROWS)


def best(answers: Mapping[int, Neighbors], k: int) -> Neighbors:
    """The k best rows of each query, ties to the lower row, which is that of the lower shard.

    answers: by the number of the shard, at least one; each has its own best (q, n), at least k where it has so many.
    """
    rows = np.hstack([everywhere(number, found.rows) for number, found in answers.items()])
    scores = np.hstack([found.scores for found in answers.values()])
    order = np.lexsort((np.where(rows < 0, np.iinfo(np.int64).max, rows), -scores), axis=1)[:, :k]
    missing = ((0, 0), (0, max(0, k - order.shape[1])))
    return Neighbors(
        np.pad(np.take_along_axis(rows, order, 1), missing, constant_values=-1),
        np.pad(np.take_along_axis(scores, order, 1), missing, constant_values=-np.inf),
    )


def split(rows: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """(places among the rows, what the shard calls them) of those of each shard, by its number."""
    numbers, own = np.divmod(rows, ROWS)
    places = ((number, np.flatnonzero(numbers == number)) for number in np.unique(numbers).tolist())
    return {number: (here, own[here]) for number, here in places}


def together(answers: Mapping[int, np.ndarray]) -> np.ndarray:
    """The rows that shards answer with, by their numbers over all shards: int64 (n,)."""
    return np.concatenate([np.empty(0, np.int64), *(everywhere(number, rows) for number, rows in answers.items())])


def first(answers: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """One dict of all; of what several have, the first shard's."""
    return {name: value for _, found in sorted(answers.items(), reverse=True) for name, value in found.items()}
