"""A line: what makes rows of items. `Here` is that of this process; cluster/line.py has that of many machines."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from indexes import Record
from retrieval.datatypes import Item
from retrieval.encoders.encoding import encode
from retrieval.encoders.protocol import Sees
from retrieval.indexing.cards import record_of
from retrieval.indexing.prefetch import Ahead

READERS = 2  # threads


class Made(NamedTuple):
    """Rows that can be committed.

    ids: of the items. vectors: float32 (n, d), of unit length, a row an item. records: what is kept of each, perhaps
    still being read. skipped: (uri, reason) of what could not be used.
    """

    ids: list[str]
    vectors: np.ndarray
    records: Iterable[Record]
    skipped: list[tuple[str, str]]


class Line(Protocol):
    """Makes rows of items. together: how many, from the first on, are encoded in one batch."""

    together: int

    def __call__(self, items: Sequence[Item]) -> Iterator[Made]:
        """The rows, some at a time, in the order of the items: always whole batches."""
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
    """

    def __init__(self, encoder: Sees, ahead: Ahead | None = None, batch_size: int | None = None) -> None:
        self._encoder, self.together = encoder, batch_size or encoder.bulk
        self._ready = ahead.take if ahead else lambda item: None

    def __call__(self, items: Sequence[Item]) -> Iterator[Made]:
        """Rows of the items, a batch at a time, in their order."""
        with ThreadPoolExecutor(READERS) as readers:  # of files whose pictures are encoded, while they are in memory
            for batch in encode(items, self._encoder, self.together, self._ready):
                records = readers.map(partial(record_of, numbers=batch.numbers), batch.items)
                yield Made([item.id for item in batch.items], batch.vectors, records, batch.skipped)
