"""Encoding in bulk: items -> decoded batches -> vectors, in the order of the items."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import numpy as np

from retrieval.datatypes import Item, Picture
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.protocol import Sees
from retrieval.errors import BadRequest, ImageError, NoPictures
from retrieval.images import kinds, load

DECODERS = 4  # threads, where one encoder takes all pictures
FRAMES = 8  # of a clip, whose vectors are pooled

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class Encoded(NamedTuple):
    """A batch on its way. vectors: float32 (n, d) of `items`; skipped: (uri, reason); numbers: of `Sees`."""

    items: list[Item]
    vectors: np.ndarray
    skipped: list[tuple[str, str]]
    numbers: str


class Prepared(NamedTuple):
    """An item with what its file says of it, and what the tower sees: a picture, frames of a clip, windows of sound."""

    item: Item
    pixels: list[np.ndarray]


def prepare(item: Item, preprocess: Preprocess) -> Prepared | ImageError:
    """Decode an item. preprocess: of the encoder. What cannot be decoded comes back as its reason."""
    try:
        if preprocess.hears(item.kind):
            return _heard(item, preprocess)
        try:
            return _seen(item, preprocess)
        except NoPictures:  # what is called a clip and has sound alone
            if not preprocess.seconds:
                raise
            return _heard(item, preprocess)
    except ImageError as error:
        return error


def _heard(item: Item, preprocess: Preprocess) -> Prepared:
    heard, fields = load.windows_of(item, FRAMES, preprocess.seconds)
    return Prepared(replace(item, file_fields=fields), [preprocess.heard(window) for window in heard])


def _seen(item: Item, preprocess: Preprocess) -> Prepared:
    frames: Sequence[Picture]
    if item.kind == "clip":
        frames, fields = load.clip(load.file_of(item), FRAMES, preprocess.size)
    else:
        image, fields = load.load_with_fields(item, at_least=preprocess.size)
        frames = [image]
    return Prepared(replace(item, file_fields=fields), [preprocess(frame) for frame in frames])


def taken_in(
    content: Path | bytes, preprocess: Preprocess, name: str = "", whole: bool = False
) -> Sequence[Picture]:  # fmt: skip
    """What a file that somebody asks with shows or lets hear, as `encode_images` takes it.

    name: what bytes would be called as a file. whole: not scaled down while it is decoded.
    Raises ImageError with the reason, BadRequest for a picture where none are seen and a sound where none are heard.
    """
    kind = load.kind(content) if isinstance(content, Path) else kinds.kind(Path(urlsplit(name).path))
    said = name or str(content if isinstance(content, Path) else "")
    if preprocess.hears(kind):
        if kind == "picture" and said:
            raise BadRequest(f"{said}: a picture, and this index is of sounds: ask with words or a sound")
        return _listened_to(content, preprocess, kind == "clip")
    if kind == "sound":
        raise BadRequest(
            f"{said}: a sound, and the encoder of this index sees pictures only: ask with words or a picture, or give "
            "it ears with `mmr ears SOUNDS --hear RUN`"
        )
    try:
        return load.look(content, FRAMES, None if whole else preprocess.size)
    except NoPictures:
        if not preprocess.seconds:
            raise
        return _listened_to(content, preprocess, is_clip=True)


def _listened_to(content: Path | bytes, preprocess: Preprocess, is_clip: bool) -> Sequence[Picture]:
    heard = load.windows(content, FRAMES, preprocess.seconds, is_clip)
    return [preprocess.heard(window) for window in heard.frames]


def encode(
    items: Iterable[Item], encoder: Sees, batch_size: int | None = None,
    ready: Callable[[Item], Prepared | ImageError | None] = lambda item: None,
) -> Iterator[Encoded]:  # fmt: skip
    """Decode and encode, in the order of the items; memory holds a few batches of small pictures.

    On a CPU every core does the whole work of its own batches: threads that share one product wait for the slowest of
    them again and again, and decoding beside them makes one slow (`encoder.lanes`). A GPU is fed by decoding threads.
    batch_size: the encoder's own where it is not given. ready: gives what was prepared of an item before, or None.
    """
    size = batch_size or encoder.bulk
    lanes = encoder.lanes

    def prepared(item: Item) -> Prepared | ImageError:
        done = ready(item)
        return prepare(item, encoder.preprocess) if done is None else done

    def whole(batch: list[Item]) -> Encoded:
        return _encoded(batch, [prepared(item) for item in batch], encoder)

    if lanes > 1:
        with _lanes(lanes) as pool:
            yield from in_order(pool, whole, _batches(items, size), lanes + 1)
    else:
        with ThreadPoolExecutor(DECODERS) as decoders:
            waiting: deque[tuple[list[Item], Iterator[Prepared | ImageError]]] = deque()
            for batch in _batches(items, size):
                waiting.append((batch, decoders.map(prepared, batch)))
                if len(waiting) > 1:
                    earlier, results = waiting.popleft()
                    yield _encoded(earlier, results, encoder)
            for batch, results in waiting:
                yield _encoded(batch, results, encoder)


@contextmanager
def _lanes(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that compute beside each other; torch, where it is in use, is told that each has one core."""
    if "torch" in sys.modules:
        from retrieval import engine

        with engine.lanes(count) as pool:
            yield pool
        return
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[_Given], _Made], given: Iterator[_Given], depth: int
) -> Iterator[_Made]:
    """work(one) of each, in their order, at most `depth` of them under way."""
    running: deque[Future[_Made]] = deque()
    for one in given:
        running.append(pool.submit(work, one))
        if len(running) == depth:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _encoded(batch: list[Item], results: Iterable[Prepared | ImageError], encoder: Sees) -> Encoded:
    good: list[Prepared] = []
    skipped: list[tuple[str, str]] = []
    for item, result in zip(batch, results, strict=True):
        if isinstance(result, ImageError):
            skipped.append((item.uri, str(result)))
        else:
            good.append(result)
    vectors = encoder.encode_images([picture for done in good for picture in done.pixels])
    counts = np.array([len(done.pixels) for done in good])
    rows = pooled(vectors, counts, encoder.pool_frames)
    return Encoded([done.item for done in good], rows, skipped, encoder.numbers)


def pooled(vectors: np.ndarray, counts: np.ndarray, pool: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
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
