"""Pictures as an agent gets them: JPEGs of a bounded size, one alone or several as numbered tiles of a sheet."""

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

MOST_BYTES = 1_000_000  # of one JPEG: clients refuse or drop larger ones
_QUALITIES = (88, 75, 60, 45)
TILE = 224  # pixels of a tile's side
_GAP, _NUMBER = 4, 22  # pixels between two, and of a number's height
_GREY, _WHITE, _BLACK = (96, 96, 96), (255, 255, 255), (0, 0, 0)


def fitted(image: Image.Image, side: int) -> Image.Image:
    """The picture, its longer side at most that many pixels."""
    smaller = image.copy()
    smaller.thumbnail((side, side))
    return smaller


def jpeg(image: Image.Image) -> bytes:
    """A picture as a JPEG of at most MOST_BYTES: of lower quality, then smaller, where it has to be."""
    while True:
        for quality in _QUALITIES:
            written = io.BytesIO()
            image.save(written, "JPEG", quality=quality)
            if written.tell() <= MOST_BYTES:
                return written.getvalue()
        image = image.resize((max(1, image.width * 3 // 4), max(1, image.height * 3 // 4)))


def contact_sheet(pictures: Sequence[Image.Image | None]) -> Image.Image:
    """Tiles in reading order, numbered from 1; None is one that cannot be shown."""
    columns = max(1, math.ceil(math.sqrt(len(pictures))))
    rows = max(1, math.ceil(len(pictures) / columns))
    step = TILE + _GAP
    page = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), _WHITE)
    for at, picture in enumerate(pictures):
        corner = (_GAP + at % columns * step, _GAP + at // columns * step)
        page.paste(_tile(picture, at + 1), corner)
    return page


def _tile(picture: Image.Image | None, number: int) -> Image.Image:
    tile = Image.new("RGB", (TILE, TILE), _GREY)
    if picture is not None:
        small = fitted(picture, TILE)
        tile.paste(small, ((TILE - small.width) // 2, (TILE - small.height) // 2))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(_NUMBER)
    width = round(draw.textlength(str(number), font)) + 12
    draw.rectangle((0, 0, width, _NUMBER + 8), _BLACK)
    draw.text((6, 2), str(number), _WHITE, font)
    return tile
