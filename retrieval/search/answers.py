"""From queries to hits: the items or captions nearest to each, less those that the request rules out."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from indexes import Condition, Record, Store
from retrieval.datatypes import Hit
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, NoCaptions
from retrieval.images.regions import Region
from retrieval.indexing import stored
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import root_of
from retrieval.search import confidence, filters, query
from retrieval.search.diversity import pick

_CANDIDATES, _LEAST_CANDIDATES = 5, 100  # times k, for diverse answers
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
        crop: The region of the query's picture that is asked with; None is all of it.

    Raises:
        BadRequest: A number is out of its range.

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
    crop: Region | None = None

    def __post_init__(self) -> None:
        if not self.k >= 1:
            raise BadRequest("k must be at least 1: give -k 10")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise BadRequest(f"--min-score {self.min_score:g} is no cosine: give, say, 0.25")
        if not 0 <= self.diversity <= 1:
            raise BadRequest(f"--diverse {self.diversity:g} is not between 0 and 1: give --diverse 0.5")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise BadRequest(f"--min-confidence {self.min_confidence:g} is not between 0 and 1: give, say, 0.9")


Request = tuple[Sequence[query.Part], Asked]


Judge = Callable[[Store], confidence.Background]


def items(
    store: Store, encoder: Encoder, device: str, queries: Sequence[str | Sequence[str]], asked: Asked,
    judge: Judge | None = None,
) -> list[list[Hit]]:  # fmt: skip
    """The items nearest to each query. Raises BadRequest, BadFilter."""
    return each(
        store, encoder, device, [(query.cropped(query.parse(one), asked.crop), asked) for one in queries], judge=judge
    )


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
    for parts, asked in requests:
        if asked.min_confidence is not None:
            confidence.check([parts])
    urls = any(asked.urls for _, asked in requests)
    vectors = query.encode(
        [parts for parts, _ in requests], encoder, lambda uri: _vector_of(store, uri), urls, sent
    )  # fmt: skip
    together: dict[tuple[str | None, str | None, bool], list[int]] = {}
    for number, (_, asked) in enumerate(requests):
        together.setdefault((asked.where, asked.inside, asked.exact), []).append(number)
    answers: list[list[Hit]] = [[] for _ in requests]
    for (where, inside, exact), numbers in together.items():
        condition = filters.condition(store, where, inside)
        found = _nearest(store, device, [requests[number] for number in numbers], vectors[numbers], condition, exact)
        for number, neighbors in zip(numbers, found, strict=True):
            measured = requests[number][1].min_confidence is not None
            background = (judge or partial(_judge, encoder, device))(store) if measured else None
            answers[number] = _hits(store, neighbors, requests[number][1], background)
    return answers


def _nearest(
    store: Store,
    device: str,
    requests: Sequence[Request],
    vectors: np.ndarray,
    condition: Condition | None,
    exact: bool,
) -> Iterator["_Found"]:
    wide = [_wide(store, parts, asked) for parts, asked in requests]
    found = store.search(vectors, max(wide), device, condition, 1 if exact else None)
    for rows, scores, (parts, _), most in zip(found.rows, found.scores, requests, wide, strict=True):
        there = rows[:most] >= 0
        yield _Found(rows[:most][there], scores[:most][there]).without(store, parts)


def _wide(store: Store, parts: Sequence[query.Part], asked: Asked) -> int:
    """How many rows are looked at for an answer of k."""
    wide = max(_CANDIDATES * asked.k, _LEAST_CANDIDATES) if asked.diversity else asked.k
    return max(1, min(wide + len(parts), len(store)))


def _judge(encoder: Encoder, device: str, store: Store) -> confidence.Background:
    return confidence.background(store, encoder, device)


@dataclass(frozen=True, slots=True)
class _Found:
    """Neighbors of one query, best first: rows int64 (n,), scores float32 (n,)."""

    rows: np.ndarray
    scores: np.ndarray

    def at(self, kept: np.ndarray) -> "_Found":
        return _Found(self.rows[kept], self.scores[kept])

    def without(self, store: Store, parts: Sequence[query.Part]) -> "_Found":
        """The neighbors without the items and pictures that the query itself is made of."""
        own = set(stored.named(store, [part.text for part in parts if part.kind == "item"]))
        files = {os.path.realpath(file) for file in query.files(parts)}
        if not own and not files:
            return self
        kept = [row not in own and not (files and _real_path(store, row) in files) for row in self.rows.tolist()]
        return self.at(np.array(kept, bool))

    def diverse(self, store: Store, k: int, diversity: float) -> "_Found":
        """The best k, chosen to differ from each other as far as that is wanted."""
        if not diversity:
            return self.at(np.arange(min(k, len(self.rows))))
        return self.at(pick(self.scores, store.vectors(self.rows), k, diversity))


def _hits(store: Store, found: _Found, asked: Asked, judge: confidence.Background | None) -> list[Hit]:
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
    return [_below(root, rank, *line) for rank, line in enumerate(lines, 1)]


def hit(store: Store, rank: int, record: Record, score: float, sure: float | None = None) -> Hit:
    """A record as an answer."""
    return _below(root_of(store), rank, record, score, sure)


def _below(root: str | None, rank: int, record: Record, score: float, sure: float | None = None) -> Hit:
    card = Card.of(record)
    return Hit(
        rank, score, card.uri, card.path_below(root), card.captions, record.id, card.fields, sure, card.kind,
        card.within, card.key,
    )  # fmt: skip


def _vector_of(store: Store, uri: str) -> np.ndarray:
    return store.vectors(stored.named(store, [uri]))[0]


def _real_path(store: Store, row: int) -> str | None:
    (record,) = store.records([row])
    path = Card.of(record).path(store)
    return None if path is None else os.path.realpath(path)


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
    (vector,) = query.encode([parts], encoder, lambda uri: _vector_of(store, uri), asked.urls, sent)
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
