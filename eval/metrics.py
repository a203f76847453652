"""Metrics are NumPy on ranks. A rank counts from 1; ties count against the model, so a collapsed one gets no credit.

"recall@k" is the share of queries with a right answer among the first k (hit rate), as every CLIP and VSE paper
reports it: for a picture with several captions, any of them.
"""

from collections.abc import Callable

import numpy as np

BLOCK = 1024  # queries scored at once


def ranks(queries: np.ndarray, items: np.ndarray, query_owner: np.ndarray, item_owner: np.ndarray) -> np.ndarray:
    """The rank of each query's best right answer: int64 (q,).

    queries (q, d), items (n, d): unit rows. An item is right for a query where their owners are equal; every query
    must have at least one. rank = 1 + the wrong items that score at least as much as the best right one.
    """
    result = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), BLOCK):
        part = slice(start, start + BLOCK)
        scores = queries[part] @ items.T
        right = query_owner[part, None] == item_owner[None]
        best = np.where(right, scores, -np.inf).max(1, keepdims=True)
        if not np.isfinite(best).all():
            raise ValueError("a query has no right answer among the items")
        result[part] = 1 + ((scores >= best) & ~right).sum(1)
    return result


def recall_at(k: int) -> Callable[[np.ndarray], float]:
    """The share of ranks that are at most k."""
    return lambda ranks: float((ranks <= k).mean())


METRICS: dict[str, Callable[[np.ndarray], float]] = {
    "recall@1": recall_at(1),
    "recall@5": recall_at(5),
    "recall@10": recall_at(10),
    "mrr": lambda ranks: float((1 / ranks).mean()),
    "median_rank": lambda ranks: float(np.median(ranks)),
}


def measure(ranks: np.ndarray) -> dict[str, float]:
    """Every metric of these ranks."""
    return {name: metric(ranks) for name, metric in METRICS.items()}


def chance_recall(k: int, items: int, right: float) -> float:
    """recall@k of a model that orders `items` at random, where `right` of them are right: 1 - C(n-r, k) / C(n, k)."""
    missed = 1.0
    for i in range(min(k, items)):
        missed *= max(0.0, (items - right - i) / (items - i))
    return 1 - missed


def confidence(
    ranks: np.ndarray, owner: np.ndarray, metric: Callable[[np.ndarray], float], draws: int = 500
) -> tuple[float, float]:
    """A 95 % bootstrap interval of a metric that is a mean over queries, drawing whole pictures.

    The captions of one picture are not independent, so pictures are drawn, not queries. owner (q,): whose query it is.
    """
    _, owner = np.unique(owner, return_inverse=True)
    count = int(owner.max()) + 1
    value = np.array([metric(ranks[i : i + 1]) for i in range(len(ranks))])
    total, size = np.bincount(owner, value, count), np.bincount(owner, minlength=count)
    drawn = np.random.default_rng(0).integers(count, size=(draws, count))
    means = total[drawn].sum(1) / size[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
