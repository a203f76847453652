"""Bytes to correct RGB pixels: orientation, transparency, 16 bits, animation, scaled decode, bombs, corrupt files.

`decode_here` is called by load.py, the door, for what is common and small, and by worker.py for everything else.
"""

import functools
import warnings
from importlib.util import find_spec
from typing import BinaryIO, NamedTuple

from PIL import Image

from indexes import distribution
from retrieval.errors import ImageError, NeedsLibrary
from retrieval.images import exif

MAX_PIXELS = 200_000_000  # above this a picture is taken for a bomb
MAX_DECODED = 80_000_000  # pixels held at once, at 8 to 13 bytes each; guard.py limits the bytes as well
MAX_IN_THREAD = 24_000_000  # of these several may be held at once, one a thread
MAX_SCANS = 64  # of a progressive JPEG: each costs a pass over the whole picture, and a few bytes make one

# Formats that start other programs (EPS), or that hold no photograph, are not opened whatever the file's name says.
_WANTED = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO", "QOI")
_IN_THREAD = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"RIFF", "WEBP"))
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_T = Image.Transpose
_UPRIGHT = {2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE, 6: _T.ROTATE_270,
            7: _T.TRANSVERSE, 8: _T.ROTATE_90}  # fmt: skip


@functools.cache
def formats() -> tuple[str, ...]:
    """What this Pillow was built with, of what is wanted. Asking loads its readers, which a query of words spares."""
    Image.init()
    return tuple(name for name in _WANTED if name in Image.OPEN)


class Decoded(NamedTuple):
    """A picture, and what the file says of it (exif.py)."""

    image: Image.Image
    fields: exif.Fields


class NeedsGuard(Exception):
    """Raised where a file must be decoded in a process of its own (guard.py)."""


def kind_of(head: bytes) -> str:
    """The Pillow format that a thread may decode, by a file's first bytes, or "guarded"."""
    for magic, name in _IN_THREAD:
        if head.startswith(magic) and name in formats() and (name != "WEBP" or head[8:12] == b"WEBP"):
            return name
    if head[4:8] == b"ftyp" and is_heif(head) and find_spec("pillow_heif") is None:
        raise NeedsLibrary(f"HEIC needs one more library: {distribution.install('heic')}")
    return "guarded"


def is_heif(head: bytes) -> bool:
    """True for the first bytes of a HEIC or HEIF file, other than AVIF."""
    brands = brands_of(head)
    return b"avif" not in brands and any(brand in _HEIF_BRANDS for brand in brands)


def brands_of(head: bytes) -> list[bytes]:
    """What the first bytes of a file of the MP4 family say that it is, b"avif" say; nothing for any other file."""
    if head[4:8] != b"ftyp":
        return []
    return [head[8:12], *(head[at : at + 4] for at in range(16, min(64, int.from_bytes(head[:4], "big")), 4))]


def is_still(head: bytes) -> bool:
    """True for the first bytes of a picture of the MP4 family: HEIC, HEIF, AVIF."""
    return is_heif(head) or not {b"avif", b"avis"}.isdisjoint(brands_of(head))


# ---------------------------------------------------------------- decoding, in this process


def decode_here(
    file: BinaryIO,
    at_least: int | None,
    formats: tuple[str, ...],
    guarded: bool = False,
    around: exif.Tags | None = None,
) -> Decoded:
    """Decode in this process. guarded: this is a process of its own, so that large pictures may be tried.

    around: the tags of the file that the picture was found in, for what it does not say itself.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters raises
            with Image.open(file, formats=formats) as image:
                full = image.size
                _scale(image, at_least)
                _check_work(image, full, file, guarded)
                image.load()
                tags = {**(around or {}), **exif.tags_of(image)}
                orientation = exif.orientation(tags) or 1
                fields = exif.fields_of(tags)
                width, height = full[::-1] if orientation >= 5 else full
                rgb = _shrink(_to_rgb(image), at_least)
                if orientation > 1:
                    rgb = rgb.transpose(_UPRIGHT[orientation])
                return Decoded(rgb, {**fields, "width": width, "height": height})
    except (ImageError, NeedsGuard):
        raise
    # Pillow's decoders raise almost anything on hostile bytes (struct.error, SyntaxError, IndexError, KeyError, ...):
    # one file, one reason.
    except Exception as error:
        raise ImageError(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """Why a picture does not decode, for the list of what was skipped."""
    if isinstance(error, Image.DecompressionBombError):
        return "too large: a decompression bomb"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture of a known format"
    if isinstance(error, MemoryError):
        return "too large for memory"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"does not decode: {reason}"[:200]


def _scale(image: Image.Image, at_least: int | None) -> None:
    """Ask a JPEG's decoder for a fraction of the size, also where the whole would not fit in memory."""
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"too large: {image.width} x {image.height} pixels")
    if image.format in ("JPEG", "MPO"):  # MPO: a JPEG with more pictures behind it, as many phones write
        if at_least:
            image.draft(None, (at_least, at_least))
        elif image.width * image.height > MAX_DECODED:
            image.draft(None, ((image.width + 1) // 2, (image.height + 1) // 2))


def _check_work(image: Image.Image, full: tuple[int, int], file: BinaryIO, guarded: bool) -> None:
    """Refuse what would not fit in memory, and send away what is too much for a thread."""
    pixels = image.width * image.height
    if image.info.get("progressive"):  # all coefficients of the picture are held, whatever its scale
        pixels = max(pixels, full[0] * full[1] * 6 // 10)
    if pixels > MAX_DECODED:
        raise ImageError(f"too large for memory: {image.width} x {image.height} pixels")
    if not guarded and (pixels > MAX_IN_THREAD or (image.info.get("progressive") and _scans(file) > MAX_SCANS)):
        raise NeedsGuard


def _scans(file: BinaryIO) -> int:
    """About how many scans a JPEG has: this marker never stands in compressed data."""
    at = file.tell()
    file.seek(0)
    count = file.read().count(b"\xff\xda")
    file.seek(at)
    return count


def _shrink(image: Image.Image, at_least: int | None) -> Image.Image:
    factor = min(image.size) // at_least if at_least else 1
    return image.reduce(factor) if factor > 1 else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _from_deep(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image if image.mode == "RGBA" else image.convert("RGBA")  # convert() would copy
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        return canvas
    return image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """More than 8 bits of gray to 8. Pillow's own convert() clips at 255 instead of scaling.

    16-bit files span 0..65535; 32-bit integers and floats have no agreed range, so theirs is taken as it is found:
    up to 1 (a float picture), up to 255, up to 65535, else stretched.
    """
    import numpy as np

    rows = max(1, (1 << 22) // image.width)  # in strips: as floats the whole would be several times the picture

    def strip(y: int) -> np.ndarray:
        values = np.asarray(image.crop((0, y, image.width, min(y + rows, image.height)))).astype(np.float32)
        return np.nan_to_num(values, posinf=0, neginf=0)

    starts = range(0, image.height, rows)
    top = max(float(strip(y).max(initial=0)) for y in starts)
    if image.mode == "F" and top <= 1:
        scale = 255.0
    elif image.mode in ("I", "F") and top <= 255:
        scale = 1.0
    else:
        scale = 255.0 / max(65535.0, top)
    gray = Image.new("L", image.size)
    for y in starts:
        gray.paste(Image.fromarray((strip(y) * scale).round().clip(0, 255).astype(np.uint8)), (0, y))
    return gray
