"""An index gets another encoder: everything is encoded again beside it, and then replaces what it holds in one commit.

Until that commit the index answers as before, and those who read it then read on. A kill leaves what was encoded so far
in `.rebuilding-NAME`; the same request goes on with it.
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from indexes import Locked, Store, StoreError
from retrieval.datatypes import Item
from retrieval.errors import BadRequest
from retrieval.indexing import staging, update
from retrieval.indexing.catalog import described
from retrieval.indexing.prefetch import Ahead
from retrieval.indexing.update import IndexReport

MAKING = "rebuilding"


def is_other(store: Store, encoder) -> bool:  # noqa: ANN001
    """Is this not the encoder of the index? That of an imported one is not known before it is compared."""
    return store.manifest["encoder"]["fingerprint"] not in (None, encoder.fingerprint)


def announcement(store: Store, encoder) -> str:  # noqa: ANN001
    """What is about to be done, in a line."""
    return (
        f"{store.path} was made with {store.manifest['encoder']['name']}: its {len(store)} pictures are encoded again "
        f"with {encoder.name}, and until that is done it answers as before"
    )


def tidy(store: Store) -> str | None:
    """Look for what a rebuild of this store, open for writing, left: removed where it was done, else a line on it."""
    place = staging.name_beside(store.path, MAKING)
    if not place.is_dir():
        return None
    try:
        with Store.open(place) as left:
            encoder = left.manifest["encoder"]
        if encoder["fingerprint"] != store.manifest["encoder"]["fingerprint"]:
            return f"{place} is half of a rebuild: go on with --model {encoder['name']}, or remove it"
    except StoreError:  # half of nothing
        pass
    staging.clear(place)
    return None


def rebuild(
    store: Store, items: Iterable[Item], encoder, source: dict[str, Any],  # noqa: ANN001
    on_progress: Callable[[int, int], None] = lambda done, total: None, ahead: Ahead | None = None,
) -> IndexReport:  # fmt: skip
    """Make the store, open for writing, hold these items as this encoder sees them. source: for its manifest.

    Raises BadRequest, and leaves the store as it was, where no picture can be used.
    """
    place = staging.name_beside(store.path, MAKING)
    manifest = {"encoder": described(encoder, store.path), **source}
    with _begun(place, encoder.dim, manifest) as new:
        report = update.update(new, items, encoder, on_progress, ahead)
        if not len(new):
            raise BadRequest(f"no picture could be used, so {store.path} stays as it was: check its source")
        blocks = ((vectors, new.records(rows)) for segment in new.segments for rows, vectors in segment.blocks())
        before = store.stamps().keys()
        store.replace(blocks, **({"walk": None, "imported": None} | manifest), dim=new.dim)
    shutil.rmtree(place)
    now = store.stamps().keys()
    report.added, report.changed, report.removed = len(now - before), len(now & before), len(before - now)
    report.moved = report.unchanged = 0
    return report


def _begun(place: Path, dim: int, manifest: dict[str, Any]) -> Store:
    """What an earlier rebuild to the same end left, or a new store. Raises Locked where another one is at it."""
    try:
        store = Store.open(place, write=True)
        if all(store.manifest.get(key) == value for key, value in manifest.items()):
            return store
        store.close()
    except Locked:
        raise
    except StoreError:  # none, or half of one
        pass
    staging.clear(place)
    return Store.create(place, dim, **manifest)
