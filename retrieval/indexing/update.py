"""The indexing line: items -> decoded batches -> vectors -> store. Resumable: what is committed is never done again."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from indexes import Store
from retrieval.datatypes import Item
from retrieval.encoders.encoding import Encoded, encode
from retrieval.indexing import renames
from retrieval.indexing.catalog import EVERYTHING, record_of
from retrieval.indexing.prefetch import Ahead

COMMIT_SECONDS = 5.0  # at most about this much work is lost when the process is killed
COMMIT_ROWS = 20_000


@dataclass
class IndexReport:
    """What `update` did. moved: with another name or time, whose vectors were kept. skipped: (uri, reason).

    starts: it was about the items whose ids start so.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str]] | None = None
    starts: tuple[str, ...] = EVERYTHING


def update(
    store: Store,
    items: Iterable[Item],
    encoder,  # noqa: ANN001
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    ahead: Ahead | None = None,
    starts: tuple[str, ...] = EVERYTHING,
) -> IndexReport:
    """Make the store hold exactly these items: new and changed ones are encoded, those that are gone are deleted.

    A file that has another name now, or another time, with the same content keeps its vector. Commits every few
    seconds, so killed at any moment and run again it goes on. A picture that used to decode and no longer does is
    deleted and listed. starts: where the items are a part of what it holds, how their ids start; the others stay.
    """
    known = {name: stamp for name, stamp in store.stamps().items() if name.startswith(starts)}
    present: set[str] = set()
    todo: list[Item] = []
    for item in items:
        present.add(item.id)
        if known.get(item.id) != item.stamp or not item.stamp:
            todo.append(item)
    gone = [name for name in known if name not in present]
    report = IndexReport(unchanged=len(present) - len(todo), skipped=[], starts=starts)
    kept = renames.keep(store, todo, gone, known)
    todo = [item for item in todo if item.id not in kept]
    report.moved, report.removed = len(kept), len(gone) - len(set(kept.values()) - kept.keys())
    store.delete(gone)
    _encode_into(store, todo, encoder, report, known, on_progress, ahead)
    if store.needs_compaction():
        store.compact()
    return report


def _encode_into(
    store: Store, todo: list[Item], encoder, report: IndexReport, known: dict[str, str],  # noqa: ANN001
    on_progress: Callable[[int, int], None], ahead: Ahead | None,
) -> None:  # fmt: skip
    waiting: list[Encoded] = []
    last = time.monotonic()
    for batch in encode(todo, encoder, ready=ahead.take) if ahead else encode(todo, encoder):
        waiting.append(batch)
        report.skipped += batch.skipped
        report.changed += sum(item.id in known for item in batch.items)
        report.added += sum(item.id not in known for item in batch.items)
        on_progress(report.added + report.changed + len(report.skipped), len(todo))
        if time.monotonic() - last > COMMIT_SECONDS or sum(len(b.items) for b in waiting) >= COMMIT_ROWS:
            _commit(store, waiting)
            waiting, last = [], time.monotonic()
    _commit(store, waiting)
    unreadable = {uri for uri, _ in report.skipped}
    store.delete([item.id for item in todo if item.uri in unreadable and item.id in known])


def _commit(store: Store, batches: list[Encoded]) -> None:
    items = [item for batch in batches for item in batch.items]
    if items:
        vectors = np.concatenate([batch.vectors for batch in batches if batch.items])
        store.add(vectors, [record_of(item) for item in items])
