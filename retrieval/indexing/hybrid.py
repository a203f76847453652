"""Do words beside meaning find more in this index? Measured on captions that are held out, and recorded with it.

A caption of some items is taken out of what is searched, and it, or every second time TYPED words of it, is asked for:
by meaning, by words, and by both with each way and weight of fusing (indexes/fusing.py). What is best on one half of
the captions is judged on the other, both ways round, so that the figure is of captions that chose nothing.

Where items have one caption each, LEFT of its words stay in: so many are what two captions of one photograph have in
common, as far as words find the one by the other (Flickr8k's training part, docs/log.md).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from indexes import BadWords, Store, Words, fusing
from indexes.fulltext import ranking, table
from indexes.fusing import Fusion, Ranking
from indexes.typed import Malformed, checked
from retrieval.callbacks import OnMessage, no_message
from retrieval.encoders.protocol import Encoder
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import Identity
from retrieval.indexing.fields import CAPTION
from retrieval.sources.captions import captions_of

KEY = "hybrid"  # of the manifest
QUERIES, POOL = 300, 10_000  # captions that are asked for, items among which they are
TYPED = 4  # words that are asked for of every second caption
LEFT = 0.25  # of the words of an only caption
LEAST = 100  # captions, below which nothing is measured
_AGAIN = 1.5  # times as many items, or so many times fewer: measured again
_LOOKED_AT = 500  # items, to see how many have captions
_OTHERS = 0.2  # so much more or less of them: measured again
_K = 10
_SURE = 1.96  # standard errors of the mean of paired differences
_WAYS = (
    *(Fusion("reciprocal", weight) for weight in (0.3, 0.5, 0.7)),
    *(Fusion("relative", round(weight, 2)) for weight in np.arange(0.05, 1.0, 0.05).tolist()),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of an index.

    Attributes:
        kind, weight: The best way to fuse (indexes/fusing.py).
        better: Do both find more than meaning alone, surely? Then they are what is asked.
        meaning, words, both: The share of captions whose item is among the first ten, 0 to 1.
        queries: How many captions.
        rows: How many items the index had.
        captioned: Which share of them had captions, as far as was looked.
        fingerprint: Of its encoder.
    """

    kind: Literal["reciprocal", "relative"]
    weight: float
    better: bool
    meaning: float
    words: float
    both: float
    queries: int
    rows: int
    captioned: float
    fingerprint: str

    @classmethod
    def recorded(cls, store: Store) -> "Measured | None":
        """What an index remembers; None where nothing was measured of its encoder, or it cannot be read."""
        try:
            found = checked(store.manifest.get(KEY), cls)
        except Malformed:
            return None
        identity = Identity.recorded(store)
        return found if identity and identity.fingerprint == found.fingerprint else None

    @property
    def fusion(self) -> Fusion:
        """The best way to fuse."""
        return Fusion(self.kind, self.weight)

    def __str__(self) -> str:
        if self.better:
            so = "asked together unless --no-hybrid is given"
        else:
            so = "not surely more together: --hybrid asks both"
        return (
            f"both find {self.both:.1%} of {self.queries} captions held out among the first {_K}, meaning alone "
            f"{self.meaning:.1%}, words alone {self.words:.1%}: {so}"
        )


def is_due(store: Store) -> bool:
    """Is it not known of the index as it is? That of few items, of which nothing was recorded, need not be."""
    said, identity = store.manifest.get(KEY), Identity.recorded(store)
    if identity is None:
        return False
    if not isinstance(said, dict):
        return len(store) >= LEAST
    rows = said.get("rows")
    near = isinstance(rows, int) and rows / _AGAIN <= len(store) <= rows * _AGAIN
    return not (near and said.get("fingerprint") == identity.fingerprint)


def keep(store: Store, encoder: Encoder, say: OnMessage = no_message) -> None:
    """Record whether words help, where that is not known of the index as it is.

    Args:
        store: Open for writing.
        encoder: Its encoder.
        say: Called with a line for a person, where something was measured.
    """
    if len(store) < LEAST and not is_due(store):
        return
    captioned, said = _captioned(store), store.manifest.get(KEY)
    then = said.get("captioned") if isinstance(said, dict) else None
    if not is_due(store) and isinstance(then, (int, float)) and abs(then - captioned) <= _OTHERS:
        return
    found = measure(store, encoder, captioned) if len(store) >= LEAST and captioned else None
    nothing = {"rows": len(store), "captioned": captioned, "fingerprint": encoder.fingerprint}
    store.set_manifest(**{KEY: asdict(found) if found else nothing})
    if found:
        say(f"words beside meaning: {found}")


def _captioned(store: Store) -> float:
    """The share of its items that have captions, of some of them."""
    rows = store.rows()
    drawn = np.random.default_rng(0).choice(rows, min(len(rows), _LOOKED_AT), replace=False)
    having = sum(bool(Card.of(record).captions) for record in store.records(np.sort(drawn)))
    return having / max(1, len(drawn))


def measure(store: Store, encoder: Encoder, captioned: float) -> Measured | None:
    """Measure it; None where fewer than LEAST items have a caption. captioned: the share that has."""
    rng = np.random.default_rng(0)
    drawn = rng.permutation(store.rows())[:POOL]
    records = store.records(drawn)
    asked = _asked([Card.of(record).captions for record in records])
    if len(asked) < LEAST:
        return None
    lines = [
        (place, _without(record.fields, asked[place], rng) if place in asked else record.text)
        for place, record in enumerate(records)
    ]
    typed = {place: _typed(text, rng) if number % 2 else text for number, (place, text) in enumerate(asked.items())}
    vectors, queries = store.vectors(drawn), encoder.encode_texts(list(typed.values()))
    with table.made_of(lines) as database:
        trials = [
            _Trial.of(partial(_worded, database, len(lines)), place, text, vectors, query)
            for (place, text), query in zip(typed.items(), queries, strict=True)
        ]
    return _judged(trials, len(store), captioned, encoder.fingerprint)


def _asked(captions: Sequence[Sequence[str]]) -> dict[int, str]:
    """A caption of some items, by their places: of those that have several, where they are enough."""
    last = {place: said[-1] for place, said in enumerate(captions) if said and said[-1].strip()}
    several = {place: text for place, text in last.items() if len(captions[place]) > 1}
    return dict(list((several if len(several) >= LEAST else last).items())[:QUERIES])


def _typed(caption: str, rng: np.random.Generator) -> str:
    """Some words of a caption in a row, as many as people type."""
    words = caption.split()
    first = int(rng.integers(0, max(1, len(words) - TYPED + 1)))
    return " ".join(words[first : first + TYPED])


def _without(fields: dict[str, Any], caption: str, rng: np.random.Generator) -> str:
    """The fields of a record without a caption that is asked for, wherever it stands; of an only one LEFT stays."""
    only = len(captions_of(fields.get(CAPTION))) == 1
    left = " ".join(word for word in caption.split() if rng.random() < LEFT) if only else ""

    def taken_out(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: taken_out(one) for name, one in value.items()}
        if isinstance(value, list):
            return [taken_out(one) for one in value]
        return left if value == caption else value

    return json.dumps(taken_out(fields))


@dataclass(frozen=True, slots=True)
class _Trial:
    """A caption that was asked for. places: of its item by meaning, by words, and by each of _WAYS; 0 for none."""

    places: tuple[int, ...]

    @classmethod
    def of(
        cls, worded: "Callable[[str], tuple[Ranking, float]]", place: int, text: str, vectors: np.ndarray,
        query: np.ndarray,
    ) -> "_Trial":  # fmt: skip
        cosines = vectors @ query
        depth = min(fusing.DEPTH, len(cosines))
        best = np.argpartition(-cosines, depth - 1)[:depth]
        near = best[np.lexsort((best, -cosines[best]))]
        meaning = Ranking(near, cosines[near])
        words, whole = worded(text)
        fused = (fusing.fuse(way, meaning, words, lambda rows: cosines[rows], whole).rows for way in _WAYS)
        return cls(tuple(_place(rows, place) for rows in (near, words.rows, *fused)))


def _worded(database: table.Database, count: int, text: str) -> tuple[Ranking, float]:
    """The rows by words, and what one would score that has all of them."""
    try:
        words = Words.parse(text, strict=False)
    except BadWords:
        return Ranking(np.empty(0, np.int64), np.empty(0, np.float32)), 0.0
    all_live = ranking.Living(count, lambda rows: np.ones(len(rows), bool))
    found = ranking.nearest(database, words, fusing.DEPTH, all_live, all_live.among)
    return Ranking(*found), ranking.weight(database, words, all_live)


def _place(rows: np.ndarray, wanted: int) -> int:
    found = np.flatnonzero(rows == wanted)
    return int(found[0]) + 1 if len(found) else 0


def _judged(trials: Sequence[_Trial], rows: int, captioned: float, fingerprint: str) -> Measured:
    places = np.array([trial.places for trial in trials])
    hits = (places > 0) & (places <= _K)
    worth = (hits + hits / np.log2(np.maximum(places, 1) + 1)) / 2  # the mean of recall@10 and nDCG@10
    first = np.arange(len(places)) % 2 == 0
    chosen = np.where(first, _best(worth[~first]), _best(worth[first]))  # by the other half
    both = np.arange(len(places)), 2 + chosen
    gained = worth[both] - worth[:, 0]
    way = _WAYS[_best(worth)]
    return Measured(
        kind=way.kind, weight=way.weight, better=bool(gained.mean() > _SURE * gained.std(ddof=1) / len(gained) ** 0.5),
        meaning=float(hits[:, 0].mean()), words=float(hits[:, 1].mean()), both=float(hits[both].mean()),
        queries=len(trials), rows=rows, captioned=captioned, fingerprint=fingerprint,
    )  # fmt: skip


def _best(worth: np.ndarray) -> int:
    """The number of the best of _WAYS for these captions (n, 2 + ways); of equals the first."""
    return int(np.argmax(worth[:, 2:].mean(axis=0)))
