"""Metrics of where the right answers stand (ranking.py): a value for each query, and their mean.

hit@k: any right answer among the first k, what papers on CLIP and VSE call recall@k. recall@k: the share of all right
answers that are there, as Information Retrieval has it (a picture with five captions cannot have more than .2 at 1).
map, map@k, r_precision and ndcg@k are those of trec_eval: map@k divides by all right answers, ndcg takes grades as they
are. Ties stand against the model, so a collapsed one gets no credit; `optimistic` is the same with ties for it.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from eval.ranking import Ranking

KS = (1, 5, 10)


class Places:
    """Right answers of each query with one place each.

    Args:
        ranking: Where they stand.
        optimistic: With ties for the model.
    """

    def __init__(self, ranking: Ranking, optimistic: bool = False) -> None:
        place = ranking.best if optimistic else ranking.worst
        order = np.lexsort((place, ranking.query))
        self.query, self.place, self.grade = ranking.query[order], place[order], ranking.grade[order]
        self.queries = ranking.queries
        self.right = np.bincount(self.query, minlength=ranking.queries)
        if not self.right.all():
            raise ValueError("a query has no right answer among the items")
        self.first = self.place[np.cumsum(self.right) - self.right]

    def summed(self, values: np.ndarray) -> np.ndarray:
        """The sum of the values of each query's right answers: float64 (queries,)."""
        return np.bincount(self.query, values, self.queries)

    def numbered(self) -> np.ndarray:
        """How many right answers stand at each one's place or before."""
        start = np.cumsum(self.right) - self.right
        return np.arange(len(self.query)) - start[self.query] + 1


def hit(places: Places, k: int) -> np.ndarray:
    """1 where any right answer is among the first k."""
    return (places.first <= k).astype(np.float64)


def recall(places: Places, k: int) -> np.ndarray:
    """The share of the right answers that are among the first k."""
    return places.summed(places.place <= k) / places.right


def average_precision(places: Places, k: int | None = None) -> np.ndarray:
    """The mean over right answers of the precision at their places, 0 for those behind k."""
    precision = places.numbered() / places.place
    return places.summed(precision if k is None else precision * (places.place <= k)) / places.right


def r_precision(places: Places) -> np.ndarray:
    """The precision at the place that is the number of right answers."""
    return places.summed(places.place <= places.right[places.query]) / places.right


def ndcg(places: Places, k: int) -> np.ndarray:
    """Gains over log2(1 + place), of the best possible (Jaervelin and Kekaelaeinen 2002)."""
    gained = places.summed(places.grade / np.log2(places.place + 1) * (places.place <= k))
    order = np.lexsort((-places.grade, places.query))
    ideal = places.numbered()
    possible = places.summed(places.grade[order] / np.log2(ideal + 1) * (ideal <= k))
    return gained / possible


def reciprocal_rank(places: Places) -> np.ndarray:
    """1 over the place of the first right answer."""
    return 1 / places.first


_OF_EACH: dict[str, Callable[[Places], np.ndarray]] = {
    **{f"hit@{k}": partial(hit, k=k) for k in KS}, **{f"recall@{k}": partial(recall, k=k) for k in KS},
    "map": average_precision, "map@10": partial(average_precision, k=10), "r_precision": r_precision,
    "ndcg@10": partial(ndcg, k=10), "mrr": reciprocal_rank,
}  # fmt: skip

HITS = tuple(f"hit@{k}" for k in KS)
SHARES = tuple(_OF_EACH)  # the metrics that are means of values between 0 and 1, the greater the better
RANKS = ("median_rank", "mean_rank")  # of the first right answer
METRICS = SHARES + RANKS


def of_each(ranking: Ranking, optimistic: bool = False) -> dict[str, np.ndarray]:
    """The value of each query, float64 (queries,), of SHARES; and "rank", the place of its first right answer.

    Raises ValueError where a query has no right answer.
    """
    places = Places(ranking, optimistic)
    return {name: value(places) for name, value in _OF_EACH.items()} | {"rank": places.first.astype(np.float64)}


def averaged(each: dict[str, np.ndarray]) -> dict[str, float]:
    """METRICS of the values of queries, as `of_each` gives them."""
    values = {name: float(each[name].mean()) for name in SHARES}
    return values | {"median_rank": float(np.median(each["rank"])), "mean_rank": float(each["rank"].mean())}


def measure(ranking: Ranking, optimistic: bool = False) -> dict[str, float]:
    """METRICS of a ranking: SHARES as fractions, ranks from 1."""
    return averaged(of_each(ranking, optimistic))


def chance_of(ranking: Ranking, k: int) -> float:
    """hit@k of a random order, for as many right answers as a query of a ranking has in the mean."""
    return chance_hit(k, ranking.items, len(ranking.query) / ranking.queries)


def chance_hit(k: int, items: int, right: float) -> float:
    """hit@k of a model that orders `items` at random, where `right` of them are right: 1 - C(n-r, k) / C(n, k)."""
    missed = 1.0
    for i in range(min(k, items)):
        missed *= max(0.0, (items - right - i) / (items - i))
    return 1 - missed
