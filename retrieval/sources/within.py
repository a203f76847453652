"""Where a picture lies that is no file of its own: in a tar, in a row of a parquet file, on the web.

`Item.within` is one of these types. Files are relative to the source's root.
"""

from typing import Any, NamedTuple


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


def to_json(place: Within | None) -> dict[str, Any] | None:
    """A dict of its fields, as a record keeps it."""
    return None if place is None else place._asdict()


def from_json(said: object) -> Within | None:
    """Read what `to_json` gave; None for anything else."""
    if isinstance(said, dict):
        for kind in (InTar, InTable, OnWeb):
            types = kind.__annotations__
            if said.keys() == types.keys() and all(isinstance(said[name], types[name]) for name in types):
                return kind(**said)
    return None
