"""The indexing line: items -> decoded batches -> vectors -> store. Resumable: what is committed is never done again."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from indexes import Record, Store
from retrieval import images
from retrieval.datatypes import Item
from retrieval.errors import ImageError

BATCH = 64
COMMIT_SECONDS = 5.0  # at most about this much work is lost when the process is killed
COMMIT_ROWS = 20_000


class Encoded(NamedTuple):
    """A batch on its way. vectors: float32 (n, d) of `items`; skipped: (uri, reason)."""

    items: list[Item]
    vectors: np.ndarray
    skipped: list[tuple[str, str]]


def encode(items: Iterable[Item], encoder, batch_size: int = BATCH) -> Iterator[Encoded]:  # noqa: ANN001
    """Decode in threads, one batch ahead of the encoder, and encode. Memory holds two batches of small pictures."""

    def prepare(item: Item) -> np.ndarray | ImageError:
        try:
            return encoder.preprocess(images.load(item, at_least=2 * encoder.preprocess.size))
        except ImageError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        rest = iter(items)
        ahead: list[tuple[list[Item], Iterator]] = []
        while True:
            while len(ahead) < 2 and (batch := list(islice(rest, batch_size))):
                ahead.append((batch, pool.map(prepare, batch)))
            if not ahead:
                return
            batch, results = ahead.pop(0)
            good, pixels, skipped = [], [], []
            for item, result in zip(batch, results, strict=True):
                if isinstance(result, ImageError):
                    skipped.append((item.uri, str(result)))
                else:
                    good.append(item)
                    pixels.append(result)
            yield Encoded(good, encoder.encode_images(pixels), skipped)


@dataclass
class IndexReport:
    """What `update` did. skipped: (uri, reason)."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str]] | None = None


def update(
    store: Store,
    items: Iterable[Item],
    encoder,
    on_progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ANN001
) -> IndexReport:
    """Make the store hold exactly these items: new and changed ones are encoded, those that are gone are deleted.

    Commits every few seconds, so killed at any moment and run again it goes on. A picture that used to decode and no
    longer does is deleted and listed.
    """
    known = store.stamps()
    present: set[str] = set()
    todo: list[Item] = []
    for item in items:
        present.add(item.id)
        if known.get(item.id) != item.stamp or not item.stamp:
            todo.append(item)
    gone = [name for name in known if name not in present]
    report = IndexReport(removed=len(gone), unchanged=len(present) - len(todo), skipped=[])
    store.delete(gone)

    waiting: list[Encoded] = []
    last = time.monotonic()
    for batch in encode(todo, encoder):
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
    if store.needs_compaction():
        store.compact()
    return report


def _commit(store: Store, batches: list[Encoded]) -> None:
    items = [item for batch in batches for item in batch.items]
    if items:
        vectors = np.concatenate([batch.vectors for batch in batches if batch.items])
        store.add(vectors, [_record(item) for item in items])


def _record(item: Item) -> Record:
    fields = {"uri": item.uri, "caption": item.caption, "meta": item.meta}
    return Record(item.id, item.stamp, {key: value for key, value in fields.items() if value})
