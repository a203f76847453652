"""Slices: how the figures are where captions are long, where a field says so, where a picture has many captions.

A slice is a part of the queries; each is still ranked among all pictures, or captions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from eval import intervals
from eval.comparing import SHORT, SHOWN
from eval.measuring import Measured
from eval.tables import Table
from retrieval.datatypes import Pair
from retrieval.errors import BadRequest

WORDS, LETTERS, CAPTIONS = (1, 4, 7, 10, 13, 17, 25), (1, 20, 40, 60, 80, 120, 200), (1, 2, 3, 4, 5, 6, 11)
VALUES = 20  # of a field, the most frequent ones
OTHER, NONE = "other values", "(nothing)"


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the queries of a direction.

    Attributes:
        by: What it was divided by.
        name: Of the part.
        direction: Of measuring.DIRECTIONS.
        queries: How many they are.
        values: Metric of comparing.SHOWN -> its mean.
        interval: (low, high) of 95 %, of hit@10.
    """

    by: str
    name: str
    direction: str
    queries: int
    values: dict[str, float]
    interval: tuple[float, float]


def of(measured: Measured, by: str) -> list[Slice]:
    """The slices of a way to divide: "words", "letters" (of a caption), "captions" (of a picture), or a field.

    Pictures are divided as well where all captions of each are in one slice.

    Raises BadRequest where no row has that field.
    """
    names = divided(measured, by)
    found = _of_queries(measured, by, "text_to_image", [names[number] for number in measured.asked["text_to_image"]])
    of_picture: dict[int, str] = {}
    for owner, name in zip(measured.owner.tolist(), names, strict=True):
        if of_picture.setdefault(owner, name) != name:
            return found  # it divides captions: a picture stands on both sides
    asked = measured.asked["image_to_text"].tolist()
    return found + _of_queries(measured, by, "image_to_text", [of_picture[number] for number in asked])


def divided(measured: Measured, by: str) -> list[str]:
    """The slice of each caption. Raises BadRequest."""
    if by in _COUNTS:
        count, edges = _COUNTS[by]
        return [_between(edges, number) for number in count(measured)]
    require(measured.pairs, by)
    return _by_value([pair.meta.get(by) for pair in measured.pairs])


def require(pairs: Sequence[Pair], by: str) -> None:
    """Raise BadRequest where nothing is known of these pairs by that name."""
    if by in _COUNTS or any(pair.meta.get(by) is not None for pair in pairs):
        return
    fields = sorted({name for pair in pairs for name in pair.meta})
    raise BadRequest(f"no row has {by or 'a field without a name'}: give --by {', '.join([*_COUNTS, *fields[:12]])}")


_COUNTS: dict[str, tuple[Callable[[Measured], Sequence[int]], Sequence[int]]] = {
    "words": (lambda measured: [len(pair.caption.split()) for pair in measured.pairs], WORDS),
    "letters": (lambda measured: [len(pair.caption) for pair in measured.pairs], LETTERS),
    "captions": (lambda measured: np.bincount(measured.owner)[measured.owner].tolist(), CAPTIONS),
}


def _between(edges: Sequence[int], number: int) -> str:
    for low, high in pairwise(edges):
        if number < high:
            return f"{low} to {high - 1}" if high - low > 1 else str(low)
    return f"{edges[-1]} or more"


def _by_value(said: Sequence[Any]) -> list[str]:
    """The names of values, of which the rarer ones have one name; numbers of many values in four equal parts."""
    numbers = [value for value in said if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(set(numbers)) > VALUES and len(numbers) == sum(value is not None for value in said):
        edges = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1])
        parts = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges)]
        return [NONE if value is None else parts[int(np.searchsorted(edges[1:-1], value, "right"))] for value in said]
    texts = [NONE if value is None or not str(value).strip() else str(value) for value in said]
    names, counts = np.unique(np.array(texts, object).astype(str), return_counts=True)
    frequent = set(names[np.argsort(-counts, kind="stable")[:VALUES]].tolist())
    return [text if text in frequent else OTHER for text in texts]


def _of_queries(measured: Measured, by: str, direction: str, names: Sequence[str]) -> list[Slice]:
    """In the order in which a reader looks for them: by number where they begin with one, else the largest first."""
    named = np.array(names)
    each, owners = measured.each[direction], measured.owners(direction)
    found = []
    for name in np.unique(named).tolist():
        here = np.flatnonzero(named == name)
        (low,), (high,) = intervals.confidence(each["hit@10"][here, None], owners[here])
        values = {metric: float(each[metric][here].mean()) for metric in SHOWN}
        found.append(Slice(by, name, direction, len(here), values, (float(low), float(high))))
    return sorted(found, key=_order)


def _order(one: Slice) -> tuple[float, float]:
    try:
        first = float(one.name.split()[0])
    except ValueError:
        first = math.inf
    return (first, 0.0) if math.isfinite(first) else (math.inf, -one.queries)


def table(encoder: str, slices: Sequence[Slice]) -> Table:
    """A row a slice."""
    rows = [
        [
            one.name, SHORT[one.direction], str(one.queries), *(f"{one.values[name]:.1%}" for name in SHOWN[:3]),
            f"{one.interval[0]:.1%} to {one.interval[1]:.1%}", f"{one.values['mrr']:.3f}",
        ]
        for one in slices
    ]  # fmt: skip
    return Table(f"by {slices[0].by}, {encoder}", ["", "", "queries", *SHOWN[:3], "95 % of hit@10", "mrr"], rows)
