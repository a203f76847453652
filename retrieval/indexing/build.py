"""build(): an index that holds exactly the pictures of a source, made or brought up to date."""

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from indexes import NotAnIndex, Store, StoreError
from indexes.database import DATABASE
from retrieval.callbacks import OnMessage, OnProgress, no_message, no_progress
from retrieval.datatypes import Item
from retrieval.encoders import query_encoder
from retrieval.encoders.protocol import Encoder
from retrieval.encoders.query_encoder import ensure_exported
from retrieval.errors import BadRequest, NothingThere, RetrievalError
from retrieval.images import load
from retrieval.indexing import (
    adoption,
    approximate,
    catalog,
    changes,
    hybrid,
    reencode,
    roots,
    skipped,
    staging,
    unseen,
    update,
)
from retrieval.indexing import ocr as texts
from retrieval.indexing.catalog import Identity, Origin
from retrieval.indexing.line import Here, Line
from retrieval.indexing.removed import Removed
from retrieval.indexing.update import IndexReport
from retrieval.sources.folders import only_others
from retrieval.sources.registry import Uri, open_items, parse_uri, touched_items


def build(
    source: str | Sequence[str] | Uri, path: Path | str, encoder: Encoder, device: str = "cpu",
    on_progress: OnProgress = no_progress, *, recall: float | None = None,
    memory: float | None = None, on_message: OnMessage = no_message, line: Line | None = None,
    only: bool = False, another_encoder: bool = False, readmit: bool = False, ocr: bool | None = None,
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
        line: What makes rows of pictures, by that encoder; None is that of this process (indexing/line.py).
        only: The folders of the index that are not named are let go of.
        another_encoder: An index of another encoder is encoded again (reencode.py).
        readmit: What was removed from it is taken again (removed.py).
        ocr: The text in its pictures is read from now on (ocr.py), or no longer; None is what the index does. What
            was read stays.

    Returns:
        The store, open for writing, and what was done.

    Raises:
        BadRequest: The source cannot be read, or is another than the index has. Nothing is changed then.
        MissingModel: The text is to be read, and what reads it is not installed.
        StoreError: The index cannot be written, or has another encoder.
    """
    path, started, line = Path(path), time.time(), line or Here(encoder)
    uri = _taken_by(encoder, parse_uri(source))
    if not only:
        uri = roots.seen_from(roots.known(path), uri, whole=another_encoder)
    uri = _expecting(path, uri)
    items = _first_now(path, uri)  # a bad source is answered before anything is written
    was_there = (path / DATABASE).exists()
    store = open_or_create(path, uri, encoder)
    try:
        roots.check(store, uri, only)
        reads = _reads_text(store, ocr)
        asked_before = store.derived.recorded.asked if store.derived.recorded else None
        if another_encoder and reencode.is_other(store, encoder):
            on_message(reencode.announcement(store, encoder))
            if readmit:
                Removed(path).readmit(lambda name: True)
            report = reencode.rebuild(
                store, items, encoder, Origin.of(uri, path), line, on_progress, uri.options.let_go, reads
            )
        else:
            adoption.require_same(store, encoder)
            adoption.remember_place(store, encoder, ears=True)
            if left := reencode.tidy(store):
                on_message(left)
            starts = roots.settle(store, uri, only)
            if readmit:
                Removed(path).readmit(lambda name: roots.is_of(name, starts))
            report = update.update(store, items, line, on_progress, starts, uri.options.let_go, ocr=reads)
        if catalog.kinds(store) != (kinds := encoder.preprocess.kinds):
            store.set_manifest(**catalog.taking(kinds))
        if report.starts == roots.EVERYTHING:
            store.set_manifest(**catalog.walked_at(started, _mounts(store, uri), path))
        if store.derived.recorded is None:  # its rows were written anew
            recall = recall or asked_before
        approximate.keep(store, encoder, recall, memory, on_message, device)
        hybrid.keep(store, encoder, on_message)
        ensure_exported(encoder, on_message)  # so that the first query need not
        return store, report
    except BaseException as error:
        is_empty = not was_there and store.holds_nothing
        store.close()
        if is_empty and isinstance(error, RetrievalError):  # a source that fails before its first picture
            shutil.rmtree(path, ignore_errors=True)
        raise


def renew(
    uri: Uri, path: Path, encoder: Encoder, paths: Iterable[Path], line: Line, device: str = "cpu",
    on_progress: OnProgress = no_progress, on_message: OnMessage = no_message,
) -> IndexReport:  # fmt: skip
    """Do what `build` would do with these files and folders alone, of an index that was made of their source.

    Args:
        uri: All that the index is of: folders, whose links are not followed.
        path: The index's folder.
        encoder: That of the index.
        paths: Within those folders: pictures, texts beside them, folders; there or gone.
        line: What makes rows of pictures, by that encoder.
        device: As `build` takes it.
        on_progress: As `build` takes it.
        on_message: As `build` takes it.

    Returns:
        What was done.

    Raises:
        NothingThere: One of the folders is gone, or has no picture. Nothing is changed then.
        StoreError: The index cannot be written, or has another encoder.
    """
    with Store.open(path, write=True) as store:
        adoption.require_same(store, encoder)
        try:
            starts, items = touched_items(roots.expecting(store, uri), paths)
        except NothingThere as error:
            raise unseen.explained(error, store) from error
        report = update.update(store, items, line, on_progress, starts, ocr=_reads_text(store))
        approximate.keep(store, encoder, None, None, on_message, device)
        return report


def unchanged(uri: Uri, path: Path) -> IndexReport | None:
    """What `build` would report of an index that holds exactly the pictures of its source; else None.

    No encoder is asked for. Whatever might need one is for `build`: files that could not be read, half a rebuild, words
    that are not exported, an approximate index that is due.

    Raises:
        BadRequest: The source cannot be read.
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
            or (catalog.reads_text(store) and not texts.is_whole(store))
            or approximate.may_be_due(store)
            or hybrid.is_due(store)
            or not all(store.stamps().values())  # there is no telling whether they changed
            or (found := changes.count(store, uri))
            or found.skipped
        ):
            return None
        store.set_manifest(**catalog.walked_at(started, _mounts(store, uri), path))
        return IndexReport(unchanged=len(store), left_out=found.left_out)


def _reads_text(store: Store, asked: bool | None = None) -> bool:
    """Is the text in its pictures to be read? asked: now; it is remembered. Raises MissingModel where it cannot be."""
    reads = catalog.reads_text(store) if asked is None else asked
    if reads:
        load.require_reader()
    if reads != catalog.reads_text(store):
        store.set_manifest(**catalog.reading_text(reads))
    return reads


def _mounts(store: Store, uri: Uri) -> frozenset[Path]:
    """Where disks are mounted in these folders, or were: one that is away is waited for until it is let go of."""
    before = frozenset() if uri.options.let_go else catalog.mounts(store)
    return before | uri.options.mounts


def open_or_create(path: Path, uri: Uri, encoder: Encoder) -> Store:
    """The index at a path, open for writing; an empty one of that source and encoder where there is none.

    Raises StoreError where another process writes to it, or something else is there.
    """
    try:
        return Store.open(path, write=True)
    except NotAnIndex:
        if (path / DATABASE).exists():
            raise
        return Store.create(path, encoder.dim, **Identity.of(encoder, path).entry(), **Origin.of(uri, path).entries())


def _taken_by(encoder: Encoder, uri: Uri) -> Uri:
    """The same source with the kinds of files that an encoder takes, and no others."""
    return replace(uri, options=replace(uri.options, kinds=encoder.preprocess.kinds))


def _first_now(path: Path, uri: Uri) -> Iterable[Item]:
    """The items of a source up to the first that is taken fetched now: errors of it come before those of others.

    Raises BadRequest, which says how many items an index at that path has of what is gone or empty.
    """
    items, first = open_items(uri), list[Item]()
    try:
        for item in items:
            first.append(item)
            if uri.options.kinds is None or item.kind in uri.options.kinds:
                return chain(first, items)
    except NothingThere as error:
        raise _explained(error, path) from error
    if first:  # of a table: folders leave out what is not taken
        raise BadRequest(only_others(uri.text, uri.options.kinds or ()))
    return first


def _expecting(path: Path, uri: Uri) -> Uri:
    try:
        with Store.open(path) as store:
            return roots.expecting(store, uri)
    except (StoreError, OSError):
        return uri


def _explained(error: NothingThere, path: Path) -> NothingThere:
    try:
        with Store.open(path) as store:
            return unseen.explained(error, store)
    except (StoreError, OSError):
        return error
