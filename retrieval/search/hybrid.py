"""Words beside meaning: what of a query is looked for by words, and how both rankings answer it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from indexes import BadWords, Condition, Store, Words, fusing
from indexes.fusing import Fusion, Ranking
from retrieval.errors import BadRequest
from retrieval.indexing.hybrid import Measured
from retrieval.search.found import Found
from retrieval.search.query import Part

if TYPE_CHECKING:
    from retrieval.search.answers import Asked

By = Literal["meaning", "words", "both"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one query is answered. words: what is looked for by words; None where nothing is."""

    words: Words | None = None
    fusion: Fusion | None = None

    @property
    def by(self) -> By:
        """By what."""
        return "meaning" if self.words is None else "words" if self.fusion is None else "both"


def plan(store: Store, parts: Sequence[Part], asked: "Asked") -> Plan:
    """How a query is answered by an index; where that is not said, as was measured of it (indexing/hybrid.py).

    Raises BadRequest, BadWords where words alone are asked for and there are none.
    """
    measured = None if asked.by in ("meaning", "words") else Measured.recorded(store)
    by = asked.by or ("both" if measured and measured.better else "meaning")
    if by == "meaning":
        return Plan()
    if by == "words":
        return Plan(words_alone(parts, asked))
    try:
        words = Words.parse(*_texts(parts), strict=False)
    except BadWords:  # a picture, or signs
        return Plan()
    return Plan(words, measured.fusion if measured else Fusion())


_KINDS = {"item": "an item", "picture": "a file", "url": "an address", "sent": "a picture"}


def words_alone(parts: Sequence[Part], asked: "Asked") -> Words:
    """What is looked for where words alone are asked. Raises BadRequest, BadWords where that makes no sense."""
    _check(parts, asked)
    return Words.parse(*_texts(parts))


def _texts(parts: Sequence[Part]) -> tuple[str, list[str]]:
    """The words that are asked for, and texts that are taken away."""
    words = [part for part in parts if part.kind == "words"]
    return " ".join(one.text for one in words if one.weight > 0), [one.text for one in words if one.weight < 0]


def _check(parts: Sequence[Part], asked: "Asked") -> None:
    other = next((part for part in parts if part.kind != "words"), None)
    if other is not None:
        raise BadRequest(
            f"--words-only looks for words, and {other.text[:60]} is {_KINDS[other.kind]}: leave it out, or write "
            "text: before it"
        )
    if asked.picks:
        raise BadRequest("what was judged moves a query by its meaning: leave out the judgements, or --words-only")
    if asked.min_score is not None or asked.min_confidence is not None:
        raise BadRequest("words alone have no cosine: leave out --min-score and --min-confidence, or --words-only")


def answered(
    store: Store, plan: Plan, vector: np.ndarray | None, nearest: Iterator[Found], count: int,
    condition: Condition | None,
) -> Found:  # fmt: skip
    """The answers to a query as planned. nearest: gives those by meaning, where there is a vector, float32 (d,).

    count: how many rows are looked at.
    """
    if vector is None:
        return _by_words(store, plan, count, condition)
    near = next(nearest)
    if plan.words is None or plan.fusion is None:
        return near
    first = near.at(np.arange(min(fusing.WINDOW, len(near.rows))))
    worded = store.search_words(plan.words, fusing.WINDOW, condition)
    fused = fusing.fuse(
        plan.fusion, Ranking(first.rows, first.scores), Ranking(worded.rows[0], worded.scores[0]),
        lambda rows: store.vectors(rows) @ vector, store.words_weight(plan.words),
    )  # fmt: skip
    return _followed(Found(fused.rows, fused.cosines, fused.places, fused.scores), near, len(first.rows))


def _followed(found: Found, near: Found, first: int) -> Found:
    """What both rankings gave, and behind it what is farther by meaning. first: how many of `near` are among it."""
    places = np.arange(1, len(near.rows) + 1)
    rest = (places > first) & ~np.isin(near.rows, found.rows)
    more = np.stack([places[rest], np.zeros(rest.sum(), np.int64)], axis=1)
    assert found.places is not None and found.worth is not None  # of both
    return Found(
        np.concatenate([found.rows, near.rows[rest]]), np.concatenate([found.scores, near.scores[rest]]),
        np.concatenate([found.places, more]), np.concatenate([found.worth, np.zeros(rest.sum(), np.float32)]),
    )  # fmt: skip


def _by_words(store: Store, plan: Plan, count: int, condition: Condition | None) -> Found:
    assert plan.words is not None  # what has no vector has words
    found = store.search_words(plan.words, count, condition)
    places = np.zeros((found.rows.shape[1], 2), np.int64)
    places[:, 1] = np.arange(1, len(places) + 1)
    return Found(found.rows[0], found.scores[0], places)
