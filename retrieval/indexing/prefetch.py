"""Ahead: the first pictures are decoded while the encoder is still being loaded."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from indexes import Store, StoreError
from retrieval.datatypes import Item
from retrieval.encoders import query_encoder
from retrieval.encoders.preprocess import Preprocess
from retrieval.indexing.removed import Removed
from retrieval.sources.registry import Uri, open_items

MOST_BYTES = 256 << 20  # of decoded pictures that wait
THREADS = 2


class Ahead:
    """Prepares items from the first on, until it is left or enough of them wait. Use it as a context.

    preprocess: what the encoder is expected to have, or None where that is not known, and nothing is prepared.
    prepare: (item, preprocess) -> whatever is to be had from `take`.
    """

    def __init__(
        self, items: Iterable[Item], preprocess: Preprocess | None, prepare: Callable[[Item, Preprocess], Any]
    ) -> None:
        self._preprocess = preprocess
        self._results: dict[tuple[str, str], Future] = {}
        self._pool, self._useful = ThreadPoolExecutor(THREADS), False
        if preprocess is not None:
            self._pool.submit(self._submit, items, preprocess, prepare)

    def _submit(
        self, items: Iterable[Item], preprocess: Preprocess, prepare: Callable[[Item, Preprocess], Any]
    ) -> None:
        try:
            for item in islice(items, MOST_BYTES // (3 * preprocess.size**2)):
                self._results[item.id, item.stamp] = self._pool.submit(prepare, item, preprocess)
        except RuntimeError:  # it was left
            return

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def ready(self) -> int:
        """How many items are prepared and wait to be taken."""
        return sum(each.done() for each in list(self._results.values()))

    def expect(self, preprocess: Preprocess) -> None:
        """Say which preprocess the encoder has: where it is another, what was prepared is useless."""
        self._useful = preprocess == self._preprocess

    def take(self, item: Item) -> Any | None:
        """What was prepared of an item, once; None where there is nothing, or its file is another by now."""
        done = self._results.pop((item.id, item.stamp), None) if self._useful else None
        return None if done is None or done.cancelled() else done.result()


def of_index(uri: Uri, path: Path, name: str, prepare: Callable[[Item, Preprocess], Any]) -> Ahead:
    """Begin with what is new in a source, for the encoder of that name, as far as it is known from earlier."""
    return Ahead(new_items(uri, path), query_encoder.preprocess_of(name), prepare)


def new_items(uri: Uri, path: Path) -> Iterator[Item]:
    """The items that the index does not hold as they are. Errors are left to `update`, which meets and reports them."""
    try:
        with Store.open(path) as store:
            known, removed = store.stamps(), Removed(path)
    except (StoreError, OSError):
        return open_items(uri)
    new = (item for item in open_items(uri) if known.get(item.id) != item.stamp)
    return (item for item in new if not removed.is_as_it_was(item.id, item.stamp))
