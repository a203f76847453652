"""Which folders an index is of, and what of them is left out: recorded, asked for again, changed.

The manifest says it (catalog.Origin).
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from indexes import Record, Store, StoreError
from retrieval.errors import BadRequest
from retrieval.indexing import catalog
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import Origin
from retrieval.indexing.removed import Removed
from retrieval.sources.uri import Uri, id_of, of_places

EVERYTHING = ("",)  # how the ids of all items start
LAST = "\U0010ffff"  # behind a start: what sorts after all that start so


def recorded(store: Store) -> Uri | None:
    """The folders that an index is of, as a source; None for one of anything else."""
    uri = Origin.recorded(store).uri(store.path)
    return uri and replace(uri, options=replace(uri.options, kinds=catalog.kinds(store)))


def source(store: Store) -> Uri | None:
    """All that an index is of, as a source of any kind; None where it does not say, or of none that is known here."""
    from retrieval.sources.registry import SOURCES  # a search that looks at folders does without

    found = Origin.recorded(store).source(store.path)
    return found if found and found.scheme in SOURCES else None


def known(path: Path) -> Uri | None:
    """The folders that the index at a path is of; None where there is none that can be read."""
    try:
        with Store.open(path) as store:
            return recorded(store)
    except (StoreError, OSError):
        return None


def expecting(store: Store, uri: Uri) -> Uri:
    """The same source, for which it is known where disks were mounted when the index was made of it.

    What kinds of files are taken is what the index has, where nothing else is said.
    """
    kinds = uri.options.kinds or catalog.kinds(store)
    return replace(uri, options=replace(uri.options, expected=catalog.mounts(store), kinds=kinds))


def seen_from(held: Uri | None, uri: Uri, whole: bool = False) -> Uri:
    """A source as the index of `held` names it: some of its several folders, or files in them, are a part of it, and
    the others stay. Other files that are named are added to it.

    whole: all of it is wanted. So it is where something else is to be left out than before.
    """
    if held is None or uri.scheme != "folder" or uri.where:
        return uri
    all_of_it = whole or _left_out(uri) != _left_out(held)
    if uri.files or held.files:
        return _with_files(held, uri, all_of_it)
    names = dict(zip(_absolute(held), held.roots, strict=False))
    asked = _absolute(uri)
    if not names or not set(asked) < names.keys():
        return uri
    if all_of_it:
        return replace(held, options=uri.options)
    return replace(uri, path=held.path, roots=tuple(sorted(names[folder] for folder in asked)))


def _with_files(held: Uri, uri: Uri, whole: bool) -> Uri:
    """`seen_from` where files are named, or were."""
    walked, folders = _places(held.folders), _places(uri.folders)
    files = _places(Path(uri.path, file) for file in uri.files)
    if not folders and all(any(file.is_relative_to(folder) for folder in walked) for file in files):
        inside = tuple(file.relative_to(_there(held.path)).as_posix() for file in files)
        return replace(held, options=uri.options) if whole else replace(uri, path=held.path, roots=(), files=inside)
    if set(walked) <= set(folders) or not folders:
        before = _places(Path(held.path, file) for file in held.files)
        if walked or not folders or all(any(file.is_relative_to(folder) for folder in folders) for file in before):
            return of_places(folders or walked, before + files, uri.text, uri.options)
    if set(folders) < set(walked) and held.roots:
        chosen = {folder.relative_to(_there(held.path)).as_posix() for folder in folders}
        return replace(uri, path=held.path, roots=tuple(sorted(chosen)))
    return uri


def _places(paths: Iterable[Path]) -> list[Path]:
    return [_there(path) for path in paths]


def _there(path: Path | str) -> Path:
    return Path(os.path.normpath(Path(path).absolute()))


def _left_out(uri: Uri) -> tuple[tuple[str, ...], bool, bool]:
    return tuple(uri.options.exclude), uri.options.include_hidden, uri.options.follow


def is_part(held: Uri | None, uri: Uri) -> bool:
    """Is a source, as `seen_from` gives it, some of the folders of an index, or files in them, and not all of it?"""
    if held is None or held.path != uri.path or uri.scheme != "folder":
        return False
    if uri.roots:
        return set(uri.roots) < set(held.roots) and not uri.files
    return bool(uri.files and held.folders)


def is_of(name: str, starts: tuple[str, ...]) -> bool:
    """Is an item one of those whose ids start so? A start that ends in a NUL is a whole id."""
    return f"{name}\0".startswith(starts)


def check(store: Store, uri: Uri, only: bool = False) -> None:
    """Raise BadRequest where an index is of something else: one of folders may get more of them, or hold only some.

    only: it need not hold on to the folders that are not named.
    """
    before, was, asked = recorded(store), Origin.recorded(store), Origin.of(uri, store.path)
    if not len(store):  # of what it was to be of, nothing could be used
        return
    if before is None or not asked.is_of_folders:
        if (was.root, was.scheme) == (asked.root, asked.scheme):
            return
        before = was.source(store.path)
        raise _not_of(store, before.text if was.asked and before else was.root or str(was.scheme), uri)
    if only or is_part(before, uri) or _covers(uri, before):
        return
    raise _not_of(store, before.text if before.roots or before.files else str(was.root), uri)


def _covers(uri: Uri, before: Uri) -> bool:
    folders, files = _places(uri.folders), {_there(Path(uri.path, file)) for file in uri.files}
    were = _places(Path(before.path, file) for file in before.files)
    return set(_absolute(before)) <= set(_absolute(uri)) and all(
        file in files or any(file.is_relative_to(folder) for folder in folders) for file in were
    )


def _not_of(store: Store, was: str, uri: Uri) -> BadRequest:
    both = ""
    if Origin.recorded(store).is_of_folders and Origin.of(uri, store.path).is_of_folders:
        both = ", name them all to have them in one, or add --only to `mmr index` to let go of the others"
    return BadRequest(f"{store.path} is the index of {was}, not of {uri.text}: give another --index{both}")


def _absolute(uri: Uri) -> list[str]:
    return [os.path.normpath(folder.absolute()) for folder in uri.folders]


def settle(store: Store, uri: Uri, only: bool = False) -> tuple[str, ...]:
    """Commit that an index is of these folders. Where uris start from another folder now, all are written anew.

    Returns how the ids of all items of these folders start: they may be a part of the index, which stays as it is.
    """
    if not only and is_part(recorded(store), uri):
        return (*(id_of(f"{root}/") for root in uri.roots), *(id_of(f"{file}\0") for file in uri.files))
    was, now = Origin.recorded(store), Origin.of(uri, store.path)
    if was.root != now.root and len(store):
        before, after = was.root_at(store.path), now.root_at(store.path)
        assert before is not None, "`check` lets through another root only where both are folders"
        assert after is not None
        store.require_sound()
        move = _Move(before, after)
        store.replace(move.blocks(store), **now.replacing())
        Removed(store.path).rename(move.name)
    elif was != now:
        store.set_manifest(**now.replacing())
    return EVERYTHING


class _Move:
    """Records as they are seen from another root."""

    def __init__(self, before: str, now: str) -> None:
        self._before, self._now = before, now

    def blocks(self, store: Store) -> Iterator[tuple[np.ndarray, list[Record]]]:
        for segment in store.segments:
            for rows, vectors in segment.blocks():
                yield vectors, [self._record(record) for record in store.records(rows)]

    def name(self, uri: str) -> str:
        """A uri, or an id that is one, as it is seen from there."""
        return Path(os.path.relpath(Path(self._before, uri), self._now)).as_posix()

    def _record(self, record: Record) -> Record:
        card = Card.of(record)
        uri = self.name(card.uri)
        folder = {"folder": PurePosixPath(uri).parent.as_posix()} if "folder" in card.meta else {}
        name = id_of(uri) if record.id == id_of(card.uri) else record.id
        return replace(card, uri=uri, meta=card.meta | folder).record(name, record.stamp, record.fields)
