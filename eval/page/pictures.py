"""Thumbnails within the page: small, of a bounded number, decoded where hostile files can do no harm."""

import base64
import io

import numpy as np
from PIL import Image

from eval.page.text import plain
from retrieval.datatypes import Item, Picture
from retrieval.errors import ImageError
from retrieval.images import load

SIDE = 176  # pixels of the longer side
MOST = 1500  # pictures of a page
_QUALITY = 72  # of WebP


class Album:
    """The pictures of a page. Each is decoded once, whatever it is shown for, and counts whenever it is shown."""

    def __init__(self, most: int = MOST) -> None:
        self._left = most
        self._made: dict[tuple[str, str], str] = {}

    def picture(self, item: Item) -> str:
        """HTML of the picture; of a box that says why where there is none."""
        name = plain(item.caption or item.uri)
        if self._left <= 0:
            return f'<div class="none" title="{plain(item.uri)}">the page has pictures enough</div>'
        if (key := (item.id, item.uri)) not in self._made:
            self._made[key] = _source(item)
        source = self._made[key]
        if not source.startswith("data:"):
            return f'<div class="none" title="{plain(item.uri)}">{plain(source)}</div>'
        self._left -= 1
        return f'<img decoding="async" alt="{name}" title="{plain(item.uri)}" src="{source}">'


def _source(item: Item) -> str:
    """A data URI, or why there is none."""
    try:
        return _data(load.load(item, SIDE))
    except ImageError as error:
        return str(error) or "cannot be read"


def _data(picture: Picture) -> str:
    """A picture as a data URI. Raises ImageError where it has other channels than can be seen."""
    image = picture if isinstance(picture, Image.Image) else _seen(picture)
    image = image.copy()
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _seen(array: np.ndarray) -> Image.Image:
    if array.ndim == 2 or array.shape[2] in (1, 3):
        return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)
    raise ImageError(f"has {array.shape[2]} channels: cannot be shown")
