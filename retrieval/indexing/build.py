"""build(): an index that holds exactly the pictures of a source, made or brought up to date."""

import time
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from indexes import NotAnIndex, Store
from retrieval.callbacks import OnMessage, OnProgress, no_message, no_progress
from retrieval.datatypes import Item
from retrieval.encoders import query_encoder
from retrieval.encoders.protocol import Encoder
from retrieval.encoders.query_encoder import ensure_exported
from retrieval.indexing import adoption, approximate, catalog, changes, reencode, roots, skipped, staging, update
from retrieval.indexing.catalog import Identity, Origin
from retrieval.indexing.prefetch import Ahead
from retrieval.indexing.update import IndexReport
from retrieval.sources.registry import Uri, open_items, parse_uri


def build(
    source: str | Sequence[str] | Uri, path: Path | str, encoder: Encoder, device: str = "cpu",
    on_progress: OnProgress = no_progress, *, recall: float | None = None,
    memory: float | None = None, on_message: OnMessage = no_message, ahead: Ahead | None = None,
    only: bool = False, another_encoder: bool = False,
) -> tuple[Store, IndexReport]:  # fmt: skip
    """Make the index at `path` hold exactly the pictures of `source`, doing only what is not done yet.

    Args:
        source: One, or several folders; some of those of the index leave the pictures of the others as they are.
        path: The index's folder.
        encoder: What makes the vectors.
        device: "cpu", or "cuda" for what a GPU can do of an approximate index.
        on_progress: Called with (done, total) pictures.
        recall: Of approximate search on text, from 0 to 1 (approximate.py); None is what the index has.
        memory: The bytes that an approximate index may take.
        on_message: Called with a line for a person.
        ahead: What was decoded while the encoder was loaded.
        only: The folders of the index that are not named are let go of.
        another_encoder: An index of another encoder is encoded again (reencode.py).

    Returns:
        The store, open for writing, and what was done.

    Raises:
        BadRequest: The source cannot be read, or is another than the index has. Nothing is changed then.
        StoreError: The index cannot be written, or has another encoder.
    """
    path, started = Path(path), time.time()
    uri = parse_uri(source)
    if not only:
        uri = roots.seen_from(roots.known(path), uri, whole=another_encoder)
    items = _first_now(open_items(uri))  # a bad source is answered before anything is written
    store = open_or_create(path, uri, encoder)
    try:
        roots.check(store, uri, only)
        asked_before = store.derived.recorded.asked if store.derived.recorded else None
        if another_encoder and reencode.is_other(store, encoder):
            on_message(reencode.announcement(store, encoder))
            report = reencode.rebuild(store, items, encoder, Origin.of(uri, path), on_progress, ahead)
        else:
            adoption.require_same(store, encoder)
            adoption.remember_place(store, encoder)
            if left := reencode.tidy(store):
                on_message(left)
            starts = roots.settle(store, uri, only)
            report = update.update(store, items, encoder, on_progress, ahead, starts)
        if report.starts == roots.EVERYTHING:
            store.set_manifest(**catalog.walked_at(started))
        if store.derived.recorded is None:  # its rows were written anew
            recall = recall or asked_before
        approximate.keep(store, encoder, recall, memory, on_message, device)
        ensure_exported(encoder, on_message)  # so that the first query need not
        return store, report
    except BaseException:
        store.close()
        raise


def unchanged(uri: Uri, path: Path) -> IndexReport | None:
    """What `build` would report of an index that holds exactly the pictures of these folders; else None.

    No encoder is asked for. Whatever might need one is for `build`: files that could not be read, half a rebuild, words
    that are not exported, an approximate index that is due.

    Raises:
        BadRequest: A folder cannot be read.
        StoreError: The index cannot be written.
    """
    started = time.time()
    with Store.open(path, write=True) as store:
        identity, place = Identity.recorded(store), staging.name_beside(path, reencode.MAKING)
        if (
            not (identity and identity.fingerprint and query_encoder.is_exported(identity.fingerprint))
            or Origin.of(uri, path) != Origin.recorded(store)
            or skipped.Skipped(path)
            or place.is_dir()
            or store.needs_compaction()
            or approximate.may_be_due(store)
            or changes.count(store, uri)
        ):
            return None
        store.set_manifest(**catalog.walked_at(started))
        return IndexReport(unchanged=len(store))


def open_or_create(path: Path, uri: Uri, encoder: Encoder) -> Store:
    """The index at a path, open for writing; an empty one of that source and encoder where there is none.

    Raises StoreError where another process writes to it, or something else is there.
    """
    try:
        return Store.open(path, write=True)
    except NotAnIndex:
        if (path / "mmr.db").exists():
            raise
        return Store.create(path, encoder.dim, **Identity.of(encoder, path).entry(), **Origin.of(uri, path).entries())


def _first_now(items: Iterable[Item]) -> Iterable[Item]:
    """The same items, with the first one fetched now, so that errors of the source come before those of others."""
    items = iter(items)
    return chain([next(items)], items)
