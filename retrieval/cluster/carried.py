"""Carried: items whose pictures only the process that opened their source can read go to others with what was read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.datatypes import Item, Picture
from retrieval.errors import ImageError
from retrieval.images.load import content_of


@dataclass(frozen=True, slots=True)
class Held:
    """The content of an item that was read already. what: the file, its bytes or the picture; or why it has none."""

    what: "Path | bytes | Picture | ImageError"

    def __call__(self) -> "Path | bytes | Picture":
        """What it is. Raises ImageError where it could not be read."""
        if isinstance(self.what, ImageError):
            raise self.what
        return self.what


def carried(items: Sequence[Item]) -> list[Item]:
    """The same items, with what has to be read here in their hands: rows of tables, which are read in turn."""
    return [item if isinstance(item.content, Path) else replace(item, content=Held(_read(item))) for item in items]


def _read(item: Item) -> "Path | bytes | Picture | ImageError":
    try:
        return content_of(item)
    except ImageError as error:
        return error
