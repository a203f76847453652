"""The indexing line: items -> decoded batches -> vectors -> store. Resumable: what is committed is never done again."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from indexes import Store
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item
from retrieval.encoders.encoding import Encoded, encode
from retrieval.encoders.protocol import Encoder
from retrieval.indexing import renames, renewal
from retrieval.indexing.cards import record_of
from retrieval.indexing.prefetch import Ahead
from retrieval.indexing.roots import EVERYTHING

COMMIT_SECONDS = 5.0  # at most about this much work is lost when the process is killed
COMMIT_ROWS = 20_000


@dataclass
class IndexReport:
    """What indexing did, in numbers of pictures.

    Attributes:
        added: New ones.
        changed: Those whose content was another than before, encoded again.
        renewed: Those as before, of which their source says other captions or fields: their vectors were kept.
        moved: Those with another name or another time and the same content: their vectors were kept.
        removed: Those that are gone from the source, and from the index now.
        unchanged: Those that were left as they were.
        skipped: (uri, reason) of what could not be used.
        starts: It was about the items whose ids start so; all others were left alone.
    """

    added: int = 0
    changed: int = 0
    renewed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    starts: tuple[str, ...] = EVERYTHING


def update(
    store: Store,
    items: Iterable[Item],
    encoder: Encoder,
    on_progress: OnProgress = no_progress,
    ahead: Ahead | None = None,
    starts: tuple[str, ...] = EVERYTHING,
) -> IndexReport:
    """Make the store hold exactly these items: new and changed ones are encoded, those that are gone are deleted.

    A file that has another name now, or another time, with the same content keeps its vector, and so does one of which
    its source says other captions or fields now. Commits every few seconds, so killed at any moment and run again it
    goes on. A picture that used to decode and no longer does is deleted and listed.

    Args:
        store: Open for writing.
        items: What it shall hold.
        encoder: What made the vectors it holds.
        on_progress: Called with (done, total) items, of those that are encoded.
        ahead: What was decoded while the encoder was loaded.
        starts: How the ids of these items start, where they are a part of what the store holds; the others stay.

    Returns:
        What was done.

    Raises:
        BadRequest: From `items`, where the source cannot be read.
        StoreError: The store cannot be written.
    """
    known = {name: stamp for name, stamp in store.stamps().items() if name.startswith(starts)}
    present: set[str] = set()
    todo: list[Item] = []

    def unchanged() -> Iterator[Item]:
        for item in items:
            present.add(item.id)
            if item.stamp and known.get(item.id) == item.stamp:
                yield item
            else:
                todo.append(item)

    others = list(renewal.outdated(store, unchanged()))  # the whole source is read before anything is written
    gone = [name for name in known if name not in present]
    report = IndexReport(renewed=renewal.renew(store, others), starts=starts)
    report.unchanged = len(present) - len(todo) - report.renewed
    kept = renames.carry_over(store, todo, gone, known)
    todo = [item for item in todo if item.id not in kept]
    report.moved, report.removed = len(kept), len(gone) - len(set(kept.values()) - kept.keys())
    store.delete(gone)
    _encode_into(store, todo, encoder, report, known, on_progress, ahead)
    if store.needs_compaction():
        store.compact()
    return report


def _encode_into(
    store: Store, todo: list[Item], encoder: Encoder, report: IndexReport, known: dict[str, str],
    on_progress: OnProgress, ahead: Ahead | None,
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
