"""Bytes to correct RGB pixels: orientation, transparency, 16 bits, animation, scaled decode, bombs, corrupt files."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from retrieval.datatypes import Item
from retrieval.errors import ImageError

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .gif .webp .bmp .dib .tif .tiff .avif .jp2 .ppm .pgm .pbm .pnm .tga .ico .qoi".split()
)
MAX_PIXELS = 200_000_000  # above this a picture is taken for a bomb

# Formats that start other programs (EPS), or that hold no photograph, are not opened whatever the file's name says.
_WANTED = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO", "QOI")
Image.init()
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)  # what this Pillow was built with


def decode(content: Path | bytes, at_least: int | None = None) -> Image.Image:
    """Decode a picture as a person sees it: an RGB image, upright, over white, the first frame of an animation.

    at_least: where the shorter side may shrink to this many pixels, a JPEG is decoded at a fraction of its size,
    never below it. Raises ImageError with the reason.
    """
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters raises
            with Image.open(source, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ImageError(f"too large: {image.width} x {image.height} pixels")
                if at_least and image.format == "JPEG":
                    image.draft(None, (at_least, at_least))
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("too large: a decompression bomb") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError("not a picture of a known format") from error
    except FileNotFoundError as error:
        raise ImageError("no such file") from error
    except MemoryError as error:
        raise ImageError("too large for memory") from error
    # Pillow's decoders raise almost anything on hostile bytes (struct.error, SyntaxError, IndexError, KeyError, ...):
    # one file, one reason.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"does not decode: {reason}"[:200]) from error


def load(item: Item, at_least: int | None = None) -> Image.Image:
    """The picture of an item as `decode` gives it. Raises ImageError with the reason."""
    if isinstance(item.content, Path):
        return decode(item.content, at_least)
    try:
        content = item.content()
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(f"cannot be read: {error}"[:200]) from error
    return content if isinstance(content, Image.Image) else decode(content, at_least)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _from_deep(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """More than 8 bits of grey to 8. Pillow's own convert() clips at 255 instead of scaling.

    16-bit files span 0..65535; 32-bit integers and floats have no agreed range, so theirs is taken as it is found:
    up to 1 (a float picture), up to 255, up to 65535, else stretched.
    """
    values = np.asarray(image).astype(np.float32)
    values = np.nan_to_num(values, posinf=0, neginf=0)
    top = float(values.max(initial=0))
    if image.mode == "F" and top <= 1:
        scale = 255.0
    elif image.mode in ("I", "F") and top <= 255:
        scale = 1.0
    else:
        scale = 255.0 / max(65535.0, top)
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))
