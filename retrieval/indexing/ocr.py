"""The text in pictures, kept with what their files say of them: the field `text`. An index remembers that it is read.

A record says that its picture was read, so that one without any text is not read again: what an index lacks is read
once, whenever it was made. One that cannot be read is listed and tried again with the next update, as one that does not
decode is.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

from indexes import Condition, Record, Store, cpu
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item
from retrieval.encoders.encoding import in_order
from retrieval.errors import ImageError
from retrieval.images import load
from retrieval.indexing import renewal
from retrieval.indexing.cards import Card, record_of
from retrieval.indexing.fields import KIND, READ, TEXT

_LOOKED_UP = 500  # items whose records are asked at once
_COMMIT_SECONDS = 5.0  # about this much work is lost when the process is killed
_LACKING = (
    f"json_extract(fields, '$.{READ}') IS NULL AND ifnull(json_extract(fields, '$.{KIND}'), 'picture') = 'picture'"
)

Unread = list[tuple[str, str]]  # (uri, reason)


def record(item: Item, numbers: str) -> tuple[Record, str]:
    """What a store keeps of an item, with the text in it; and why that could not be read, "" where it was."""
    kept = record_of(item, numbers)
    if item.kind != "picture":
        return kept, ""
    try:
        return with_text(kept, load.text(item)), ""
    except ImageError as error:
        return kept, f"its text cannot be read: {error}"


def with_text(kept: Record, text: str) -> Record:
    """The record of a picture that was read."""
    card = Card.of(kept)
    others = {name: value for name, value in card.file_fields.items() if name != TEXT}
    card = replace(card, file_fields=others | {TEXT: text})
    return card.record(kept.id, kept.stamp, kept.fields | {READ: True})


def carried(kept: Record, before: Record) -> Record:
    """The record of a picture, with the text that was read of the same picture before."""
    if not before.fields.get(READ):
        return kept
    return with_text(kept, Card.of(before).file_fields.get(TEXT, ""))


@contextmanager
def reading(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that have pictures read; what has not begun when this is left never does."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


# ---------------------------------------------------------------- what an index lacks


def is_whole(store: Store) -> bool:
    """Was every picture read that a store holds?"""
    return not len(store.rows(Condition(_LACKING, ())))


def noting(store: Store, items: Iterable[Item], found: list[Item]) -> Iterator[Item]:
    """These items of a store as they come; those that were not read are put into `found`."""
    rest = iter(items)
    while some := list(islice(rest, _LOOKED_UP)):
        held = store.fields_of([item.id for item in some])
        found += [item for item in some if item.id in held and _is_lacking(item, held[item.id][1])]
        yield from some


def lacking(store: Store, items: Iterable[Item]) -> list[Item]:
    """Those of these items that the store holds and that were not read."""
    found: list[Item] = []
    for _ in noting(store, items, found):
        pass
    return found


def _is_lacking(item: Item, text: str) -> bool:
    return item.kind == "picture" and not Record.read(item.id, item.stamp, text).fields.get(READ)


def read(store: Store, items: Sequence[Item], on_progress: OnProgress = no_progress) -> tuple[int, Unread]:
    """Read pictures that a store holds, and commit what they say every few seconds. Their vectors stay.

    Args:
        store: Open for writing.
        items: Those to be read.
        on_progress: Called with (done, total) of them.

    Returns:
        How many were read, and which could not be.
    """
    waiting: list[tuple[Item, str]] = []
    count, unread, last = 0, Unread(), time.monotonic()
    for item, text, reason in _each(items):
        if reason:
            unread.append((item.uri, reason))
        else:
            waiting.append((item, text))
            count += 1
        on_progress(count + len(unread), len(items))
        if time.monotonic() - last > _COMMIT_SECONDS:
            _commit(store, waiting)
            waiting, last = [], time.monotonic()
    _commit(store, waiting)
    return count, unread


def _commit(store: Store, read: Sequence[tuple[Item, str]]) -> None:
    held = store.fields_of([item.id for item, _ in read])
    found = []
    for item, text in read:
        if item.id in held:
            row, fields = held[item.id]
            found.append((row, with_text(Record.read(item.id, item.stamp, fields), text)))
    renewal.renew(store, found)


def _each(items: Sequence[Item]) -> Iterator[tuple[Item, str, str]]:
    """The items in their order, each with its text and why it could not be read."""
    count = cpu.cores()
    with reading(count) as pool:
        for item, found in zip(items, in_order(pool, _text, iter(items), 2 * count), strict=True):
            yield item, *found


def _text(item: Item) -> tuple[str, str]:
    try:
        return load.text(item), ""
    except ImageError as error:
        return "", f"its text cannot be read: {error}"
