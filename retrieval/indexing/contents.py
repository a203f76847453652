"""What a file holds, in a few characters: two files of one key have the same content, to the last byte."""

import hashlib
from pathlib import Path

from retrieval.datatypes import Item
from retrieval.sources.uri import stamp_of

LARGEST = 256 << 20  # bytes: of a larger file, a long clip, no key is made, as reading it takes longer than its frames
_MARK = "sha256-"  # older keys have none: they are of both ends of a file, and say nothing of its middle


def key_of(item: Item) -> str | None:
    """The key of an item's file, its size first; None for no file, one that cannot be read, is being written, or huge.

    It is that of the content which was there when the item was found: a file that was written to since has another
    stamp.
    """
    path = item.content
    if not isinstance(path, Path):
        return None
    try:
        key = None if path.stat().st_size > LARGEST else read(path)
    except (OSError, ValueError):
        return None
    return key if not item.stamp or item.stamp.startswith(stamp_of(path)) else None


def read(path: Path) -> str:
    """The key of a file of any size. Raises OSError where it cannot be read to its end."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:40]
        return f"{file.tell()}:{_MARK}{digest}"


def is_whole(key: str | None) -> bool:
    """Is a key that an index holds one of the whole content?"""
    return key is not None and _MARK in key


def size_of(key: str) -> str:
    """The size that a key begins with, in bytes."""
    return key.partition(":")[0]
