"""Found: what answers one query, the best first, before its records are read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexes import Store
from retrieval.indexing import stored
from retrieval.indexing.cards import Card
from retrieval.search import query
from retrieval.search.diversity import pick
from retrieval.search.feedback import Judged

_CANDIDATES, _LEAST_CANDIDATES = 5, 100  # times k, for diverse answers


def candidates(k: int) -> int:
    """How many are looked at, where k answers are to differ from each other."""
    return max(_CANDIDATES * k, _LEAST_CANDIDATES)


@dataclass(frozen=True, slots=True)
class Found:
    """Answers to one query, the best first.

    rows: int64 (n,). scores: float32 (n,), cosines; BM25 where only words were asked. places: int64 (n, 2) by meaning
    and by words, from 1, 0 for none; None where words were not asked. worth: float32 (n,), what they are in the order
    of; None where that is their scores.
    """

    rows: np.ndarray
    scores: np.ndarray
    places: np.ndarray | None = None
    worth: np.ndarray | None = None

    def at(self, kept: np.ndarray) -> "Found":
        """Those of them, by a mask (n,) or by their places (m,)."""
        places, worth = (None if one is None else one[kept] for one in (self.places, self.worth))
        return Found(self.rows[kept], self.scores[kept], places, worth)

    def without(self, store: Store, parts: Sequence[query.Part], judged: Judged) -> "Found":
        """The answers without the items and pictures that the query is made of, and without what was judged."""
        own = {*stored.named(store, [part.text for part in parts if part.kind == "item"]), *judged.rows}
        files = {os.path.realpath(file) for file in query.files([*parts, *judged.pictures])}
        if not own and not files:
            return self
        kept = [row not in own and not (files and _real_path(store, row) in files) for row in self.rows.tolist()]
        return self.at(np.array(kept, bool))

    def diverse(self, store: Store, k: int, diversity: float) -> "Found":
        """The best k, chosen to differ from each other as far as that is wanted."""
        if not diversity:
            return self.at(np.arange(min(k, len(self.rows))))
        some = self.at(np.arange(min(candidates(k), len(self.rows))))
        worth = some.scores if some.worth is None else some.worth
        return some.at(pick(worth, store.vectors(some.rows), k, diversity))


def _real_path(store: Store, row: int) -> str | None:
    (record,) = store.records([row])
    path = Card.of(record).path(store)
    return None if path is None else os.path.realpath(path)
