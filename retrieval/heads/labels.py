"""Labels: what is one, in a table; and those on the items of an index, which live beside what their source says.

An item keeps its labels while its picture is the same, under whatever name it is indexed again. A label never has the
name of a field of the source: that one would hide it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from indexes import Condition, Record, Store, filters
from retrieval.errors import BadRequest
from retrieval.indexing import fields
from retrieval.indexing.cards import Card

PROBABILITY = "_probability"  # what stands beside a label is called so
_UNASKED = '`"\\'  # signs that no name in --where has
_AT_ONCE = 10_000  # rows of a commit


def text_of(value: object) -> str | None:
    """A label as text, None where there is none: None, NaN and blank texts are none; 1.0 is the label 1."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        value = int(value)
    return str(value).strip() or None


def said(field: str, value: object, sure: float | None) -> dict[str, Any]:
    """A label of that name, with how sure it is beside it."""
    return {field: value} | ({} if sure is None else {f"{field}{PROBABILITY}": round(sure, 4)})


def require_free(store: Store, field: str) -> None:
    """Raise BadRequest where an item has a field of that name from its source or its file, or none can have it."""
    if not field.strip() or any(sign in field for sign in _UNASKED):
        raise BadRequest(f"`{field}` cannot be asked for in --where: give a --field without quotes and backslashes")
    for name in (field, f"{field}{PROBABILITY}"):
        found = _records(store, _having(name, (fields.META, fields.FILE)))
        if name in fields.OWN or any(name in {**card.meta, **card.file_fields} for _, card in found):
            raise BadRequest(f"`{name}` is a field of the source: give another --field, as predicted_{field}")


def remove(store: Store, field: str) -> int:
    """Take a label, and how sure it was, from all items that have it; how many had it. Raises BadRequest for none."""
    gone = dict.fromkeys((field, f"{field}{PROBABILITY}"))
    rows = [row for row, card in _records(store, _having(field, (fields.LABELS, fields.META))) if field in card.labels]
    if not rows:
        raise BadRequest(f"no item of {store.path} has a label `{field}`: `mmr ls --json` shows the fields there are")
    store.require_sound(rows)
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        store.add(store.vectors(part), [written(record, gone) for record in store.records(part)])
    return len(rows)


def _having(name: str, objects: tuple[str, ...]) -> Condition:
    return filters.parse(f"`{name}` is not null", inside=objects, own=())


def _records(store: Store, condition: Condition) -> Iterator[tuple[int, Card]]:
    """The rows that meet a condition, and their cards: an older record has all that was said in one place."""
    for row in store.rows(condition).tolist():
        yield row, Card.of(store.records([row])[0])


def written(record: Record, labels: Mapping[str, Any]) -> Record:
    """The record with these labels, in place of those of the same names."""
    return Card.of(record).labelled(labels).record(record.id, record.stamp, record.fields)
