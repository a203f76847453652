"""evaluate(encoder, pairs) -> Report: recall both ways, with what chance would give and how sure the figures are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from eval import metrics
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item, Pair
from retrieval.encoders import encoding
from retrieval.encoders.protocol import Encoder
from retrieval.errors import ImageError, NothingReadable
from retrieval.images import load

DIRECTIONS = ("text_to_image", "image_to_text")
_TITLES = {
    "text_to_image": "words find their picture",
    "image_to_text": "a picture finds any of its captions",
}


@dataclass(frozen=True)
class Report:
    """How well words find pictures, and pictures words. `str()` is the table, `to_json()` one line.

    Attributes:
        text_to_image: Metric -> value: recall@1, @5 and @10 and mrr as fractions, median_rank counted from 1.
        image_to_text: The same from a picture to any of its captions.
        queries: How many captions there were.
        items: How many pictures.
        encoder: The name of the encoder.
        fingerprint: The encoder's.
        intervals: Direction -> metric -> (low, high), of 95 %, for the recalls.
        chance: Direction -> metric -> the recall of a random order.
        skipped: (uri, reason) of pictures that were left out.
    """

    text_to_image: dict[str, float]
    image_to_text: dict[str, float]
    queries: int
    items: int
    encoder: str
    fingerprint: str
    intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    chance: dict[str, dict[str, float]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def to_json(self) -> str:
        """One line; skips are named on stderr by the command line, and counted here."""
        return json.dumps(
            {
                "text_to_image": self.text_to_image, "image_to_text": self.image_to_text, "queries": self.queries,
                "items": self.items, "encoder": self.encoder, "fingerprint": self.fingerprint,
                "intervals": self.intervals, "chance": self.chance, "skipped": len(self.skipped),
            }
        )  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.items} pictures, {self.queries} captions, encoder {self.encoder} ({self.fingerprint})"]
        for direction in DIRECTIONS:
            values = getattr(self, direction)
            lines += ["", f"{direction.replace('_', '-')}: {_TITLES[direction]}"]
            for name, value in values.items():
                lines.append(f"  {name:<12} {self._cell(direction, name, value)}")
        return "\n".join(lines)

    def _cell(self, direction: str, name: str, value: float) -> str:
        if name == "median_rank":
            return f"{value:6.1f}"
        if name == "mrr":
            return f"{value:6.3f}"
        low, high = self.intervals[direction][name]
        return f"{value:6.1%}  (95 %: {low:.1%} to {high:.1%}; chance {self.chance[direction][name]:.1%})"


def evaluate(
    encoder: Encoder,
    pairs: Sequence[Pair],
    on_progress: OnProgress = no_progress,
) -> Report:
    """Rank every picture for every caption, and every caption for every picture.

    Pictures that do not decode are left out with their captions, and listed in the report.

    Args:
        encoder: Anything that encodes pictures and texts: what `load_encoder` gives, or your own.
        pairs: Pictures with their captions, as `open_pairs` gives them; a picture may have several.
        on_progress: Called with (done, total) pictures.

    Returns:
        Recall, mean reciprocal rank and median rank of both directions. `str()` of it is a table.

    Raises:
        NothingReadable: No picture decodes.

    Examples:
        >>> from retrieval import load_encoder, open_pairs
        >>> report = evaluate(load_encoder("runs/mine"), open_pairs("csv:pairs.csv?split=test"))
        >>> report.text_to_image["recall@10"]
    """
    items = _items(pairs)
    vectors, kept, skipped = [], [], []
    for batch in encoding.encode(items, encoder):
        vectors.append(batch.vectors)
        kept += batch.items
        skipped += batch.skipped
        on_progress(len(kept) + len(skipped), len(items))
    if not kept:
        raise _nothing(skipped, "check the paths in the source, or give another SOURCE")
    place = {item.id: number for number, item in enumerate(kept)}
    pairs = [pair for pair in pairs if pair.item.id in place]
    owner = np.array([place[pair.item.id] for pair in pairs])
    texts = encoder.encode_texts([pair.caption for pair in pairs])
    return report(np.concatenate(vectors), texts, owner, encoder.name, encoder.fingerprint, skipped)


def require_readable(option: str, source: str, pairs: Sequence[Pair]) -> None:
    """Raise NothingReadable where no picture of the pairs decodes: asked before the work that they are to measure.

    option: the one that names the source on the command line, as --eval. Pictures are tried until one decodes.
    """
    skipped = []
    for item in _items(pairs):
        try:
            load.load(item)
            return
        except ImageError as error:
            skipped.append((item.uri, str(error)))
    raise _nothing(skipped, f"check its paths, or give another {option}", f"{option} {source}: ")


def _items(pairs: Sequence[Pair]) -> list[Item]:
    """The pictures of the pairs, each once, in their order."""
    items: dict[str, Item] = {}
    for pair in pairs:
        items.setdefault(pair.item.id, pair.item)
    return list(items.values())


def _nothing(skipped: Sequence[tuple[str, str]], hint: str, of: str = "") -> NothingReadable:
    return NothingReadable(f"{of}none of the {len(skipped)} pictures can be read: {hint}", skipped)


def report(
    images: np.ndarray, texts: np.ndarray, owner: np.ndarray, encoder: str = "", fingerprint: str = "",
    skipped: Sequence[tuple[str, str]] = (),
) -> Report:  # fmt: skip
    """The report of unit rows. images (n, d), texts (q, d), owner (q,): which picture each text belongs to."""
    numbers = np.arange(len(images))
    by_direction = {
        "text_to_image": (metrics.ranks(texts, images, owner, numbers), owner, len(images), 1.0),
        "image_to_text": (metrics.ranks(images, texts, numbers, owner), numbers, len(texts), len(texts) / len(images)),
    }
    values = {name: metrics.measure(ranks) for name, (ranks, *_) in by_direction.items()}
    recalls = [name for name in metrics.METRICS if name.startswith("recall@")]
    intervals = {
        name: {metric: metrics.confidence(ranks, whose, metrics.METRICS[metric]) for metric in recalls}
        for name, (ranks, whose, *_) in by_direction.items()
    }
    chance = {
        name: {metric: metrics.chance_recall(int(metric.split("@")[1]), count, right) for metric in recalls}
        for name, (_, _, count, right) in by_direction.items()
    }
    return Report(
        **values, queries=len(texts), items=len(images), encoder=encoder, fingerprint=fingerprint,
        intervals=intervals, chance=chance, skipped=list(skipped),
    )  # fmt: skip
