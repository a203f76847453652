"""A confusion matrix as a picture: a row for each true class, a column for each answer, darker where more often."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eval.classification import HeadReport
from indexes import durable
from retrieval.errors import BadRequest

_CLASSES = 60  # the most frequent ones that are drawn
_LETTERS = 20  # of a class's name
_SIZE, _PAD, _LINE = 11, 4, 22  # of the writing, around it, and of the axes' titles
_PAGE, _INK, _GREY = (255, 255, 255), (0, 0, 0), (110, 110, 110)


def draw(report: HeadReport) -> Image.Image:
    """The matrix, each row as shares of its true class. Raises BadRequest where the report has none."""
    if report.confusion is None:
        raise BadRequest("only heads with one label a row have a confusion matrix: leave out --confusion")
    kept = np.sort(np.argsort(-report.confusion.sum(1), kind="stable")[:_CLASSES])
    matrix = report.confusion[np.ix_(kept, kept)]
    shares = matrix / np.maximum(1, report.confusion[kept].sum(1, keepdims=True))
    names = [_short(report.classes[i]) for i in kept]
    return _sheet(names, matrix, shares)


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(_SIZE)


def _width(text: str) -> int:
    return math.ceil(_font().getlength(text))


def cell_of(matrix: np.ndarray) -> int:
    """Pixels of a cell's side: the greatest number fits in."""
    return max(18, _width(str(int(matrix.max(initial=0)))) + 2 * _PAD)


def _sheet(names: list[str], matrix: np.ndarray, shares: np.ndarray) -> Image.Image:
    """Rows are what is true, columns what was answered; names beside both, and the axes' titles outside of them."""
    cell, longest = cell_of(matrix), max(map(_width, names)) + 2 * _PAD
    margin, wide = longest + _LINE, cell * len(names)
    page = Image.new("RGB", (margin + wide + _PAD, margin + wide + _PAD), _PAGE)
    pen = ImageDraw.Draw(page)
    for row, column in np.ndindex(matrix.shape):
        corner = (margin + column * cell, margin + row * cell)
        _cell(pen, corner, cell, int(matrix[row, column]), float(shares[row, column]), row == column)
    page.paste(_strip(names, longest, cell, "rm"), (_LINE, margin))
    page.paste(_strip(names, longest, cell, "lm").transpose(Image.Transpose.ROTATE_90), (margin, _LINE))
    pen.text((margin + wide / 2, _PAD), "answered", _GREY, _font(), anchor="ma")
    page.paste(_upright("true"), (_PAD, margin + (wide - _width("true")) // 2))
    return page


def _strip(names: list[str], wide: int, cell: int, anchor: str) -> Image.Image:
    """Names below each other, a cell for each, at the left or the right edge."""
    strip = Image.new("RGB", (wide, cell * len(names)), _PAGE)
    pen = ImageDraw.Draw(strip)
    for row, name in enumerate(names):
        pen.text((_PAD if anchor == "lm" else wide - _PAD, (row + 0.5) * cell), name, _INK, _font(), anchor=anchor)
    return strip


def _upright(text: str) -> Image.Image:
    """Read from below."""
    line = Image.new("RGB", (_width(text), _LINE - _PAD), _PAGE)
    ImageDraw.Draw(line).text((0, 0), text, _GREY, _font(), anchor="la")
    return line.transpose(Image.Transpose.ROTATE_90)


def _cell(pen: ImageDraw.ImageDraw, corner: tuple[int, int], cell: int, rows: int, share: float, right: bool) -> None:
    left, top = corner
    ink = (40, 90, 170) if right else (200, 60, 40)
    colour = tuple(round(255 + (part - 255) * share**0.5) for part in ink)
    pen.rectangle((left, top, left + cell - 2, top + cell - 2), fill=colour)
    if rows:
        middle = (left + (cell - 1) / 2, top + (cell - 1) / 2)
        pen.text(middle, str(rows), _INK if share < 0.4 else _PAGE, _font(), anchor="mm")


def save(report: HeadReport, path: Path) -> None:
    """Write the picture, whole or not at all, in the format that the name ends in. Raises BadRequest."""
    picture = draw(report)
    ending = path.suffix.lower()
    kinds = Image.registered_extensions()
    if ending not in kinds or kinds[ending] not in Image.SAVE:
        raise BadRequest(f"{path} is no name of a picture: give, say, --confusion confusion.png")
    buffer = io.BytesIO()
    picture.save(buffer, kinds[ending])
    durable.write_bytes(path, buffer.getvalue())
