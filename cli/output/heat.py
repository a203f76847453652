"""A heat map over its picture, as a PNG with boxes."""

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from cli.output import target
from indexes import durable
from retrieval.colors import colors
from retrieval.errors import BadRequest
from retrieval.search.heat import Box, Heat

LARGEST, SMALLEST = 1600, 640  # pixels of the longer side
_STRONGEST = 0.62  # how much of the picture the hottest place hides


def check(path: Path, option: str, force: bool) -> None:
    """Raise BadRequest where that file must not or cannot be written, or is called as what is no PNG."""
    if path.suffix.lower() != ".png":
        raise BadRequest(f"{path.name or path} is not called as a PNG: name one, as in {option} map.png")
    if not path.absolute().parent.is_dir():
        raise BadRequest(f"there is no folder {path.absolute().parent}: make it, or name another file with {option}")
    target.check(path, option, force)
    try:
        tempfile.TemporaryFile(dir=path.absolute().parent).close()
    except OSError as error:
        raise BadRequest(f"{path} cannot be written ({error.strerror}): name another file with {option}") from error


def write(path: Path, image: Image.Image, heat: Heat, boxes: list[Box]) -> None:
    """Write the picture under its heat, each box with its rank and score, the best the thickest. Raises OSError."""
    shown = _under(_readable(image.convert("RGB")), heat)
    _draw(shown, boxes, shown.width / heat.width)
    said = PngImagePlugin.PngInfo()
    said.add_text("Software", target.MARK)
    file = io.BytesIO()
    shown.save(file, "PNG", pnginfo=said)
    durable.write_bytes(path, file.getvalue())


def _readable(image: Image.Image) -> Image.Image:
    """The picture in a size in which boxes and numbers can be read."""
    longer = max(image.size)
    scale = min(max(longer, SMALLEST), LARGEST) / longer
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


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
    font = ImageFont.load_default(max(12, max(image.size) // 45))
    for rank, box in reversed(list(enumerate(boxes, 1))):  # the best above the others
        corners = [round(side * scale) for side in (box.left, box.top, box.left + box.width, box.top + box.height)]
        corners[2:] = [max(corners[0] + 1, corners[2] - 1), max(corners[1] + 1, corners[3] - 1)]
        wide = thick if rank == 1 else max(1, thick // 2)
        draw.rectangle(tuple(corners), outline=(0, 0, 0), width=wide + 2)
        draw.rectangle(tuple(corners), outline=(255, 255, 255), width=wide)
        said, at = f"{rank}  {box.score:.3f}", (corners[0] + 2 * thick, corners[1] + 2 * thick)
        left, top, right, bottom = draw.textbbox(at, said, font)
        draw.rectangle((left - 3, top - 3, right + 3, bottom + 3), fill=(0, 0, 0))
        draw.text(at, said, (255, 255, 255), font)
