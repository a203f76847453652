"""A line: what makes rows of items. `Here` is that of this process; cluster/line.py has that of many machines."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeAlias

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


Line: TypeAlias = Callable[[Sequence[Item]], Iterator[Made]]  # in the order of the items


class Here:
    """The line of this process.

    Args:
        encoder: What makes the vectors.
        ahead: What was decoded while it was loaded.
        batch_size: Pictures that are encoded together; the encoder's own where it is not given.
    """

    def __init__(self, encoder: Sees, ahead: Ahead | None = None, batch_size: int | None = None) -> None:
        self._encoder, self._batch_size = encoder, batch_size
        self._ready = ahead.take if ahead else lambda item: None

    def __call__(self, items: Sequence[Item]) -> Iterator[Made]:
        """Rows of the items, a batch at a time, in their order."""
        with ThreadPoolExecutor(READERS) as readers:  # of files whose pictures are encoded, while they are in memory
            for batch in encode(items, self._encoder, self._batch_size, self._ready):
                records = readers.map(partial(record_of, numbers=batch.numbers), batch.items)
                yield Made([item.id for item in batch.items], batch.vectors, records, batch.skipped)
