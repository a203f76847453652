"""An index gets another encoder: everything is encoded again beside it, and then replaces what it holds in one commit.

Until that commit the index answers as before, and those who read it then read on. A kill leaves what was encoded so far
in `.rebuilding-NAME`; the same request goes on with it.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from indexes import Locked, Record, Store, StoreError
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest
from retrieval.images.kinds import counted
from retrieval.indexing import ocr as texts
from retrieval.indexing import staging, stored, unseen, update
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import Identity, Origin, kinds, not_imported
from retrieval.indexing.line import Line
from retrieval.indexing.removed import Removed
from retrieval.indexing.update import IndexReport
from retrieval.sources.uri import Unseen

MAKING = "rebuilding"


def is_other(store: Store, encoder: Encoder) -> bool:
    """Is this not the encoder of the index? That of an imported one is not known before it is compared."""
    recorded = Identity.required(store)
    return recorded.fingerprint is not None and not recorded.is_of(encoder)


def announcement(store: Store, encoder: Encoder) -> str:
    """The line for a person that says how many items are about to be encoded again, and by what."""
    unit = counted(kinds(store))
    return (
        f"{store.path} was made with {Identity.required(store).name}: its {len(store)} {unit} are encoded again "
        f"with {encoder.name}, and until that is done it answers as before"
    )


def tidy(store: Store) -> str | None:
    """Look for what a rebuild of this store, open for writing, left: removed where it was done, else a line on it."""
    place = staging.name_beside(store.path, MAKING)
    if not place.is_dir():
        return None
    try:
        with Store.open(place) as left:
            begun = Identity.required(left)
        if begun.fingerprint != Identity.required(store).fingerprint:
            return f"{place} is half of a rebuild: go on with --model {begun.name}, or remove it"
    except StoreError:  # it was killed before it was an index
        pass
    staging.clear(place)
    return None


def rebuild(
    store: Store, items: Iterable[Item], encoder: Encoder, origin: Origin, line: Line,
    on_progress: OnProgress = no_progress, let_go: bool = False, ocr: bool = False,
) -> IndexReport:  # fmt: skip
    """Make the store hold these items as another encoder sees them.

    Args:
        store: Open for writing. It answers as before until one commit replaces what it holds.
        items: What it shall hold.
        encoder: What it is encoded with from now on.
        origin: Where the items come from.
        line: What makes rows of them, by that encoder.
        on_progress: Called with (done, total) items.
        let_go: What cannot be looked at now need not stay.
        ocr: The text in the pictures is read, where it was not.

    Returns:
        What was done, by the items' ids: added are those that were not there before, and so on; nothing is unchanged.

    Raises:
        BadRequest: No picture can be used, or some that the store holds cannot be looked at. It stays as it was.
        Locked: Another process rebuilds this index.
        StoreError: The store cannot be written.
    """
    place = staging.name_beside(store.path, MAKING)
    manifest = Identity.of(encoder, store.path).entry() | origin.entries()
    with _begun(place, encoder.dim, manifest) as new:
        found: dict[str, Item] = {}
        removed = Removed(store.path)
        report = update.update(new, _noting(items, found), line, on_progress, removed=removed)
        if not let_go:
            _must_be_seen(store, new, found)
        if not len(new):
            raise BadRequest(f"no picture could be used, so {store.path} stays as it was: check its source")
        new.require_sound()  # an earlier run may have made half of it
        known = store.stamps()
        blocks = (
            (vectors, _labelled(store, new.records(rows), known))
            for segment in new.segments for rows, vectors in segment.blocks()
        )  # fmt: skip
        before = known.keys()
        store.replace(blocks, **(manifest | origin.replacing() | not_imported()), dim=new.dim)
    shutil.rmtree(place)
    if ocr:
        report.read, report.unread = texts.read(store, texts.lacking(store, found.values()), on_progress)
    now = store.stamps().keys()
    report.added, report.changed, report.removed = len(now - before), len(now & before), len(before - now)
    report.moved = report.unchanged = 0
    return report


def _noting(items: Iterable[Item], found: dict[str, Item]) -> Iterator[Item]:
    """The items, put down by their ids as they come."""
    for item in items:
        found[item.id] = item
        yield item


def _must_be_seen(store: Store, new: Store, found: dict[str, Item]) -> None:
    """Raise BadRequest where items of the store, which cannot be looked at now, would be lost."""
    missing = list(store.stamps().keys() - new.stamps().keys())
    places = {name for name, item in found.items() if isinstance(item.content, Unseen)}
    keys = {
        record.id: Card.of(record).key for record in stored.by_id(store, [name for name in missing if name in found])
    }
    lost = sum(
        not unseen.is_lost(found[name], keys[name]) if name in found else unseen.is_below(name, places)
        for name in missing
    )
    if lost:
        raise BadRequest(
            f"{lost} pictures of {store.path} cannot be read now, so it stays as it was: bring them back and run the "
            "same again, or add --gone to let go of them"
        )


def _labelled(store: Store, records: Sequence[Record], known: Mapping[str, str]) -> list[Record]:
    """The records with what heads say, and what was read, of the same pictures: it is of those, not of vectors."""
    held = store.fields_of([record.id for record in records if record.stamp and known.get(record.id) == record.stamp])
    found = []
    for record in records:
        _, text = held.get(record.id, (-1, "{}"))
        before = Record.read(record.id, record.stamp, text)
        labelled = Card.of(record).labelled(Card.of(before).labels).record(record.id, record.stamp, record.fields)
        found.append(texts.carried(labelled, before))
    return found


def _begun(place: Path, dim: int, manifest: dict[str, Any]) -> Store:
    """What an earlier rebuild to the same end left, or a new store. Raises Locked where another one is at it."""
    try:
        store = Store.open(place, write=True)
        if all(store.manifest.get(key) == value for key, value in manifest.items()):
            return store
        store.close()
    except Locked:
        raise
    except StoreError:  # there is none, or it was killed before it was an index
        pass
    staging.clear(place)
    return Store.create(place, dim, **manifest)
