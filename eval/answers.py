"""What each query is answered with: its first right answer, the nearest wrong one, and the first few in their order.

As places do (ranking.py), ties stand against the model: a wrong item with the score of a right one stands ahead of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eval import metrics
from eval.measuring import Measured
from eval.ranking import EQUAL, TILE, finite


@dataclass(frozen=True, slots=True)
class Firsts:
    """The nearest answers of q queries, in one direction. Items are pictures, or captions, by their numbers.

    Attributes:
        asked: int64 (q,), the number of each query: those that have a right answer (Measured.asked).
        right: int64 (q,), the right answer that is found first.
        right_score: float32 (q,), its cosine; -inf where a vector is not all numbers.
        wrong: int64 (q,), the wrong answer that is found first; -1 where every item is right.
        wrong_score: float32 (q,), its cosine; -inf as well where there is none.
        place: int64 (q,), where the right answer stands, from 1.
    """

    asked: np.ndarray
    right: np.ndarray
    right_score: np.ndarray
    wrong: np.ndarray
    wrong_score: np.ndarray
    place: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """Whether the first answer is right: bool (q,)."""
        return self.place == 1

    @property
    def first(self) -> np.ndarray:
        """The first answer: int64 (q,)."""
        return np.where(self.found, self.right, self.wrong)

    @property
    def first_score(self) -> np.ndarray:
        """Its cosine: float32 (q,)."""
        return np.where(self.found, self.right_score, self.wrong_score)

    @property
    def ahead(self) -> np.ndarray:
        """How much nearer the right answer is than the wrong one: float32 (q,); 0 where that is no number."""
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(self.right_score - self.wrong_score, nan=0.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a query: item, its number; place, from 1; score, the cosine; right, whether it is right."""

    item: int
    place: int
    score: float
    right: bool


def firsts(measured: Measured, direction: str) -> Firsts:
    """The nearest right and the nearest wrong answer of every query that has a right one, computed in tiles."""
    asked = measured.asked[direction]
    sides = _sides(measured, direction)
    score = _right_scores(sides)
    order = np.lexsort((-score, sides.query))
    best = order[np.searchsorted(sides.query, asked)]
    place = metrics.Places(measured.rankings[direction]).first
    wrong, wrong_score = _nearest_wrong(sides)
    return Firsts(asked, sides.item[best], score[best], wrong[asked], wrong_score[asked], place)


def listed(measured: Measured, direction: str, asked: Sequence[int], count: int) -> list[list[Answer]]:
    """The first answers of a few queries, and the first right one of each behind them where it is not among those."""
    sides = _sides(measured, direction)
    return [_listed(_scores(sides, number), sides.item[sides.query == number], count) for number in asked]


def _listed(scores: np.ndarray, right: np.ndarray, count: int) -> list[Answer]:
    is_right = np.zeros(len(scores), bool)
    is_right[right] = True
    order = np.lexsort((is_right, -np.where(is_right, scores - np.float32(EQUAL), scores)))
    places = [*range(min(count, len(order)))]
    if not is_right[order[:count]].any():
        places.append(int(is_right[order].argmax()))
    return [Answer(int(order[at]), at + 1, float(scores[order[at]]), bool(is_right[order[at]])) for at in places]


class _Sides(NamedTuple):
    """Queries and items as vectors, which of them are not all numbers, and the right pairs, ascending by query."""

    queries: np.ndarray
    items: np.ndarray
    lost: np.ndarray
    never: np.ndarray
    query: np.ndarray
    item: np.ndarray


def _sides(measured: Measured, direction: str) -> _Sides:
    (texts, mute), (images, blind) = finite(measured.texts), finite(measured.images)
    if direction == "text_to_image":
        return _Sides(texts, images, mute, blind, measured.right.query, measured.right.item)
    turned = measured.right.turned()
    return _Sides(images, texts, blind, mute, turned.query, turned.item)


def _scores(sides: _Sides, number: int) -> np.ndarray:
    """The cosines of one query with all items: float32 (n,). -inf where either is not all numbers."""
    scores = sides.items @ sides.queries[number]
    scores[sides.never | sides.lost[number]] = -np.inf
    return scores


def _right_scores(sides: _Sides) -> np.ndarray:
    """The cosine of each right pair: float32 (p,)."""
    score = np.empty(len(sides.query), np.float32)
    for start in range(0, len(score), TILE):
        part = slice(start, start + TILE)
        score[part] = np.einsum("pd,pd->p", sides.queries[sides.query[part]], sides.items[sides.item[part]])
    score[sides.lost[sides.query] | sides.never[sides.item]] = -np.inf
    return score


def _nearest_wrong(sides: _Sides) -> tuple[np.ndarray, np.ndarray]:
    """The wrong item of each query with the greatest cosine, the first one of several, and that cosine."""
    nearest, best = np.full(len(sides.queries), -1), np.full(len(sides.queries), -np.inf, np.float32)
    for start in range(0, len(nearest), TILE):
        rows = slice(start, start + TILE)
        low, high = np.searchsorted(sides.query, (start, start + TILE))
        for first in range(0, len(sides.items), TILE):
            columns = slice(first, first + TILE)
            scores = sides.queries[rows] @ sides.items[columns].T
            scores[sides.lost[rows]], scores[:, sides.never[columns]] = -np.inf, -np.inf
            row, column = sides.query[low:high] - start, sides.item[low:high] - first
            here = (column >= 0) & (column < scores.shape[1])
            scores[row[here], column[here]] = np.nan
            _keep_better(scores, first, nearest[rows], best[rows])
    return nearest, best


def _keep_better(scores: np.ndarray, first: int, nearest: np.ndarray, best: np.ndarray) -> None:
    """Keep the greatest score of each row of a tile, whose first item is this one, where it is better. NaN is none."""
    wrong = ~np.isnan(scores)
    held = np.where(wrong, scores, -np.inf)
    column = np.where(np.isneginf(held).all(1), wrong.argmax(1), held.argmax(1))
    found = held.max(1)
    better = wrong.any(1) & ((found > best) | (nearest < 0))
    nearest[better], best[better] = column[better] + first, found[better]
