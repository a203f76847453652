"""The best of what shards found, by the numbers that rows have over all shards."""

from collections.abc import Mapping

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
