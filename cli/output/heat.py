"""A heat map over its picture, as a PNG with boxes."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from cli.output import target
from indexes import durable
from retrieval.colors import colors
from retrieval.errors import BadRequest
from retrieval.search.heat import Box, Heat

LARGEST = 1600  # pixels of the longer side
_STRONGEST = 0.62  # how much of the picture the hottest place hides


def check(path: Path, option: str, force: bool) -> None:
    """Raise BadRequest where that file must not be written, or is called as what is no PNG."""
    if path.suffix.lower() != ".png":
        raise BadRequest(f"{path.name or path} is not called as a PNG: name one, as in {option} map.png")
    if not path.absolute().parent.is_dir():
        raise BadRequest(f"there is no folder {path.absolute().parent}: make it, or name another file with {option}")
    target.check(path, option, force)


def write(path: Path, image: Image.Image, heat: Heat, boxes: list[Box]) -> None:
    """Write the picture under its heat, the best box drawn the thickest. Raises OSError."""
    shown = image.convert("RGB")
    shown.thumbnail((LARGEST, LARGEST))
    shown = _under(shown, heat)
    _draw(shown, boxes, shown.width / heat.width)
    said = PngImagePlugin.PngInfo()
    said.add_text("Software", target.MARK)
    file = io.BytesIO()
    shown.save(file, "PNG", pnginfo=said)
    durable.write_bytes(path, file.getvalue())


def _under(image: Image.Image, heat: Heat) -> Image.Image:
    """The picture, gray where it is cold, under colors where it is hot."""
    share = heat.smooth(*image.size)
    pixels = np.asarray(image, np.float32)
    gray = pixels.mean(2, keepdims=True)
    hide = (_STRONGEST * share)[..., None]
    faded = gray + (pixels - gray) * (0.25 + 0.75 * share[..., None])
    return Image.fromarray((faded * (1 - hide) + colors(share) * hide).round().clip(0, 255).astype(np.uint8))


def _draw(image: Image.Image, boxes: list[Box], scale: float) -> None:
    draw = ImageDraw.Draw(image)
    thick = max(2, round(min(image.size) / 150))
    for rank, box in reversed(list(enumerate(boxes))):
        corners = [round(side * scale) for side in (box.left, box.top, box.left + box.width, box.top + box.height)]
        corners[2:] = [max(corners[0] + 1, corners[2] - 1), max(corners[1] + 1, corners[3] - 1)]
        wide = thick if rank == 0 else max(1, thick // 2)
        draw.rectangle(tuple(corners), outline=(0, 0, 0), width=wide + 2)
        draw.rectangle(tuple(corners), outline=(255, 255, 255), width=wide)
