"""Shelf: one index that is served, always on its newest state; Shelves: all of them, by name."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from indexes import StoreError
from retrieval import Retriever
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, MissingModel
from retrieval.indexing.catalog import Identity, root_of
from retrieval.sources.allowed import Allowed

LOOKS_EVERY = 1.0  # seconds, for a new generation


class Shelf:
    """One index that is served.

    Args:
        path: The folder of the index.
        device: "auto", "cpu" or "cuda".
        named: Folders that the person who serves it named: below these, pictures may be handed out.
        encoder: What to ask with; None is the one that the index remembers.

    Attributes:
        name: What it is called in addresses.
        retriever: Answers from it.
        problem: Why it cannot be asked now, "" where it can.
    """

    def __init__(
        self, path: Path, device: str = "auto", named: Sequence[Path] = (), encoder: Encoder | None = None
    ) -> None:  # fmt: skip
        self.path, self.device, self.named = path, device, tuple(named)
        folder = path.resolve()
        self.name = folder.parent.name if folder.name == ".mmr" else folder.stem
        self.retriever = Retriever.open(path, encoder, device, steady=True)
        self.problem = ""

    @property
    def allowed(self) -> Allowed:
        """What of it may be handed out: below named folders, and beside an index that is called .mmr.

        An index that came from elsewhere may record any root: it is not believed. Who serves photos/.mmr names photos.
        """
        folder = self.path.resolve()
        own = [folder.parent] if folder.name == ".mmr" else []
        return Allowed(root_of(self.retriever.store), tuple(one.resolve() for one in (*own, *self.named)))

    def look(self) -> None:
        """Go to the newest state, and to another encoder where the index was encoded again."""
        try:
            if not self.path.is_dir():
                raise StoreError(f"{self.path} was removed: index again, or serve another")
            before = Identity.required(self.retriever.store)
            self.retriever.store.refresh()
            if Identity.required(self.retriever.store).fingerprint != before.fingerprint:
                self._open_again()
            self.problem = ""
        except (StoreError, MissingModel, OSError) as error:
            self.problem = str(error)

    def _open_again(self) -> None:
        """With its new encoder. The old one stays open for those who are asking it: it is closed with the process."""
        self.retriever = Retriever.open(self.path, None, self.device, steady=True)


class Shelves:
    """The indexes that are served, the first by default. Two of one name get numbers."""

    def __init__(self, shelves: Iterable[Shelf]) -> None:
        self._named: dict[str, Shelf] = {}
        for shelf in shelves:
            number, name = 2, shelf.name
            while shelf.name in self._named:
                shelf.name, number = f"{name}-{number}", number + 1
            self._named[shelf.name] = shelf
        self._ended = threading.Event()
        self._looking = threading.Thread(target=self._look, name="shelves", daemon=True)

    def __iter__(self) -> Iterator[Shelf]:
        return iter(self._named.values())

    def get(self, name: str | None = None) -> Shelf:
        """One of them. Raises BadRequest for a name that none has, StoreError where it cannot be asked now."""
        if name is None or name == "":
            shelf = next(iter(self))
        elif name in self._named:
            shelf = self._named[name]
        else:
            raise BadRequest(f"no index {name[:60]} is served, only {', '.join(self._named)}: give index=NAME")
        if shelf.problem:
            raise StoreError(shelf.problem)
        return shelf

    def start(self) -> None:
        """Begin to look for new states."""
        self._looking.start()

    def _look(self) -> None:
        while not self._ended.wait(LOOKS_EVERY):
            for shelf in self:
                shelf.look()

    def close(self) -> None:
        """Close all of them."""
        self._ended.set()
        if self._looking.is_alive():
            self._looking.join(10)
        for shelf in self:
            shelf.retriever.close()
