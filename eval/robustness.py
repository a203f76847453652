"""What is left of recall where words are mistyped and pictures are turned: each harm alone, beside none.

Only the side that is harmed is encoded again; the other keeps its vectors.
"""

import io
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from eval import intervals
from eval.comparing import SHORT, SHOWN
from eval.measuring import DIRECTIONS, Measured
from eval.tables import Table
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item
from retrieval.encoders import encoding
from retrieval.encoders.protocol import Encoder
from retrieval.images import load

BLUR, QUALITY, KEPT = 0.02, 10, 0.6  # of the shorter side; of a JPEG; of each side, from the middle
_NEGATIONS = frozenset("no not without never none nobody nothing neither nor cannot don't doesn't isn't aren't".split())
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


# ---------------------------------------------------------------- words


def typos(text: str) -> str:
    """One slip of a finger in every word of four letters and more: two letters changed over, one missing, one twice."""
    draw = random.Random(text)
    return re.sub(r"[^\W\d_]{4,}", lambda word: _slipped(word[0], draw), text)


def _slipped(word: str, draw: random.Random) -> str:
    at = draw.randrange(1, len(word) - 1)
    return draw.choice(
        [
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        ]
    )


def shuffled(text: str) -> str:
    """The same words in another order."""
    words = text.split()
    random.Random(text).shuffle(words)
    return " ".join(words)


def without_negation(text: str) -> str:
    """Without the words that say that something is not there."""
    return " ".join(word for word in text.split() if word.casefold().strip(".,;!") not in _NEGATIONS)


# ---------------------------------------------------------------- pictures


def blurred(image: Image.Image) -> Image.Image:
    """Out of focus: a Gaussian of 2 % of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(BLUR * min(image.size)))


def squeezed(image: Image.Image) -> Image.Image:
    """Through a JPEG of quality 10."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return Image.open(file).convert("RGB")


def turned(image: Image.Image) -> Image.Image:
    """By 90 degrees."""
    return image.transpose(Image.Transpose.ROTATE_90)


def cropped(image: Image.Image) -> Image.Image:
    """The middle, 60 % of each side."""
    wide, high = image.size
    left, top = round(wide * (1 - KEPT) / 2), round(high * (1 - KEPT) / 2)
    return image.crop((left, top, wide - left, high - top))


def grey(image: Image.Image) -> Image.Image:
    """Without its colors."""
    return image.convert("L").convert("RGB")


WORDS: dict[str, Callable[[str], str]] = {
    "typos": typos, "CAPITALS": str.upper, "words shuffled": shuffled, "negations dropped": without_negation,
}  # fmt: skip
PICTURES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blur": blurred, f"JPEG of quality {QUALITY}": squeezed, "turned by 90 degrees": turned,
    f"middle {KEPT:.0%}": cropped, "grey": grey,
}  # fmt: skip


# ---------------------------------------------------------------- what is left


@dataclass(frozen=True, slots=True)
class Harm:
    """The figures under a harm.

    Attributes:
        name: Of WORDS or PICTURES, or "none".
        changed: How many captions, or pictures, it changes at all.
        measured: What was measured under it.
    """

    name: str
    changed: int
    measured: Measured


def harms(clean: Measured, encoder: Encoder, on_progress: OnProgress = no_progress) -> list[Harm]:
    """Every harm, after the clean one. on_progress: called with (done, total) pictures, of all harms together."""
    found = [Harm("none", 0, clean)]
    for name, change in WORDS.items():
        texts = [change(pair.caption) for pair in clean.pairs]
        changed = [number for number, pair in enumerate(clean.pairs) if texts[number] != pair.caption]
        vectors = clean.texts.copy()
        if changed:
            vectors[changed] = encoder.encode_texts([texts[number] for number in changed])
        found.append(Harm(name, len(changed), replace(clean, texts=vectors)))
    total = len(PICTURES) * len(clean.items)
    for place, (name, harm) in enumerate(PICTURES.items()):
        vectors = clean.images.copy()
        done = 0
        for batch in encoding.encode([_harmed(item, harm) for item in clean.items], encoder):
            kept = {item.id for item in batch.items}
            done += len(batch.items) + len(batch.skipped)
            numbers = [number for number, item in enumerate(clean.items) if item.id in kept]
            vectors[numbers] = batch.vectors
            on_progress(place * len(clean.items) + done, total)
        found.append(Harm(name, len(clean.items), replace(clean, images=vectors)))
    return found


def _harmed(item: Item, harm: Callable[[Image.Image], Image.Image]) -> Item:
    def content() -> Image.Image:
        picture = load.load(item)
        return harm(picture if isinstance(picture, Image.Image) else Image.fromarray(picture[..., :3]))

    return replace(item, content=content, kind="picture")


def table(found: Sequence[Harm]) -> Table:
    """A row a harm: hit@10 both ways, and how much less that is than without it."""
    clean, rows = found[0].measured, []
    for one in found:
        cells = [one.name, str(one.changed) if one.changed else ""]
        for direction in DIRECTIONS:
            mine, before = one.measured.each[direction], clean.each[direction]
            cells += [f"{mine[name].mean():.1%}" for name in SHOWN[:1]] + [f"{mine['hit@10'].mean():.1%}"]
            apart = mine["hit@10"] - before["hit@10"]
            (low,), (high,) = intervals.confidence(apart[:, None], clean.owners(direction))
            cells.append(
                "" if one is found[0] else f"{100 * apart.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
            )
        rows.append(cells)
    of_each = ("hit@1", "hit@10", "points (95 %)")
    header = ["", "changed", *(f"{SHORT[direction]} {name}" for direction in DIRECTIONS for name in of_each)]
    return Table(f"robustness, {clean.encoder}: points of hit@10 more or less than unharmed", header, rows)


def as_json(found: Sequence[Harm]) -> dict[str, dict[str, float]]:
    """Harm -> direction and metric -> value."""
    return {
        one.name: {
            f"{direction} {name}": float(np.mean(one.measured.each[direction][name]))
            for direction in DIRECTIONS
            for name in SHOWN
        }
        for one in found
    }
