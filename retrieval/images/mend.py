"""Files whose pixels are whole, and something beside them is not: the same file without that, made in memory."""

import hashlib
import struct
import zlib
from typing import BinaryIO

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
LARGEST = 400_000_000  # bytes of a file that is mended
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # as they are: a checksum that is wrong there is damage
_KEPT = (b"tRNS", b"eXIf", b"gAMA", b"sRGB", b"cHRM")  # where they are sound
_END = b"\xff\xd9"
_NOISE = hashlib.shake_128(b"mmr").digest(1 << 12).replace(b"\xff", b"\0")


def png(file: BinaryIO) -> bytes | None:
    """A PNG without its texts and without chunks beside the pixels whose checksum is wrong; None for no PNG."""
    data = _content(file)
    if not data.startswith(PNG):
        return None
    parts, at = [PNG], len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if kind in _PIXELS or (kind in _KEPT and _is_sound(data, at, length)):
            parts.append(data[at:end])
        at = end
    return b"".join(parts)


def _is_sound(data: bytes, at: int, length: int) -> bool:
    said = data[at + 8 + length : at + 12 + length]
    return zlib.crc32(data[at + 4 : at + 8 + length]).to_bytes(4, "big") == said


def jpeg(file: BinaryIO) -> tuple[bytes, bytes] | None:
    """A JPEG that lacks its end with two different ends; None for one that has it.

    Where both show the same pixels, all of them are there. Where something of them is missing, it is read from what
    follows, and they differ.
    """
    data = _content(file)
    if not data.startswith(JPEG) or data.rstrip(b"\0").endswith(_END):
        return None
    return data + _END, data + _NOISE + _END


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    data = file.read(LARGEST + 1)
    return data if len(data) <= LARGEST else b""
