"""Vectors that are not what was written are made again from their pictures; records stay as they are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from indexes import Record, Store
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item
from retrieval.encoders.encoding import encode
from retrieval.encoders.protocol import Encoder
from retrieval.indexing import adoption
from retrieval.indexing.cards import Card, computed_in
from retrieval.indexing.catalog import root_of
from retrieval.sources.reopen import content_again


@dataclass
class RepairReport:
    """What a repair did. left: (uri, reason) of items whose pictures could not be used: they are as they were."""

    repaired: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


def repair(store: Store, encoder: Encoder, on_progress: OnProgress = no_progress, urls: bool = False) -> RepairReport:
    """Encode the items of damaged vectors again. Nothing is removed; once none is left, the store is compacted.

    Args:
        store: Open for writing; closed where this is not its encoder.
        encoder: What made its vectors.
        on_progress: Called with (done, total) items.
        urls: Pictures on the web may be fetched again.

    Returns:
        What was done.

    Raises:
        WrongEncoder: Another encoder made them.
        StoreError: The store cannot be written, or its records are damaged as well.
    """
    adoption.require_same(store, encoder)
    rows, report = store.damaged(), RepairReport()
    records = {record.id: record for record in store.records(rows)}
    for batch in encode(_items(store, records, urls), encoder):
        if batch.items:
            store.add(np.asarray(batch.vectors), [computed_in(records[item.id], batch.numbers) for item in batch.items])
        report.repaired += len(batch.items)
        report.left += batch.skipped
        on_progress(report.repaired + len(report.left), len(rows))
    if rows and not report.left:
        store.compact()  # the damaged rows are deleted by now
    return report


def _items(store: Store, records: dict[str, Record], urls: bool) -> Iterator[Item]:
    root = root_of(store)
    for record in records.values():
        card = Card.of(record)
        content = partial(content_again, card.uri, card.within, root, urls=urls)
        yield Item(record.id, card.uri, content, kind=card.kind)
