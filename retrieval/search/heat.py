"""Where words are in a picture: the places of its tower against a query, as a map and as boxes.

    seen = Places.of(image, encoder)      # one look, for any number of queries
    heat = seen.heat(vector)              # float32 (rows, columns), over all of the picture
    heat.boxes()                          # in pixels of the picture, the best first

A tower sees a square. Of a wide or tall picture several are looked at, side by side, until all of it is seen: one look
would see its middle alone, or things too narrow to be known. Where a square is more than the picture, what was filled
in is left out.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from retrieval.encoders import prompts
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.protocol import Encoder, EncodesPlaces
from retrieval.errors import BadRequest

THRESHOLD = 0.6  # of the way from the least to the greatest score: above it a place is in a box (docs/figures.md)
_FINE = 8  # parts of a place's side, in which boxes are drawn
_LEAST_PART = _FINE**2 // 4  # of these: less than a quarter of a place is no box, but for the best one
_MOST_SQUARES = 8  # of one picture
_NEARLY = 1.2  # a side by the other: up to here one look at all of a picture is worth as much as two (docs/log.md)
_MOST_BOXES = 10
_DIGITS = 4  # of a score that is told
_LEAST = 1e-6  # between the least and the greatest score; less is a map of nothing


def require_places(encoder: Encoder) -> EncodesPlaces:
    """The encoder, as one that knows places. Raises BadRequest where it is of another kind."""
    if not isinstance(encoder, EncodesPlaces):
        raise BadRequest(
            f"{encoder.name or 'the encoder'} has no patches to look for words in: use another, as in --model builtin"
        )
    return encoder


def require_seen(kind: str, name: str) -> None:
    """Raise BadRequest for what has no places. kind: of an item or a file, as datatypes.Hit has it."""
    if kind == "sound":
        raise BadRequest(f"{name} is a sound, which has no places: give a picture or a clip")


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture, in its pixels. score: of the best place in it. peak: the middle of that place, x and y."""

    left: int
    top: int
    width: int
    height: int
    score: float
    peak: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Heat:
    """Scores of the places of a picture of width x height pixels: float32 (rows, columns), the upper left first."""

    scores: np.ndarray
    width: int
    height: int

    def shares(self) -> np.ndarray:
        """The scores from 0, the least of them, to 1, the greatest; zeros where all are the same."""
        least, most = float(self.scores.min()), float(self.scores.max())
        return (self.scores - least) / (most - least) if most - least > _LEAST else np.zeros_like(self.scores)

    def smooth(self, width: int, height: int) -> np.ndarray:
        """`shares` as pixels, float32 (height, width), from 0 to 1."""
        small = Image.fromarray(self.shares().astype(np.float32), "F")
        return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)

    def boxes(self, threshold: float = THRESHOLD, most: int = _MOST_BOXES) -> list[Box]:
        """What is above the threshold, a box around each part that hangs together, the best first.

        threshold: of the way from the least to the greatest score (Zhou 2016 and later work on class activation maps
        draw their boxes so). Nothing where all places score the same.
        """
        rows, columns = self.scores.shape
        fine = self.smooth(columns * _FINE, rows * _FINE)
        if not fine.any():
            return []
        found = sorted(parts(fine >= threshold * fine.max()), key=lambda part: -_best(part, fine))
        large = [part for place, part in enumerate(found) if place == 0 or len(part) >= _LEAST_PART]
        return [self._box(part, fine) for part in large[:most]]

    def _box(self, part: np.ndarray, fine: np.ndarray) -> Box:
        """Of a part: int (n, 2), rows and columns of `fine`."""
        across, down = self.width / fine.shape[1], self.height / fine.shape[0]
        (top, left), (bottom, right) = part.min(0), part.max(0) + 1
        row, column = part[fine[part[:, 0], part[:, 1]].argmax()] // _FINE  # the place that the peak lies in
        right, bottom = max(1, round(right * across)), max(1, round(bottom * down))
        left, top = min(right - 1, round(left * across)), min(bottom - 1, round(top * down))  # a pixel at least
        peak = int((column + 0.5) * _FINE * across), int((row + 0.5) * _FINE * down)
        return Box(left, top, right - left, bottom - top, float(self.scores[row, column]), peak)


def _best(part: np.ndarray, fine: np.ndarray) -> float:
    return float(fine[part[:, 0], part[:, 1]].max())


def parts(mask: np.ndarray) -> Iterator[np.ndarray]:
    """The parts of a mask (h, w) that hang together by their sides: int (n, 2) of rows and columns each."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    while left:
        border = [left.pop()]
        part = list(border)
        while border:
            y, x = border.pop()
            near = {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} & left
            left -= near
            part += near
            border += near
        yield np.array(part)


# ---------------------------------------------------------------- what is seen


@dataclass(frozen=True, slots=True)
class Places:
    """What is at each place of a picture of width x height pixels: float32 (rows, columns, dim)."""

    vectors: np.ndarray
    width: int
    height: int

    @classmethod
    def of(cls, image: Image.Image, encoder: Encoder) -> "Places":
        """Look at a picture. Raises BadRequest for an encoder without places."""
        windows = list(squares(image.size, encoder.preprocess))
        shown = [image if one == (0, 0, *image.size) else image.crop(one) for one in windows]
        looks = require_places(encoder).encode_places(shown)
        seen = [encoder.preprocess.window(*one.size) for one in shown]
        framed = [
            (box[0] + left, box[1] + top, box[0] + right, box[1] + bottom)
            for box, (left, top, right, bottom) in zip(windows, seen, strict=True)
        ]
        return cls(_joined(looks, framed, image.size), *image.size)

    def heat(self, vector: np.ndarray) -> Heat:
        """How near each place is to a unit vector, float32 (dim,)."""
        return Heat(self.vectors @ vector, self.width, self.height)


def squares(size: tuple[int, int], preprocess: Preprocess) -> Iterator[tuple[int, int, int, int]]:
    """The parts of a picture that are looked at: all of one that is nearly square, else squares along the longer side.

    Of a picture longer than eight squares they are longer, where no part is cut out of what is shown.
    """
    width, height = size
    short, long, cut = min(size), max(size), preprocess.mode == "shortest"
    if long <= short * (1 if cut else _NEARLY):
        yield 0, 0, width, height
        return
    count = min(_MOST_SQUARES, math.ceil(long / short))
    side = short if cut else max(short, math.ceil(long / count))
    for number in range(count):
        start = round(number * (long - side) / (count - 1))
        yield (start, 0, start + side, short) if width > height else (0, start, short, start + side)


def _joined(
    looks: np.ndarray, windows: Sequence[tuple[float, float, float, float]], size: tuple[int, int]
) -> np.ndarray:
    """Looks (n, rows, columns, dim) at windows of a picture as one grid over it, of places as large as theirs."""
    rows, columns = looks.shape[1:3]
    left, top, right, bottom = windows[0]
    # Of a picture that is a thread, places are as long as they must be.
    wide = min(_MOST_SQUARES * columns, max(1, round(columns * size[0] / (right - left))))
    high = min(_MOST_SQUARES * rows, max(1, round(rows * size[1] / (bottom - top))))
    x, y = (np.arange(wide) + 0.5) * size[0] / wide, (np.arange(high) + 0.5) * size[1] / high
    total, seen = np.zeros((high, wide, looks.shape[3]), np.float32), np.zeros((high, wide, 1), np.float32)
    for look, (left, top, right, bottom) in zip(looks, windows, strict=True):
        across, down = (x - left) / (right - left), (y - top) / (bottom - top)
        inside = ((down >= 0) & (down < 1))[:, None] & ((across >= 0) & (across < 1))[None]
        at = lambda shares, count: (shares * count).astype(int).clip(0, count - 1)  # noqa: E731
        total += np.where(inside[..., None], look[np.ix_(at(down, rows), at(across, columns))], 0)
        seen += inside[..., None]
    if not seen.all():  # a picture longer than eight squares, of which middles are cut out
        near = np.argwhere(seen[..., 0] > 0)
        for row, column in np.argwhere(seen[..., 0] == 0):
            total[row, column] = total[tuple(near[np.abs(near - (row, column)).sum(1).argmin()])]
    return total / np.maximum(seen, 1)


# ---------------------------------------------------------------- what is told


def confidence(seen: Places, heat: Heat, encoder: Encoder) -> float:
    """The share of the things people look for that have no place in the picture as near as the query has.

    As of an answer of a search (confidence.py), but by the bank's things alone, each at its best place. Low where the
    query is not to be seen, or is what half of the bank is like.
    """
    others = encoder.encode_texts(prompts.things())
    best = (seen.vectors.reshape(-1, seen.vectors.shape[2]) @ others.T).max(0)
    return float((best < heat.scores.max()).mean())


def as_json(heat: Heat, boxes: Sequence[Box]) -> dict[str, Any]:
    """A map and its boxes, as they are told everywhere: scores row by row, boxes in pixels of the upright picture."""
    rows, columns = heat.scores.shape
    return {
        "width": heat.width, "height": heat.height, "grid": [rows, columns],
        "scores": [[round(float(score), _DIGITS) for score in row] for row in heat.scores],
        "boxes": [
            {
                "left": box.left, "top": box.top, "width": box.width, "height": box.height,
                "score": round(box.score, _DIGITS), "peak": list(box.peak),
            }
            for box in boxes
        ],
    }  # fmt: skip
