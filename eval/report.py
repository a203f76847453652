"""evaluate(encoder, pairs) -> Report: both directions, with what chance would give and how sure the figures are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval import intervals, measuring, metrics
from eval.measuring import DIRECTIONS, Measured
from eval.ranking import EQUAL, Ranking
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Pair
from retrieval.encoders.protocol import Encoder
from retrieval.images import kinds

TITLES = {
    "text_to_image": "words find their picture",
    "image_to_text": "a picture finds any of its captions",
}
DECIDE = 0.005  # of a share, from which ties are said to decide


@dataclass(frozen=True)
class Report:
    """How well words find pictures, and pictures words. `str()` is the table, `to_json()` one line.

    Attributes:
        text_to_image: Metric -> value (metrics.METRICS): shares as fractions, ranks from 1; ties count against it.
        image_to_text: The same from a picture to its captions. hit@k: to any of them; recall@k: to all.
        queries: How many captions there were.
        items: How many pictures, or sounds.
        encoder: The name of the encoder.
        fingerprint: The encoder's.
        optimistic: Direction -> metric -> the value, did ties count for the model.
        intervals: Direction -> metric -> (low, high), of 95 %, for the shares.
        chance: Direction -> metric -> the hit@k of a random order.
        skipped: (uri, reason) of pictures that were left out.
        notes: What a reader should know of the pairs or of the vectors, a line each.
        unit: What the items are called: "pictures", "sounds", or "items" of both.
    """

    text_to_image: dict[str, float]
    image_to_text: dict[str, float]
    queries: int
    items: int
    encoder: str
    fingerprint: str
    optimistic: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    chance: dict[str, dict[str, float]] = field(default_factory=dict)
    skipped: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    unit: str = "pictures"

    @property
    def r_sum(self) -> float:
        """The six hit@k in percent, added: what papers call rSum, of 600."""
        return 100 * sum(getattr(self, direction)[name] for direction in DIRECTIONS for name in metrics.HITS)

    def as_dict(self) -> dict[str, Any]:
        """What `to_json` says; skips are named on stderr by the command line, and counted here."""
        return {
            "text_to_image": self.text_to_image, "image_to_text": self.image_to_text, "r_sum": self.r_sum,
            "queries": self.queries, "items": self.items, "encoder": self.encoder, "fingerprint": self.fingerprint,
            "intervals": self.intervals, "chance": self.chance, "optimistic": self.optimistic,
            "skipped": len(self.skipped), "notes": list(self.notes),
        }  # fmt: skip

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self.as_dict())

    def __str__(self) -> str:
        lines = [f"{self.items} {self.unit}, {self.queries} captions, encoder {self.encoder} ({self.fingerprint})"]
        for direction in DIRECTIONS:
            lines += ["", f"{direction.replace('_', '-')}: {TITLES[direction].replace('picture', self.unit[:-1])}"]
            lines += [f"  {name:<12} {self._cell(direction, name)}" for name in self._rows(direction)]
        return "\n".join([*lines, "", f"rSum {self.r_sum:.1f} of 600", *self.notes])

    def _rows(self, direction: str) -> list[str]:
        """Of a caption, which has one picture, recall@k is hit@k, and average precision the reciprocal rank."""
        of_several = direction == "image_to_text" and self.queries > self.items
        more = ("recall@1", "recall@5", "recall@10", "map", "map@10", "r_precision") if of_several else ()
        return [*metrics.HITS, *more, "ndcg@10", "mrr", *metrics.RANKS]

    def _cell(self, direction: str, name: str) -> str:
        value = getattr(self, direction)[name]
        if name in metrics.RANKS:
            return f"{value:6.1f}"
        low, high = self.intervals[direction][name]
        if name not in metrics.HITS:
            return f"{value:6.3f}  (95 %: {low:.3f} to {high:.3f})"
        return f"{value:6.1%}  (95 %: {low:.1%} to {high:.1%}; chance {self.chance[direction][name]:.1%})"


def evaluate(encoder: Encoder, pairs: Sequence[Pair], on_progress: OnProgress = no_progress) -> Report:
    """Rank every picture for every caption, and every caption for every picture.

    Pictures that do not decode are left out with their captions, and listed in the report.

    Args:
        encoder: Anything that encodes pictures and texts: what `load_encoder` gives, or your own.
        pairs: Pictures with their captions, as `open_pairs` gives them; a picture may have several.
        on_progress: Called with (done, total) pictures.

    Returns:
        Every metric of both directions. `str()` of it is a table.

    Raises:
        NothingReadable: No picture decodes.

    Examples:
        >>> from retrieval import load_encoder, open_pairs
        >>> report = evaluate(load_encoder("runs/mine"), open_pairs("csv:pairs.csv?split=test"))
        >>> report.text_to_image["hit@10"]
    """
    return of(measuring.measure(encoder, pairs, on_progress))


def of(measured: Measured, notes: Sequence[str] = ()) -> Report:
    """The report of what was measured. notes: lines beside those on ties."""
    values = {name: metrics.averaged(measured.each[name]) for name in DIRECTIONS}
    optimistic = {name: metrics.measure(measured.rankings[name], optimistic=True) for name in DIRECTIONS}
    chance = {name: _chance(measured.rankings[name]) for name in DIRECTIONS}
    return Report(
        **values, queries=len(measured.texts), items=len(measured.images), encoder=measured.encoder,
        fingerprint=measured.fingerprint, optimistic=optimistic,
        intervals={name: _intervals(measured, name) for name in DIRECTIONS}, chance=chance,
        skipped=measured.skipped, notes=[*notes, *_ties(values, optimistic)],
        unit=kinds.counted(item.kind for item in measured.items),
    )  # fmt: skip


def _chance(found: Ranking) -> dict[str, float]:
    """hit@k of a random order, for as many right answers as a query has in the mean."""
    return {f"hit@{k}": metrics.chance_of(found, k) for k in metrics.KS}


def _intervals(measured: Measured, direction: str) -> dict[str, tuple[float, float]]:
    each = measured.each[direction]
    bounds = intervals.confidence(np.stack([each[name] for name in metrics.SHARES], 1), measured.owners(direction))
    return {name: (float(low), float(high)) for name, low, high in zip(metrics.SHARES, *bounds, strict=True)}


def _ties(values: dict[str, dict[str, float]], optimistic: dict[str, dict[str, float]]) -> list[str]:
    """A line where it matters how ties count."""
    apart = {
        (direction, name): optimistic[direction][name] - value
        for direction, found in values.items()
        for name, value in found.items()
        if name in metrics.SHARES
    }
    (direction, name), most = max(apart.items(), key=lambda one: one[1])
    if most < DECIDE:
        return []
    worst, best = values[direction][name], optimistic[direction][name]
    return [
        f"ties decide: {direction.replace('_', '-')} {name} is {worst:.1%} with ties against the model, {best:.1%} "
        f"with ties for it: some scores are no further apart than {EQUAL:g}"
    ]
