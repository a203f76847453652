"""Collection: the index that agents ask, always on its newest state, and what of its pictures they may see."""

import threading
from collections.abc import Sequence
from pathlib import Path

from indexes import Store, StoreError
from indexes.database import DATABASE
from retrieval import Retriever
from retrieval.datatypes import Hit
from retrieval.encoders.protocol import Encoder
from retrieval.indexing import catalog, stored
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import Identity
from retrieval.sources.allowed import Allowed


class Collection:
    """An index, opened for as long as agents ask it. Threads may share it.

    Args:
        path: The folder of the index.
        device: "auto", "cpu" or "cuda": where exact search runs.
        named: Folders that the person named: pictures below them may be shown, beside those below the index's own.
        encoder: The one to ask with; None is the one that the index remembers.

    Raises:
        StoreError: There is no index, it cannot be read, or it has another encoder.
        MissingModel: The encoder is not where it was.
    """

    def __init__(
        self, path: Path, device: str = "auto", named: Sequence[Path] = (), encoder: Encoder | None = None
    ) -> None:  # fmt: skip
        self.path, self._device, self._named, self._encoder = path.absolute(), device, tuple(named), encoder
        self._looking = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._file = self._which()
        self._retriever = Retriever.open(self.path, self._encoder, self._device)
        self._identity = Identity.recorded(self._retriever.store)

    def now(self) -> Retriever:
        """On the newest state; opened again where the index was made again, or has another encoder by now.

        Raises StoreError, MissingModel.
        """
        with self._looking:
            if self._which() != self._file:
                self._open()
            self._retriever.store.refresh()
            if Identity.recorded(self._retriever.store) != self._identity:
                self._open()
            return self._retriever

    def _which(self) -> tuple[int, int]:
        """Tells the index from another one that was made in its place."""
        try:
            found = (self.path / DATABASE).stat()
        except OSError as error:
            raise StoreError(f"no index at {self.path}: have it made with `mmr index FOLDER`") from error
        return found.st_dev, found.st_ino

    def allowed(self, store: Store) -> Allowed:
        """Which pictures may be shown."""
        return catalog.allowed(store, self._named)

    def close(self) -> None:
        """Let go of the index."""
        self._retriever.close()


def items(store: Store, ids: Sequence[str]) -> list[Hit]:
    """Items by id or uri, as answers to no question: their score is 0. Raises BadRequest for one that is not there."""
    records = [store.records([row])[0] for row in stored.named(store, ids)]
    cards = [Card.of(record) for record in records]
    return [
        Hit(
            rank, 0.0, card.uri, card.path(store), card.captions, record.id, card.fields, None, card.kind, card.within
        )  # fmt: skip
        for rank, (record, card) in enumerate(zip(records, cards, strict=True), 1)
    ]
