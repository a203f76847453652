"""sentencepiece's normalization of characters (NFKC, full and half width, kinds of space), as its models hold it.

A charsmap is a double array over UTF-8 bytes (darts-clone) and a text of replacements with a zero byte behind each. At
each place the longest key is replaced; where none fits, the character stays.
"""

import functools
import sys
from array import array

from indexes.typed import Malformed

BYTES = 4 << 20  # of a charsmap; those of sentencepiece have 240 KB
_LONGEST = 1 << 10  # bytes of a replacement
_LABEL, _VALUE = 0x800000FF, 0x7FFFFFFF


class Charsmap:
    """content: what a sentencepiece model says as precompiled_charsmap. Raises Malformed for what is none."""

    def __init__(self, content: bytes) -> None:
        size = int.from_bytes(content[:4], "little")
        if len(content) > BYTES or size % 4 or not 4 <= size <= len(content) - 4:
            raise Malformed("no charsmap")
        self._units = array("I", content[4 : 4 + size])
        if sys.byteorder == "big":
            self._units.byteswap()
        self._replacements = content[4 + size :]
        self._word = functools.lru_cache(1 << 15)(self._replaced)

    def normalize(self, text: str) -> str:
        """Characters replaced; spaces made one each, and none at either end."""
        words = " ".join(map(self._word, text.split(" "))).split(" ")
        return " ".join(filter(None, words))

    def _replaced(self, word: str) -> str:
        """A word, which holds no space: no key does."""
        data, place, parts = word.encode("utf-8"), 0, []
        while place < len(data):
            length, replacement = self._longest(data, place)
            if not length:
                length = _character(data[place])
                replacement = data[place : place + length]
            parts.append(replacement)
            place += length
        return b"".join(parts).decode("utf-8", "replace")

    def _longest(self, data: bytes, place: int) -> tuple[int, bytes]:
        """Bytes of the longest key that stands there, and what it becomes; 0 where there is none."""
        units, length, value = self._units, 0, 0
        unit, node, last = units[0], 0, len(units)
        node ^= (unit >> 10) << ((unit & 0x200) >> 6)
        for at in range(place, len(data)):
            node ^= data[at]
            if node >= last or units[node] & _LABEL != data[at]:
                break
            unit = units[node]
            node ^= (unit >> 10) << ((unit & 0x200) >> 6)
            if unit & 0x100 and node < last:  # a key ends here
                length, value = at + 1 - place, units[node] & _VALUE
        if value >= len(self._replacements):
            return 0, b""
        end = self._replacements.find(b"\0", value, value + _LONGEST)
        return length, self._replacements[value : end if end >= 0 else value]


def _character(first: int) -> int:
    """Bytes of a UTF-8 character by its first."""
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
