"""A line: what makes rows of items. `Here` is that of this process; cluster/line.py has that of many machines."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from indexes import Record, cpu
from retrieval.datatypes import Item
from retrieval.encoders.encoding import Encoded, encode
from retrieval.encoders.protocol import Sees
from retrieval.indexing import ocr as texts
from retrieval.indexing.cards import record_of
from retrieval.indexing.prefetch import Ahead

READERS = 2  # threads
AHEAD = 3  # batches that are encoded and wait for the text in their pictures


class Made(NamedTuple):
    """Rows that can be committed.

    ids: of the items. vectors: float32 (n, d), of unit length, a row an item. records: what is kept of each, perhaps
    still being read. skipped: (uri, reason) of what could not be used. unread: of those items whose text could not be
    read.
    """

    ids: list[str]
    vectors: np.ndarray
    records: Iterable[Record]
    skipped: list[tuple[str, str]]
    unread: Sequence[tuple[str, str]] = ()


class Line(Protocol):
    """Makes rows of items. together: how many, from the first on, are encoded in one batch."""

    together: int

    def __call__(self, items: Sequence[Item], ocr: bool = False) -> Iterator[Made]:
        """The rows, some at a time, in the order of the items: always whole batches. ocr: with the text in them."""
        ...


def whole_batches_first(items: Sequence[Item], places: Sequence[int], size: int, count: int) -> list[Item]:
    """The items in the order in which their batches are those that they would have if all were encoded at once.

    The last bits of a vector depend on the batch that it was computed in. A run that goes on where another was killed
    has whole batches before it, beside single pictures that the other had skipped: these come last. places: of each
    item, ascending, among all `count` of the source. size: of a batch.
    """
    some = Counter(place // size for place in places)
    is_part = [some[place // size] < min(size, count - place // size * size) for place in places]
    return [item for part in (False, True) for item, this in zip(items, is_part, strict=True) if this == part]


class Here:
    """The line of this process.

    Args:
        encoder: What makes the vectors.
        ahead: What was decoded while it was loaded.
        batch_size: Pictures that are encoded together; the encoder's own where it is not given.
        readers: Pictures whose text is read beside each other; as many as there are cores where it is not given.
    """

    def __init__(
        self, encoder: Sees, ahead: Ahead | None = None, batch_size: int | None = None, readers: int | None = None
    ) -> None:
        self._encoder, self.together = encoder, batch_size or encoder.bulk
        self._readers = readers or cpu.cores()
        self._ready = ahead.take if ahead else lambda item: None

    def __call__(self, items: Sequence[Item], ocr: bool = False) -> Iterator[Made]:
        """Rows of the items, a batch at a time, in their order."""
        if ocr:
            yield from self._with_texts(items)
            return
        with ThreadPoolExecutor(READERS) as readers:  # of files whose pictures are encoded, while they are in memory
            for batch in encode(items, self._encoder, self.together, self._ready):
                records = readers.map(partial(record_of, numbers=batch.numbers), batch.items)
                yield Made([item.id for item in batch.items], batch.vectors, records, batch.skipped)

    def _with_texts(self, items: Sequence[Item]) -> Iterator[Made]:
        """The same with the text in the pictures, which takes longer than all else: a few batches are encoded ahead."""
        waiting: deque[tuple[Encoded, Iterator[tuple[Record, str]]]] = deque()
        with texts.reading(self._readers) as readers:
            for batch in encode(items, self._encoder, self.together, self._ready):
                waiting.append((batch, readers.map(partial(texts.record, numbers=batch.numbers), batch.items)))
                if len(waiting) > AHEAD:
                    yield _read(*waiting.popleft())
            while waiting:
                yield _read(*waiting.popleft())


def _read(batch: Encoded, results: Iterator[tuple[Record, str]]) -> Made:
    """What is made of a batch, once its pictures were read."""
    read = list(results)
    unread = [(item.uri, reason) for item, (_, reason) in zip(batch.items, read, strict=True) if reason]
    return Made([item.id for item in batch.items], batch.vectors, [one for one, _ in read], batch.skipped, unread)
