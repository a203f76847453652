"""A copy of an index at another place, which finds its pictures and its encoder from there.

An index names them by the way from the folder that holds it, so that a tree of pictures can be moved with its index.
A copy that lies elsewhere has another way to them, which is recorded in it. To bring a copy back, take a snapshot of
it: a folder that is only moved keeps the way it had.
"""

from pathlib import Path
from typing import Any

from indexes import Store
from retrieval.indexing import removed, skipped
from retrieval.indexing.catalog import Identity, Origin


def snapshot(store: Store, path: Path) -> None:
    """Copy what a store, open for writing, holds into the folder `path`, durably.

    Raises NotAnIndex where something is there, Locked, and OSError: then nothing of the copy is left.
    """
    store.snapshot(path, beside=[skipped.FILE, removed.FILE], **_seen_from(store, path))


def _seen_from(store: Store, path: Path) -> dict[str, Any]:
    """What the manifest of a copy at that path must say otherwise."""
    encoder = Identity.recorded(store)
    origin = Origin.recorded(store).seen_from(store.path, path)
    said = {} if encoder is None else encoder.seen_from(store.path, path).entry()
    return said if origin.root is None else said | origin.entries()
