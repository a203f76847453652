"""Which fields the items of an index have: their types, how many have them, a few of their values."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from indexes import Record, Store
from retrieval.indexing.cards import Card
from retrieval.indexing.fields import CAPTION

EXAMPLES, LONGEST = 3, 40  # values that are kept of a field, and letters of each
_TOGETHER = 1000  # records that are read at once
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_DATE = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d:\d\d.*)?)?")


@dataclass(slots=True)
class Field:
    """One field. items: how many have it. types: of its values. examples: some of them, long ones cut."""

    name: str
    items: int = 0
    types: list[str] = field(default_factory=list)
    examples: list[Any] = field(default_factory=list)

    def add(self, value: Any) -> None:
        """One more item has it, with that value."""
        self.items += 1
        if (kind := _type_of(value)) not in self.types:
            self.types.append(kind)
        if len(self.examples) < EXAMPLES and (short := _short(value)) not in self.examples:
            self.examples.append(short)


def table(store: Store, most: int | None = None) -> list[Field]:
    """The fields of the items, `caption` first, then by name. most: only the first items are looked at."""
    found: dict[str, Field] = {}
    for record in itertools.islice(_records(store), most):
        card = Card.of(record)
        for name, value in [*((CAPTION, one) for one in card.captions[:1]), *card.fields.items()]:
            found.setdefault(name, Field(name)).add(value)
    return sorted(found.values(), key=lambda one: (one.name != CAPTION, one.name))


def _records(store: Store) -> Iterator[Record]:
    rows = store.rows().tolist()
    for start in range(0, len(rows), _TOGETHER):
        yield from store.records(rows[start : start + _TOGETHER])


def _type_of(value: Any) -> str:
    """What `--where` takes it for: a number also where a table wrote it as a text."""
    if isinstance(value, bool):
        return "yes or no"
    if is_number(value):
        return "number"
    if isinstance(value, str):
        return "date" if is_date(value) else "text"
    return "list" if isinstance(value, list) else "object"


def is_number(value: Any) -> bool:
    """Is it a number, or a text that is one?"""
    if isinstance(value, str):
        return _NUMBER.fullmatch(value.strip()) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_date(value: Any) -> bool:
    """Is it a text that begins with a date of ISO 8601?"""
    return isinstance(value, str) and _DATE.fullmatch(value) is not None


def _short(value: Any) -> Any:
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
