"""How sure a figure is, and a difference between two: the bootstrap over whole pictures, and McNemar's test.

The captions of one picture are not independent of each other, so pictures are drawn, never queries.
"""

from math import comb, erfc, sqrt

import numpy as np

DRAWS, SEED = 1000, 0
_AT_ONCE = 1 << 24  # numbers that are drawn at once
_EXACT = 1000  # discordant pairs, from which the normal approximation is as good


def drawn_means(values: np.ndarray, owner: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """The means of what is drawn: float64 (draws, m).

    Args:
        values: float64 (q, m): m figures of each query.
        owner: int64 (q,): which picture each query belongs to.
        draws: How often as many pictures as there are are drawn, with replacement. The same ones for all figures.
    """
    _, owner = np.unique(owner, return_inverse=True)
    count = int(owner.max()) + 1
    size = np.bincount(owner, minlength=count).astype(np.float64)
    total = np.stack([np.bincount(owner, column, count) for column in values.T], 1)
    random, means = np.random.default_rng(SEED), []
    for start in range(0, draws, step := max(1, _AT_ONCE // count)):
        for drawn in random.integers(count, size=(min(step, draws - start), count)):
            times = np.bincount(drawn, minlength=count)
            means.append(times @ total / (times @ size))
    return np.array(means)


def confidence(values: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of 95 %, float64 (m,) each, of the means of m figures. values (q, m), owner (q,)."""
    low, high = np.percentile(drawn_means(values, owner), [2.5, 97.5], axis=0)
    return low, high


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """How likely so uneven a split of the queries that only one of two finds is, were both alike (two-sided p).

    one, other: bool (q,), what each found. Exact up to 1,000 such queries, then by the normal distribution with
    continuity (McNemar 1947; Edwards 1948). Queries count as independent: with several captions a picture, it is too
    sure, and the interval of the difference is the better judge.
    """
    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    apart, less = first + second, min(first, second)
    if apart == 0:
        return 1.0
    if apart <= _EXACT:
        return min(1.0, 2 * sum(comb(apart, i) for i in range(less + 1)) / 2**apart)
    return erfc(max(0.0, abs(first - second) - 1) / sqrt(2 * apart))
