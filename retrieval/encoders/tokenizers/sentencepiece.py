"""What a sentencepiece model file says, in the layout that USE's has: pieces, scores, and the charsmap."""

import struct
from collections.abc import Iterator
from pathlib import Path

from indexes.typed import Malformed

_PIECE, _TRAINER, _CHARSMAP = 1, 3, 2  # numbers of its fields


def read(file: Path) -> tuple[list[tuple[str, float]], bytes]:
    """The pieces with their scores, by their ids, and the charsmap. Raises Malformed, OSError."""
    content = file.read_bytes()
    pieces: list[tuple[str, float]] = []
    charsmap = b""
    try:
        for field, value in _fields(content):
            if field == _PIECE:
                said = dict(_fields(value))
                pieces.append((said[1].decode("utf-8"), struct.unpack("<f", said.get(2, bytes(4)))[0]))
            elif field == _TRAINER:
                charsmap = dict(_fields(value)).get(_CHARSMAP, b"")
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise Malformed(f"{file} is no sentencepiece model") from error
    return pieces, charsmap


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of the fields of a protobuf message that are texts, messages or 32 bits."""
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        wire = tag & 7
        if wire == 0:
            _, place = _varint(content, place)
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire}")
        length = 8 if wire == 1 else 4
        if wire == 2:
            length, place = _varint(content, place)
        if length > len(content) - place:
            raise ValueError("cut off")
        if wire != 1:
            yield tag >> 3, content[place : place + length]
        place += length


def _varint(content: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, place
