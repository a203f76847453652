"""From queries to hits: the items or captions nearest to each, less those that the request rules out."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from indexes import Condition, Record, Store, fusing
from retrieval.datatypes import By, Hit
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, NoCaptions
from retrieval.images.regions import Region
from retrieval.indexing import stored
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import root_of
from retrieval.search import confidence, feedback, filters, hybrid, query
from retrieval.search.feedback import Judged
from retrieval.search.found import Found, candidates
from retrieval.search.hybrid import Plan
from retrieval.search.picks import Pick

_TOGETHER = 256  # captions that are encoded at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is wanted of the answers to a query.

    Args:
        k: How many answers.
        where: An expression over the items' fields, `caption` and `uri`, as "year >= 2011 and caption contains 'dog'"
            (indexes/filters.py).
        inside: Only items below this folder of what is indexed.
        exact: Compare with every row, also where there is an approximate index.
        urls: Pictures of the query may be fetched from the web.
        min_score: The least cosine of an answer.
        min_confidence: The least confidence of an answer, 0 to 1; it is measured only where this is asked for
            (confidence.py).
        diversity: How much answers should differ from each other: 0 not at all, 1 as much as they can (diversity.py).
        by: "meaning", by the vectors; "words", by the texts of items (indexes/fulltext); "both" (hybrid.py); None for
            what was measured to find more in this index.
        like: Items of which more is wanted, by id, uri or path, or picture files: the query is moved towards them
            (feedback.py). Where something is liked, the query may be empty.
        unlike: Items of which less is wanted.
        train_on: Judgements of which a linear head is fitted, beside `like` and `unlike` (picks.read reads a table).
        with_judged: What was judged may be an answer again; else it is left out.
        unexplained: How many of the first answers need not say which words they have, as they were shown before.
        crop: The region of the query's picture that is asked with; None is all of it.

    Raises:
        BadRequest: A number is out of its range, or what was judged is not given as lists of it.

    Examples:
        >>> Asked(k=5, where="width > 1000").k
        5
    """

    k: int = 10
    where: str | None = None
    inside: str | None = None
    exact: bool = False
    urls: bool = False
    min_score: float | None = None
    min_confidence: float | None = None
    diversity: float = 0.0
    by: hybrid.By | None = None
    unexplained: int = 0
    like: Sequence[str | os.PathLike[str]] = ()
    unlike: Sequence[str | os.PathLike[str]] = ()
    train_on: Sequence[Pick] = ()
    with_judged: bool = False
    crop: Region | None = None

    def __post_init__(self) -> None:
        self._check_judged()
        if not self.k >= 1:
            raise BadRequest("k must be at least 1: give -k 10")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise BadRequest(f"--min-score {self.min_score:g} is no cosine: give, say, 0.25")
        if not 0 <= self.diversity <= 1:
            raise BadRequest(f"--diverse {self.diversity:g} is not between 0 and 1: give --diverse 0.5")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise BadRequest(f"--min-confidence {self.min_confidence:g} is not between 0 and 1: give, say, 0.9")
        if self.by not in (None, "meaning", "words", "both"):
            raise BadRequest(f"`{self.by}` is no way to search: give meaning, words or both")
        if self.min_confidence is not None and self.picks:
            raise BadRequest("--min-confidence is measured for words alone: leave it out where something is judged")

    def _check_judged(self) -> None:
        for kind, names in (("like", self.like), ("unlike", self.unlike)):
            if isinstance(names, str | bytes | os.PathLike) or not isinstance(names, Iterable):
                raise BadRequest(f"like and unlike are lists: give {kind}=[ITEM]")
            if other := [name for name in names if not isinstance(name, str | os.PathLike)]:
                raise BadRequest(f"{kind} has {other[0]!r:.60}, which names no item: give ids, uris or paths")
        picks = self.train_on
        if not isinstance(picks, Iterable) or not all(isinstance(pick, Pick) for pick in picks):
            raise BadRequest("train_on is a list of judgements: give train_on=picks.read('clicks.csv').picks")

    @property
    def picks(self) -> tuple[Pick, ...]:
        """All that was judged."""
        liked = (Pick(os.fsdecode(name), True, "--like") for name in self.like)
        return *self.train_on, *liked, *(Pick(os.fsdecode(name), False, "--unlike") for name in self.unlike)

    def parts(self, asked: str | Sequence[str]) -> tuple[query.Part, ...]:
        """The parts of a query, none where it is empty and something was judged. Raises BadRequest."""
        return () if self.picks and not asked else query.cropped(query.parse(asked), self.crop)

    def judged(self, store: Store) -> Judged:
        """What was judged, in an index. Raises BadRequest."""
        return Judged.of(store, self.picks, bool(self.train_on)) if self.picks else Judged()


Request = tuple[Sequence[query.Part], Asked]


Judge = Callable[[Store], confidence.Background]


def items(
    store: Store, encoder: Encoder, device: str, queries: Sequence[str | Sequence[str]], asked: Asked,
    judge: Judge | None = None,
) -> list[list[Hit]]:  # fmt: skip
    """The items nearest to each query. Raises BadRequest, BadFilter."""
    return each(store, encoder, device, [(asked.parts(one), asked) for one in queries], judge=judge)


def each(
    store: Store, encoder: Encoder, device: str, requests: Sequence[Request],
    sent: Mapping[str, np.ndarray] | None = None, judge: Judge | None = None,
) -> list[list[Hit]]:  # fmt: skip
    """The items nearest to each of several queries, whatever each wants of its answers: one encoding, one scan.

    sent: vectors of pictures, as of `query.encode`. judge: what confidence is measured by, where it is kept. Those with
    the same condition are searched for together. Raises BadRequest, BadFilter.
    """
    if not requests:
        return []
    given = _queries(store, encoder, requests, sent)
    together: dict[tuple[str | None, str | None, bool], list[int]] = {}
    for number, (_, asked) in enumerate(requests):
        together.setdefault((asked.where, asked.inside, asked.exact), []).append(number)
    answers: list[list[Hit]] = [[] for _ in requests]
    for (where, inside, exact), numbers in together.items():
        some, condition = [given[number] for number in numbers], filters.condition(store, where, inside)
        nearest = _nearest(store, device, [one for one in some if one.vector is not None], condition, exact)
        for number, one in zip(numbers, some, strict=True):
            found = hybrid.answered(store, one.plan, one.vector, nearest, one.wide(store), condition)
            background = None
            if one.asked.min_confidence is not None:
                background = (judge or partial(_judge, encoder, device))(store)
            answers[number] = _hits(store, found.without(store, one.parts, one.own), one.asked, background, one.plan)
    return answers


@dataclass(frozen=True, slots=True)
class _Query:
    """One of several. vector: float32 (d,) of unit length, moved by what was judged; None where words alone answer."""

    parts: Sequence[query.Part]
    asked: Asked
    plan: Plan
    judged: Judged
    vector: np.ndarray | None

    @property
    def own(self) -> Judged:
        """What was judged and is no answer."""
        return Judged() if self.asked.with_judged else self.judged

    def wide(self, store: Store) -> int:
        """How many rows are looked at for an answer of k."""
        wide = candidates(self.asked.k) if self.asked.diversity else self.asked.k
        wide += len(self.parts) + len(self.own)
        return max(1, min(max(wide, fusing.WINDOW) if self.plan.by == "both" else wide, len(store)))


def _queries(
    store: Store, encoder: Encoder, requests: Sequence[Request], sent: Mapping[str, np.ndarray] | None
) -> list[_Query]:
    """The queries, those that ask for meaning encoded together. Raises BadRequest, BadWords."""
    for parts, asked in requests:
        if asked.min_confidence is not None:
            confidence.check([parts])
    plans = [hybrid.plan(store, *request) for request in requests]
    judged = [asked.judged(store) for _, asked in requests]
    near = [number for number, plan in enumerate(plans) if plan.by != "words"]
    urls = any(asked.urls for _, asked in requests)
    encoded = _vectors(store, encoder, [requests[n][0] for n in near], [judged[n] for n in near], urls, sent)
    vectors = dict(zip(near, encoded, strict=True))
    return [
        _Query(*request, plans[number], judged[number], vectors.get(number)) for number, request in enumerate(requests)
    ]


def _vectors(
    store: Store, encoder: Encoder, queries: Sequence[Sequence[query.Part]], judged: Sequence[Judged], urls: bool,
    sent: Mapping[str, np.ndarray] | None,
) -> np.ndarray:  # fmt: skip
    """Of each query, moved by what was judged of it: float32 (n, d), unit length."""
    if not queries:
        return np.empty((0, store.dim), np.float32)
    look = partial(query.encode, encoder=encoder, vector_of=partial(stored.vector_of, store), urls=urls, sent=sent)
    return feedback.moved(store, queries, judged, look)


def _nearest(
    store: Store, device: str, queries: Sequence[_Query], condition: Condition | None, exact: bool
) -> Iterator[Found]:
    """The rows nearest to each query, in their order."""
    if not queries:
        return
    vectors = np.stack([one.vector for one in queries if one.vector is not None])
    wide = [one.wide(store) for one in queries]
    nearest = store.search(vectors, max(wide), device, condition, 1 if exact else None)
    for rows, scores, most in zip(nearest.rows, nearest.scores, wide, strict=True):
        there = rows[:most] >= 0
        yield Found(rows[:most][there], scores[:most][there])


def _judge(encoder: Encoder, device: str, store: Store) -> confidence.Background:
    return confidence.background(store, encoder, device)


def _hits(
    store: Store, found: Found, asked: Asked, judge: confidence.Background | None, plan: Plan
) -> list[Hit]:  # fmt: skip
    if asked.min_score is not None:
        found = found.at(found.scores >= asked.min_score)
    if judge is not None and asked.min_confidence is not None:
        found = found.at(judge.confidence(found.scores) >= asked.min_confidence)
    found = found.diverse(store, asked.k, asked.diversity)
    sure: list[float | None] = [None] * len(found.rows)
    if judge is not None:
        sure = judge.confidence(found.scores).tolist()
    lines = zip(store.records(found.rows), found.scores.tolist(), sure, strict=True)
    root = root_of(store)
    hits = [_below(root, rank, *line) for rank, line in enumerate(lines, 1)]
    return [replace(hit, by=by) for hit, by in zip(hits, _why(store, found, plan, asked.unexplained), strict=True)]


def _why(store: Store, found: Found, plan: Plan, shown: int) -> Sequence[By | None]:
    """Why each of them answers; None where only meaning was asked."""
    if found.places is None or plan.words is None:
        return [None] * len(found.rows)
    unsaid: list[tuple[str, ...]] = [()] * min(shown, len(found.rows))
    matched = unsaid + store.words_in(plan.words, found.rows[shown:])
    return [
        By(meaning or None, words or None, has if words else ())
        for (meaning, words), has in zip(found.places.tolist(), matched, strict=True)
    ]


def hit(store: Store, rank: int, record: Record, score: float, sure: float | None = None) -> Hit:
    """A record as an answer."""
    return _below(root_of(store), rank, record, score, sure)


def _below(root: str | None, rank: int, record: Record, score: float, sure: float | None = None) -> Hit:
    card = Card.of(record)
    return Hit(
        rank, score, card.uri, card.path_below(root), card.captions, record.id, card.fields, sure, card.kind,
        card.within, card.key,
    )  # fmt: skip


# ---------------------------------------------------------------- captions


@dataclass(frozen=True, slots=True)
class Captions:
    """The distinct captions of a store's items. rows: int64 (n,), the first item of each; vectors: float32 (n, d)."""

    condition: Condition | None
    texts: tuple[str, ...]
    rows: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, store: Store, encoder: Encoder, condition: Condition | None = None) -> "Captions":
        """Encode them. Raises BadRequest where no item has one."""
        rows = store.rows(condition)
        first: dict[str, int] = {}
        for row, record in zip(rows.tolist(), store.records(rows), strict=True):
            for caption in Card.of(record).captions:
                first.setdefault(caption, row)
        if not len(rows):
            return cls(condition, (), rows, np.empty((0, store.dim), np.float32))
        if not first:
            raise NoCaptions(f"no item of {store.path} has a caption: index a source with captions, or search pictures")
        texts = tuple(first)
        parts = [encoder.encode_texts(texts[at : at + _TOGETHER]) for at in range(0, len(texts), _TOGETHER)]
        return cls(condition, texts, np.fromiter(first.values(), np.int64), np.concatenate(parts))


def captions(
    store: Store, encoder: Encoder, known: Captions, request: Request, sent: Mapping[str, np.ndarray] | None = None
) -> list[Hit]:
    """The captions nearest to a query. An item's own caption is an answer to its picture. Raises BadRequest."""
    parts, asked = request
    (vector,) = _vectors(store, encoder, [parts], [asked.judged(store)], asked.urls, sent)
    scores = known.vectors @ vector
    order = np.argsort(-scores, kind="stable")[: asked.k]
    if asked.min_score is not None:
        order = order[scores[order] >= asked.min_score]
    lines = zip(store.records(known.rows[order]), scores[order].tolist(), order.tolist(), strict=True)
    return [
        _with_first(hit(store, rank, record, score), known.texts[place])
        for rank, (record, score, place) in enumerate(lines, 1)
    ]


def _with_first(found: Hit, caption: str) -> Hit:
    """The hit of a caption: that one stands before the others of its item."""
    return replace(found, captions=(caption, *(other for other in found.captions if other != caption)))
