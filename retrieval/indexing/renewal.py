"""Pictures that are as they were, of which their source says something else now: their records are written anew.

The vector stays, and so does what the file and heads say of them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from indexes import Record, Store
from retrieval.datatypes import Item
from retrieval.indexing import cards
from retrieval.indexing.cards import Card, card_of

_LOOKED_UP = 500  # items whose records are compared at once
_AT_ONCE = 10_000  # rows of a commit


def outdated(store: Store, items: Iterable[Item]) -> Iterator[tuple[int, Record]]:
    """Of items that the store holds, those of which it says other things: their rows, the records they should have."""
    rest = iter(items)
    while some := list(islice(rest, _LOOKED_UP)):
        held = store.fields_of([item.id for item in some])
        for item in some:
            row, text = held.get(item.id, (-1, ""))
            if row >= 0 and not cards.starts_so(text, cards.start_of(item)):
                record = _renewed(Record.read(item.id, item.stamp, text), item)
                yield from [] if record is None else [(row, record)]


def renew(store: Store, found: Iterable[tuple[int, Record]]) -> int:
    """Commit these records in place of those of the same rows; how many they are."""
    rest, count = iter(found), 0
    while some := list(islice(rest, _AT_ONCE)):
        store.add(store.vectors([row for row, _ in some]), [record for _, record in some])
        count += len(some)
    return count


def _renewed(record: Record, item: Item) -> Record | None:
    """The record that an item should have; None where this one shows the same, whatever is kept where."""
    before, now = Card.of(record), card_of(item)
    now = replace(now, key=before.key, file_fields=before.file_fields, labels=before.labels)
    if _shown(now) == _shown(before):
        return None
    return now.record(record.id, record.stamp, record.fields)


def _shown(card: Card) -> tuple:
    return card.uri, card.captions, card.kind, card.within, card.file_fields | card.meta
