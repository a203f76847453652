"""Card: what an index's record says of an item, with types. `indexes` keeps it as plain JSON and knows no pictures."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from indexes import Damaged, Record, Store
from retrieval.datatypes import Item
from retrieval.indexing.catalog import root_of
from retrieval.indexing.fields import CAPTION, KEY, META, URI
from retrieval.sources import within

_EDGE = 1 << 16  # bytes at each end of a file: with its size they tell photographs apart


@dataclass(frozen=True, slots=True)
class Card:
    """What is kept of an item.

    uri: relative to the root of the index. caption: None where there is none, never "". meta: whatever else its source
    and its file said of it. key: tells its content from others (`key_of`); None for what is no file, or was imported.
    """

    uri: str
    caption: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    key: str | None = None

    @classmethod
    def of(cls, record: Record) -> "Card":
        """What a record says. One without a uri, of a store that was not filled here, is called by its id.

        Raises Damaged where its fields are of other types.
        """
        said = record.fields
        uri, caption, meta = said.get(URI, record.id), said.get(CAPTION) or None, said.get(META) or {}
        key = said.get(KEY) or None
        if not (isinstance(uri, str) and isinstance(meta, dict) and isinstance(key, str | None)):
            raise _wrong(record)
        if isinstance(caption, dict | list):
            raise _wrong(record)
        return cls(uri, None if caption is None else str(caption), meta, key)

    def record(self, id: str, stamp: str, before: Mapping[str, Any] | None = None) -> Record:
        """The record that says this. before: the fields it had so far; those that are not a card's stay."""
        own = {URI: self.uri, CAPTION: self.caption, META: self.meta, KEY: self.key}
        fields = {**(before or {}), **own}
        return Record(id, stamp, {name: value for name, value in fields.items() if value or name not in own})

    def saying(self, said: Mapping[str, Any]) -> "Card":
        """The same with these fields in `meta`, in place of what it said there of the same names."""
        return replace(self, meta={**self.meta, **said})

    @property
    def inside(self) -> within.Within | None:
        """Where it lies in another file or on the web; None for a file of its own."""
        return within.place_of(self.meta)

    @property
    def kind(self) -> str:
        """ "picture" or "clip", as in Item."""
        return within.kind_of(self.meta)

    def path(self, store: Store) -> str | None:
        """Its file on this machine, absolute; None where it has none of its own."""
        root = root_of(store)
        return None if root is None or self.inside else os.path.normpath(Path(root, self.uri))


def _wrong(record: Record) -> Damaged:
    return Damaged(
        f"the record of {record.id} does not say what a picture is: see what `mmr verify` says, and index again"
    )


def record_of(item: Item) -> Record:
    """What a store keeps of an item."""
    return Card(item.uri, item.caption, item.meta, key_of(item)).record(item.id, item.stamp)


def key_of(item: Item) -> str | None:
    """What tells the content of an item's file from others: its size and a digest of both ends; None for no file."""
    if not isinstance(item.content, Path):
        return None
    try:
        with item.content.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            digest = hashlib.sha256(file.read(_EDGE))
            file.seek(max(0, size - _EDGE))
            digest.update(file.read(_EDGE))
    except OSError:
        return None
    return f"{size}:{digest.hexdigest()[:32]}"
