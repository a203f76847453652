"""Camera raw files by the JPEG that the camera put in them: no raw developer, and what the photographer saw."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from retrieval.errors import ImageError
from retrieval.images import exif

MAX_FILE = 400_000_000  # bytes
_MAX_PREVIEW = 1 << 25
_MAX_TAGS = 1 << 20  # the directories stand at the start of the file
_SMALLEST = 160  # pixels of the longer side: a smaller one is a thumbnail for the camera's own screen
_CODED = (0xC0, 0xC1, 0xC2)  # start of frame: baseline, extended, progressive
_TIFF = (b"II*\0", b"MM\0*", b"IIU\0", b"IIRO", b"IIRS", b"MMOR")  # the later ones are Panasonic's and Olympus's own


def preview(file: BinaryIO) -> tuple[bytes, exif.Tags]:
    """The largest JPEG in a raw file, and the file's tags, which have the orientation where the JPEG has none.

    Raises ImageError where there is no preview.
    """
    data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ImageError(f"too large: a raw file of more than {MAX_FILE // 1_000_000} MB")
    found = [(size, at) for at, size in _jpegs(data) if max(size) >= _SMALLEST]
    if not found:
        raise ImageError("a raw file without a preview: save it as JPEG")
    _, at = max(found, key=lambda one: (one[0][0] * one[0][1], -one[1]))
    return data[at : at + _MAX_PREVIEW], _tags(data[:_MAX_TAGS])


def _jpegs(data: bytes) -> Iterator[tuple[int, tuple[int, int]]]:
    """Where a JPEG starts, and its width and height."""
    at = data.find(b"\xff\xd8\xff")
    while at >= 0:
        size = _size(data, at)
        if size:
            yield at, size
        at = data.find(b"\xff\xd8\xff", at + 3)


def _size(data: bytes, start: int) -> tuple[int, int] | None:
    """Width and height by walking the JPEG's segments; None where it is no picture that a viewer shows."""
    at = start + 2
    for _ in range(200):
        if data[at : at + 1] != b"\xff" or at + 9 > len(data):
            return None
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _CODED:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return (width, height) if width and height and data[at + 4] == 8 else None
        if marker in (0xD9, 0xDA) or length < 2:  # also behind C3, lossless: the sensor's data
            return None
        at += 2 + length
    return None


def _tags(data: bytes) -> exif.Tags:
    """The tags that a raw file has as the TIFF that it is, or holds (CR3: in the box CMT1)."""
    if data[4:12] == b"ftypcrx ":
        at = data.find(b"CMT1", 0, 1 << 16)
        data = data[at + 4 :] if at >= 0 else b""
    return exif.read(data) if data[:4] in _TIFF else {}
