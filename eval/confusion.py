"""A confusion matrix as a picture: a row for each true class, a column for each answer, darker where more often."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from eval.classification import HeadReport
from indexes import durable
from retrieval.errors import BadRequest

_CLASSES = 60  # the most frequent ones that are drawn
_LETTERS = 16  # of a class's name
_CELL, _CHARACTER, _PAGE = 18, 7, (255, 255, 255)


def draw(report: HeadReport) -> Image.Image:
    """The matrix, each row as shares of its true class. Raises BadRequest where the report has none."""
    if report.confusion is None:
        raise BadRequest("only heads with one label a row have a confusion matrix: leave out --confusion")
    kept = np.sort(np.argsort(-report.confusion.sum(1), kind="stable")[:_CLASSES])
    matrix = report.confusion[np.ix_(kept, kept)]
    shares = matrix / np.maximum(1, report.confusion[kept].sum(1, keepdims=True))
    names = [report.classes[i][:_LETTERS] for i in kept]
    return _sheet(names, matrix, shares)


def _sheet(names: list[str], matrix: np.ndarray, shares: np.ndarray) -> Image.Image:
    margin = _LETTERS * _CHARACTER + 6
    side = margin + _CELL * len(names)
    page = Image.new("RGB", (side, side), _PAGE)
    pen = ImageDraw.Draw(page)
    for row, name in enumerate(names):
        pen.text((2, margin + row * _CELL + 3), name, fill=(0, 0, 0))
        for column in range(len(names)):
            _cell(pen, margin, row, column, int(matrix[row, column]), float(shares[row, column]))
    page.paste(_columns(names, margin), (margin, 0))
    return page


def _cell(pen: ImageDraw.ImageDraw, margin: int, row: int, column: int, rows: int, share: float) -> None:
    left, top = margin + column * _CELL, margin + row * _CELL
    wrong, right = (200, 60, 40), (40, 90, 170)
    ink = right if row == column else wrong
    colour = tuple(round(255 + (part - 255) * share**0.5) for part in ink)
    pen.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), fill=colour)
    if rows and rows < 1000:
        pen.text((left + 1, top + 3), str(rows), fill=(0, 0, 0) if share < 0.4 else (255, 255, 255), font_size=8)


def _columns(names: list[str], margin: int) -> Image.Image:
    """The names above the columns, read from below."""
    strip = Image.new("RGB", (margin, _CELL * len(names)), _PAGE)
    pen = ImageDraw.Draw(strip)
    for column, name in enumerate(names):
        pen.text((2, column * _CELL + 3), name, fill=(0, 0, 0))
    return strip.transpose(Image.Transpose.ROTATE_90)


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
