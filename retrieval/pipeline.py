"""The indexing line: items -> decoded batches -> vectors -> store. Resumable: what is committed is never done again."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from indexes import Record, Store
from retrieval import images, moved
from retrieval.ahead import Ahead
from retrieval.datatypes import Item
from retrieval.errors import ImageError

BATCH = 32
COMMIT_SECONDS = 5.0  # at most about this much work is lost when the process is killed
COMMIT_ROWS = 20_000
DECODERS = 4  # threads, where one encoder takes all pictures
EVERYTHING = ("",)  # how the ids of all items start
FRAMES = 8  # of a clip, whose vectors are pooled


class Encoded(NamedTuple):
    """A batch on its way. vectors: float32 (n, d) of `items`; skipped: (uri, reason)."""

    items: list[Item]
    vectors: np.ndarray
    skipped: list[tuple[str, str]]


class Prepared(NamedTuple):
    """An item with what its file says of it, and what the tower sees: one picture, or the frames of a clip."""

    item: Item
    pixels: list[np.ndarray]


def prepare(item: Item, preprocess: Callable) -> Prepared | ImageError:
    """Decode an item. preprocess: of the encoder. What cannot be decoded comes back as its reason."""
    try:
        if item.kind == "clip":
            from retrieval import video

            frames, fields = video.clip(images.content_of(item), FRAMES, preprocess.size)
        else:
            image, fields = images.load_with_fields(item, at_least=preprocess.size)
            frames = [image]
        return Prepared(
            replace(item, meta=item.meta | {k: v for k, v in fields.items() if k not in item.meta}),
            [preprocess(frame) for frame in frames],
        )
    except ImageError as error:
        return error


def encode(
    items: Iterable[Item], encoder, batch_size: int | None = None, ahead: Ahead | None = None,  # noqa: ANN001
) -> Iterator[Encoded]:  # fmt: skip
    """Decode and encode, in the order of the items; memory holds a few batches of small pictures.

    On a CPU every core does the whole work of its own batches: threads that share one product wait for the slowest of
    them again and again, and decoding beside them makes one slow (`encoder.lanes`). A GPU is fed by decoding threads.
    batch_size: the encoder's own where it is not given. ahead: what was decoded before.
    """
    size = batch_size or getattr(encoder, "bulk", BATCH)
    lanes = getattr(encoder, "lanes", 1)

    def prepared(item: Item) -> Prepared | ImageError:
        done = ahead.take(item) if ahead else None
        return prepare(item, encoder.preprocess) if done is None else done

    def whole(batch: list[Item]) -> Encoded:
        return _encoded(batch, [prepared(item) for item in batch], encoder)

    if lanes > 1:
        from retrieval import engine

        with engine.lanes(lanes) as pool:
            yield from _in_order(pool, whole, _batches(items, size), lanes + 1)
    else:
        with ThreadPoolExecutor(DECODERS) as decoders:
            waiting: deque = deque()
            for batch in _batches(items, size):
                waiting.append((batch, decoders.map(prepared, batch)))
                if len(waiting) > 1:
                    yield _encoded(*waiting.popleft(), encoder)
            for batch, results in waiting:
                yield _encoded(batch, results, encoder)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _in_order(pool: ThreadPoolExecutor, work: Callable, batches: Iterator, depth: int) -> Iterator[Encoded]:
    """work(batch) of each batch, at most `depth` of them under way."""
    running: deque = deque()
    for batch in batches:
        running.append(pool.submit(work, batch))
        if len(running) == depth:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _encoded(batch: list[Item], results: Iterable, encoder) -> Encoded:  # noqa: ANN001
    good, skipped = [], []
    for item, result in zip(batch, results, strict=True):
        if isinstance(result, ImageError):
            skipped.append((item.uri, str(result)))
        else:
            good.append(result)
    vectors = encoder.encode_images([picture for done in good for picture in done.pixels])
    counts = np.array([len(done.pixels) for done in good])
    return Encoded(
        [done.item for done in good], _pooled(vectors, counts, getattr(encoder, "pool_frames", _mean)), skipped
    )


def _pooled(vectors: np.ndarray, counts: np.ndarray, pool: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """One unit row for each item, of as many rows as it has frames. pool: (b, frames, d) to (b, d)."""
    if len(vectors) == len(counts):
        return vectors
    first = np.cumsum(counts) - counts
    pooled = np.empty((len(counts), vectors.shape[1]), np.float32)
    for count in np.unique(counts):
        (items,) = np.nonzero(counts == count)
        rows = vectors[first[items, None] + np.arange(count)]
        pooled[items] = rows[:, 0] if count == 1 else pool(rows)
    return pooled


def _mean(vectors: np.ndarray) -> np.ndarray:
    means = vectors.mean(1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


# ---------------------------------------------------------------- into a store


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
    kept = moved.keep(store, todo, gone, known)
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
    for batch in encode(todo, encoder, ahead=ahead):
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


def record_of(item: Item) -> Record:
    """What a store keeps of an item."""
    fields = {"uri": item.uri, "caption": item.caption, "meta": item.meta, "key": moved.key_of(item)}
    return Record(item.id, item.stamp, {key: value for key, value in fields.items() if value})
