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


@dataclass(frozen=True, slots=True)
class Found:
    """Answers to one query, the best first.

    rows: int64 (n,). scores: float32 (n,), cosines; BM25 where only words were asked. places: int64 (n, 2) by meaning
    and by words, from 1, 0 for none; None where words were not asked.
    """

    rows: np.ndarray
    scores: np.ndarray
    places: np.ndarray | None = None

    def at(self, kept: np.ndarray) -> "Found":
        """Those of them, by a mask (n,) or by their places (m,)."""
        return Found(self.rows[kept], self.scores[kept], None if self.places is None else self.places[kept])

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
        # BM25 has no bounds: beside cosines it is a share of the best.
        scores = self.scores / self.scores.max(initial=1.0)
        return self.at(
            pick(scores if scores.size and self.scores[0] > 1 else self.scores, store.vectors(self.rows), k, diversity)
        )


def _real_path(store: Store, row: int) -> str | None:
    (record,) = store.records([row])
    path = Card.of(record).path(store)
    return None if path is None else os.path.realpath(path)
