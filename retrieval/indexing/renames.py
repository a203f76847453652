"""Files that have another name or another time now, and the same content: their vectors are kept."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from indexes import Condition, Record, Store
from retrieval.datatypes import Item
from retrieval.indexing import contents
from retrieval.indexing.cards import Card, card_of


def carry_over(store: Store, todo: Sequence[Item], gone: Sequence[str], known: dict[str, str]) -> dict[str, str]:
    """Commit those of `todo` whose content the store has under a name that is gone, or their own, with its vector.

    gone: ids that are no longer there. known: id -> stamp of what the store holds. Returns new id -> old id.
    """
    by_key = _keys(store, todo, gone, known)
    if not by_key:
        return {}
    sizes = {contents.size_of(key) for key in by_key}
    found = {
        item.id: (item, *by_key[key])
        for item in todo
        if item.stamp.partition(":")[0] in sizes and (key := contents.key_of(item)) in by_key
    }
    if found:
        rows = np.array([row for _, _, row in found.values()], np.int64)
        store.require_sound(rows)
        vectors = store.vectors(rows)
        store.add(vectors, [_renamed(item, old) for item, old, _ in found.values()])
    return {name: old.id for name, (_, old, _) in found.items()}


def _keys(
    store: Store, todo: Sequence[Item], gone: Sequence[str], known: dict[str, str]
) -> dict[str, tuple[Record, int]]:
    """key -> (record, row) of what may have been renamed or touched: what is gone, and what has another stamp now."""
    asked = [*gone, *(item.id for item in todo if item.id in known)]
    if not asked or not todo:
        return {}
    rows = store.rows(Condition("id IN (SELECT value FROM json_each(?))", (json.dumps(asked),)))
    records = store.records(rows)
    keyed = [(Card.of(record).key, record, int(row)) for record, row in zip(records, rows, strict=True)]
    return {key: (record, row) for key, record, row in keyed if key and contents.is_whole(key)}


def _renamed(item: Item, old: Record) -> Record:
    """The item under its new name; what its file says of itself, and heads of it, is as it was."""
    before = Card.of(old)
    card = replace(card_of(item), key=before.key, file_fields=before.file_fields, labels=before.labels)
    return card.record(item.id, item.stamp, old.fields)
