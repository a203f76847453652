"""Card: what an index's record says of an item, with types. `indexes` keeps it as plain JSON and knows no pictures."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from indexes import Damaged, Record, Store
from retrieval.datatypes import Item
from retrieval.images import kinds
from retrieval.indexing import fields
from retrieval.indexing.catalog import root_of
from retrieval.indexing.contents import key_of
from retrieval.indexing.fields import CAPTION, FILE, INSIDE, KEY, KIND, LABELS, META, NUMBERS, URI, USUAL
from retrieval.sources import within
from retrieval.sources.captions import captions_of
from retrieval.sources.within import Within

# What older versions kept in `meta` beside what the source said.
_READ = fields.OF_FILES - {
    "folder",
    "size",
    "modified",
}  # what was read out of a file, beside what is seen from without
_PREDICTED = "predicted_"
_NAMES = (URI, KIND, CAPTION, INSIDE, META, FILE, LABELS, KEY)
_ENDS = ("}", *(f', "{name}": ' for name in (FILE, LABELS, KEY)))  # what follows what the source says


@dataclass(frozen=True, slots=True)
class Card:
    """What is kept of an item.

    uri: relative to the root of the index. captions: as in Item. meta: what its source says of it. key: of its content
    (contents.py); None for what is no file, or was imported. kind, within, file_fields: as in Item. labels: what heads
    say of it (heads/labeling.py).
    """

    uri: str
    captions: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    kind: str = "picture"
    within: Within | None = None
    file_fields: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record) -> "Card":
        """What a record says. One without a uri, of a store that was not filled here, is called by its id.

        Raises Damaged where its fields are of other types.
        """
        said = record.fields
        if not _makes_sense(record):
            raise Damaged(
                f"the record of {record.id} does not say what a picture is: see what `mmr verify` says, and index again"
            )
        uri, captions, meta = said.get(URI, record.id), captions_of(said.get(CAPTION)), said.get(META) or {}
        if KIND not in said:
            return _of_older(uri, captions, meta, said.get(KEY) or None)
        return cls(
            uri, captions, meta, said.get(KEY) or None, said[KIND], within.from_json(said.get(INSIDE)),
            said.get(FILE) or {}, said.get(LABELS) or {},
        )  # fmt: skip

    def record(self, id: str, stamp: str, before: Mapping[str, Any] | None = None) -> Record:
        """The record that says this. before: the fields it had so far; those that are not a card's stay."""
        said = _said_by_source(
            self.uri, self.kind, captions_of(list(self.captions)), self.within, fields.kept(self.meta)
        )
        found = {FILE: fields.kept(self.file_fields), LABELS: fields.kept(self.labels), KEY: self.key}
        own = {name: value for name, value in (said | found).items() if value}
        return Record(id, stamp, own | {name: value for name, value in (before or {}).items() if name not in _NAMES})

    def labelled(self, said: Mapping[str, Any]) -> "Card":
        """The same with these labels, in place of those it had of the same names."""
        return replace(self, labels={**self.labels, **said})

    @property
    def caption(self) -> str | None:
        """Its first caption; None where it has none."""
        return self.captions[0] if self.captions else None

    @property
    def fields(self) -> dict[str, Any]:
        """All that is said of it by name: by its source, by its file where the source is silent, and by heads."""
        return {**self.meta, **self.file_fields, **self.labels} | self.file_fields | self.meta

    def path(self, store: Store) -> str | None:
        """Its file on this machine, absolute; None where it has none of its own."""
        return self.path_below(root_of(store))

    def path_below(self, root: str | None) -> str | None:
        """As `path`, where the root of the index is known: reading it takes longer than all else."""
        return None if root is None or self.within else os.path.normpath(Path(root, self.uri))


def _of_older(uri: str, captions: tuple[str, ...], meta: dict[str, Any], key: str | None) -> Card:
    """What older versions kept: in `meta` was all that was said, and where it lay."""
    place = within.from_json(meta.get(INSIDE))
    rest = {name: value for name, value in meta.items() if not (place and name == INSIDE)}
    labels = {name: rest.pop(name) for name in list(rest) if name.startswith(_PREDICTED)}
    read = {name: rest.pop(name) for name in list(rest) if name in _READ}
    return Card(uri, captions, rest, key, "picture" if place else kinds.kind(Path(uri)), place, read, labels)


def _said_by_source(
    uri: str, kind: str, captions: tuple[str, ...], place: Within | None, meta: dict[str, Any]
) -> dict[str, Any]:  # fmt: skip
    """The first fields of a record."""
    caption = list(captions) if len(captions) > 1 else "".join(captions)
    return {URI: uri, KIND: kind, CAPTION: caption, INSIDE: within.to_json(place), META: meta}


def start_of(item: Item) -> str:
    """How the text of an item's record starts, if it says all that its source says now; "" where that cannot be told.

    It takes a few millionths of a second, where to read a record takes many.
    """
    said = _said_by_source(item.uri, item.kind, item.captions, item.within, item.meta)
    try:
        return Record("", "", {name: value for name, value in said.items() if value}).text[:-1]
    except (ValueError, TypeError):  # what is not kept as it is
        return ""


def starts_so(text: str, start: str) -> bool:
    """Does the text of a record say what that start says, and nothing else of its source?"""
    return bool(start) and text.startswith(start) and text.startswith(_ENDS, len(start))


def card_of(item: Item) -> Card:
    """What is kept of an item, without its `key`, for which its file must be read."""
    return Card(
        item.uri, item.captions, fields.kept(item.meta), None, item.kind, item.within, fields.kept(item.file_fields)
    )


def _makes_sense(record: Record) -> bool:
    """Are its fields of the types that a card has? Any text of a caption is one."""
    said = record.fields
    types = {KEY: str, META: dict, FILE: dict, LABELS: dict}
    return all(isinstance(said.get(name, ""), str) for name in (URI, KIND)) and all(
        isinstance(said.get(name) or type_(), type_) for name, type_ in types.items()
    )


def computed_in(record: Record, numbers: str) -> Record:
    """The record of a vector that was computed again. numbers: in what."""
    others = {name: value for name, value in record.fields.items() if name != NUMBERS}
    return replace(record, fields=others | _numbers(numbers))


def _numbers(numbers: str) -> dict[str, Any]:
    return {} if numbers == USUAL else {NUMBERS: numbers}


def record_of(item: Item, numbers: str = USUAL) -> Record:
    """What a store keeps of an item. numbers: what its vector was computed in."""
    return replace(card_of(item), key=key_of(item)).record(item.id, item.stamp, _numbers(numbers))
