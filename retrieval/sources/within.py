"""Where a picture lies that is no file of its own: in a tar, in a row of a parquet file, on the web.

An item's `meta["inside"]` says it in plain JSON, with the fields of one of these types. Files are relative to the
source's root.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

INSIDE = "inside"


class InTar(NamedTuple):
    """A member of a tar. offset: of its data, after its header; size: both in bytes."""

    file: str
    member: str
    offset: int
    size: int


class InTable(NamedTuple):
    """A cell of a parquet file. row: from 0."""

    file: str
    row: int
    column: str


class OnWeb(NamedTuple):
    """An address."""

    url: str


Within = InTar | InTable | OnWeb


def said(place: Within) -> dict[str, Any]:
    """The entry of an item's `meta` that says so."""
    return {INSIDE: place._asdict()}


def place_of(meta: Mapping[str, Any]) -> Within | None:
    """Where an item lies, by its `meta`; None for a file of its own.

    A table may have a column of that name which means something else: what has other fields is no place.
    """
    inside = meta.get(INSIDE)
    if isinstance(inside, dict):
        for kind in (InTar, InTable, OnWeb):
            types = kind.__annotations__
            if inside.keys() == types.keys() and all(isinstance(inside[name], types[name]) for name in types):
                return kind(**inside)
    return None


def kind_of(meta: Mapping[str, Any]) -> str:
    """The `kind` of an Item, by its `meta`: "picture", or "clip"."""
    return "clip" if meta.get("video") else "picture"
