"""Which folders an index is of, and what of them is left out: recorded, asked for again, changed.

The manifest has `root`, the folder that uris are relative to, and `walk`, where there is more to say: `roots`, the
folders below it that are walked, where there are several; `exclude` and `include_hidden`, as they were asked for.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from indexes import Record, Store, StoreError
from retrieval.errors import BadRequest
from retrieval.indexing.catalog import EVERYTHING, root_of
from retrieval.sources.uri import Options, Uri, id_of

WALK = "walk"


def described(uri: Uri, index: Path) -> dict[str, Any]:
    """What the manifest of an index at that path says of its source."""
    root = None if uri.root is None else os.path.relpath(uri.root.absolute(), index.absolute().parent)
    return {"root": root, "source": uri.scheme} | ({WALK: walk} if (walk := _walk(uri)) else {})


def _walk(uri: Uri) -> dict[str, Any]:
    said = {
        "roots": list(uri.roots), "exclude": list(uri.options.exclude), "include_hidden": uri.options.include_hidden
    }  # fmt: skip
    return {key: value for key, value in said.items() if value} if uri.scheme == "folder" else {}


def recorded(store: Store) -> Uri | None:
    """The folders that an index is of, as a source; None for one of anything else."""
    root = root_of(store)
    if root is None or store.manifest.get("source") != "folder":
        return None
    walk = store.manifest.get(WALK) or {}
    options = Options(tuple(walk.get("exclude", ())), bool(walk.get("include_hidden")))
    uri = Uri(root, "folder", root, {}, options, tuple(walk.get("roots", ())))
    return replace(uri, text=", ".join(map(str, uri.folders)))


def known(path: Path) -> Uri | None:
    """The folders that the index at a path is of; None where there is none that can be read."""
    try:
        with Store.open(path) as store:
            return recorded(store)
    except (StoreError, OSError):
        return None


def seen_from(held: Uri | None, uri: Uri, whole: bool = False) -> Uri:
    """A source as the index of `held` names it: some of its several folders are a part of it, the others stay.

    whole: all of it is wanted. So it is where something else is to be left out than before.
    """
    if held is None or uri.scheme != "folder" or uri.where:
        return uri
    names = dict(zip(_absolute(held), held.roots, strict=False))
    asked = _absolute(uri)
    if not names or not set(asked) < names.keys():
        return uri
    if whole or _walk(replace(uri, roots=())) != _walk(replace(held, roots=())):
        return replace(held, options=uri.options)
    return replace(uri, path=held.path, roots=tuple(sorted(names[folder] for folder in asked)))


def is_part(held: Uri | None, uri: Uri) -> bool:
    """Is a source, as `seen_from` gives it, some of the folders of an index and not all?"""
    return held is not None and held.path == uri.path and bool(uri.roots) and set(uri.roots) < set(held.roots)


def check(store: Store, uri: Uri, only: bool = False) -> None:
    """Raise BadRequest where an index is of something else: one of folders may get more of them, or hold only some.

    only: it need not hold on to the folders that are not named.
    """
    before, said = recorded(store), described(uri, store.path)
    if before is None or uri.scheme != "folder":
        if (store.manifest["root"], store.manifest["source"]) == (said["root"], said["source"]):
            return
        was = store.manifest["root"] or store.manifest["source"]
        raise _not_of(store, was, uri)
    if only or is_part(before, uri) or set(_absolute(before)) <= set(_absolute(uri)):
        return
    raise _not_of(store, before.text if before.roots else store.manifest["root"], uri)


def _not_of(store: Store, was: str, uri: Uri) -> BadRequest:
    both = ""
    if uri.scheme == store.manifest["source"] == "folder":
        both = ", name them all to have them in one, or add --only to let go of the others"
    return BadRequest(f"{store.path} is the index of {was}, not of {uri.text}: give another --index{both}")


def _absolute(uri: Uri) -> list[str]:
    return [os.path.normpath(folder.absolute()) for folder in uri.folders]


def settle(store: Store, uri: Uri, only: bool = False) -> tuple[str, ...]:
    """Commit that an index is of these folders. Where uris start from another folder now, all are written anew.

    Returns how the ids of all items of these folders start: they may be a part of the index, which stays as it is.
    """
    if not only and is_part(recorded(store), uri):
        return tuple(id_of(f"{root}/") for root in uri.roots)
    said = described(uri, store.path)
    if store.manifest["root"] != said["root"]:
        move = _Move(root_of(store), os.path.normpath(uri.root.absolute()))
        store.replace(move.blocks(store), **({WALK: None} | said))
    elif (store.manifest.get(WALK) or {}) != said.get(WALK, {}):
        store.set_manifest(**{WALK: said.get(WALK)})
    return EVERYTHING


class _Move:
    """Records as they are seen from another root."""

    def __init__(self, before: str, now: str) -> None:
        self._before, self._now = before, now

    def blocks(self, store: Store) -> Iterator[tuple[np.ndarray, list[Record]]]:
        for segment in store.segments:
            for rows, vectors in segment.blocks():
                yield vectors, [self._record(record) for record in store.records(rows)]

    def _record(self, record: Record) -> Record:
        uri = record.fields["uri"]
        moved = Path(os.path.relpath(Path(self._before, uri), self._now)).as_posix()
        fields = record.fields | {"uri": moved}
        if "folder" in fields.get("meta", {}):
            fields["meta"] = fields["meta"] | {"folder": PurePosixPath(moved).parent.as_posix()}
        return replace(record, id=id_of(moved) if record.id == id_of(uri) else record.id, fields=fields)
