"""What each query is answered with: its first right answer, the nearest wrong one, and the first few in their order.

As places do (ranking.py), ties stand against the model: a wrong item with the score of a right one stands ahead of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eval import metrics
from eval.measuring import Measured
from eval.ranking import EQUAL, Right, finite, right_scores, wrong_scores


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
    score = right_scores(*sides)
    order = np.lexsort((-score, sides.right.query))
    best = order[np.searchsorted(sides.right.query, asked)]
    place = metrics.Places(measured.rankings[direction]).first
    wrong, wrong_score = _nearest_wrong(sides)
    return Firsts(asked, sides.right.item[best], score[best], wrong[asked], wrong_score[asked], place)


def listed(measured: Measured, direction: str, asked: Sequence[int], count: int) -> list[list[Answer]]:
    """The first answers of a few queries, and the first right one of each behind them where it is not among those."""
    sides = _sides(measured, direction)
    right = sides.right
    return [_listed(_scores(sides, number), right.item[right.query == number], count) for number in asked]


def _listed(scores: np.ndarray, right: np.ndarray, count: int) -> list[Answer]:
    is_right = np.zeros(len(scores), bool)
    is_right[right] = True
    order = np.lexsort((is_right, -np.where(is_right, scores - np.float32(EQUAL), scores)))
    places = [*range(min(count, len(order)))]
    if not is_right[order[:count]].any():
        places.append(int(is_right[order].argmax()))
    return [Answer(int(order[at]), at + 1, float(scores[order[at]]), bool(is_right[order[at]])) for at in places]


class _Sides(NamedTuple):
    """Queries and items as vectors, the right pairs, and which queries and items are not all numbers."""

    queries: np.ndarray
    items: np.ndarray
    right: Right
    lost: np.ndarray
    never: np.ndarray


def _sides(measured: Measured, direction: str) -> _Sides:
    (texts, mute), (images, blind) = finite(measured.texts), finite(measured.images)
    if direction == "text_to_image":
        return _Sides(texts, images, measured.right, mute, blind)
    return _Sides(images, texts, measured.right.turned(), blind, mute)


def _scores(sides: _Sides, number: int) -> np.ndarray:
    """The cosines of one query with all items: float32 (n,). -inf where either is not all numbers."""
    scores = sides.items @ sides.queries[number]
    scores[sides.never | sides.lost[number]] = -np.inf
    return scores


def _nearest_wrong(sides: _Sides) -> tuple[np.ndarray, np.ndarray]:
    """The wrong item of each query with the greatest cosine, the first one of several, and that cosine."""
    nearest, best = np.full(len(sides.queries), -1), np.full(len(sides.queries), -np.inf, np.float32)
    for rows, columns, scores in wrong_scores(*sides):
        _keep_better(scores, columns.start, nearest[rows], best[rows])
    return nearest, best


def _keep_better(scores: np.ndarray, first: int, nearest: np.ndarray, best: np.ndarray) -> None:
    """Keep the greatest score of each row of a tile, whose first item is this one, where it is better. NaN is none."""
    wrong = ~np.isnan(scores)
    held = np.where(wrong, scores, -np.inf)
    column = np.where(np.isneginf(held).all(1), wrong.argmax(1), held.argmax(1))
    found = held.max(1)
    better = wrong.any(1) & ((found > best) | (nearest < 0))
    nearest[better], best[better] = column[better] + first, found[better]
