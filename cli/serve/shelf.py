"""Shelf: one index that is served, always on its newest state; Shelves: all of them, by name."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cli.collection import Collection, names
from indexes import StoreError
from indexes.sharded.opening import Reader, open_reader
from retrieval import Retriever
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, MissingModel, first_line
from retrieval.sources.allowed import Allowed

LOOKS_EVERY = 1.0  # seconds, for a new generation
TRIES_EVERY = 10.0  # seconds, where what was found is more than an index that cannot be read: an encoder is loaded, say


class Shelf:
    """One index that is served.

    Args:
        path: The folder of the index.
        device: "auto", "cpu" or "cuda".
        named: Folders that the person who serves it named: below these, pictures may be handed out.
        encoder: What to ask with; None is the one that the index remembers.
        reader: What opens it, where its shards are held elsewhere.

    Attributes:
        name: What it is called in addresses.
        problem: Why it cannot be asked now, "" where it can.
        again: After how many seconds it is looked at again.
    """

    def __init__(
        self, path: Path, device: str = "auto", named: Sequence[Path] = (), encoder: Encoder | None = None,
        reader: Reader = open_reader,
    ) -> None:  # fmt: skip
        self.path = path
        (self.name,) = names([path])
        self.collection = Collection(path, device, named, encoder, reader)
        self.problem, self.again = "", LOOKS_EVERY

    @property
    def retriever(self) -> Retriever:
        """Answers from the state that was looked at last."""
        return self.collection.retriever

    @property
    def allowed(self) -> Allowed:
        """What of it may be handed out."""
        return self.collection.allowed()

    def look(self) -> None:
        """Go to the newest state, or say why that cannot be had."""
        try:
            self.collection.now()
            self.problem, self.again = "", LOOKS_EVERY
        except StoreError as error:
            self.problem, self.again = str(error), LOOKS_EVERY
        except MissingModel as error:
            self.problem, self.again = str(error), TRIES_EVERY
        except Exception as error:  # of SQLite, of the machine, of a library: whoever looks must look again
            reason = f"it cannot be read ({first_line(error)}): see what `mmr verify --index {self.path}` says"
            self.problem, self.again = reason, TRIES_EVERY

    def require(self) -> None:
        """Raise StoreError where it cannot be asked now."""
        if self.problem:
            raise StoreError(self.problem)
        self.collection.require_untouched()


class Shelves:
    """The indexes that are served, the first by default. Two of one name get numbers."""

    def __init__(self, shelves: Iterable[Shelf]) -> None:
        given = list(shelves)
        for shelf, name in zip(given, names(shelf.path for shelf in given), strict=True):
            shelf.name = name
        self._named = {shelf.name: shelf for shelf in given}
        self._ended = threading.Event()
        # Each its own: one that waits for a disk, or loads an encoder, does not keep the others from going on.
        self._looking = [
            threading.Thread(target=self._look, args=[shelf], name=f"look {shelf.name}", daemon=True) for shelf in self
        ]

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
        shelf.require()
        return shelf

    def start(self) -> None:
        """Begin to look for new states."""
        for thread in self._looking:
            thread.start()

    def _look(self, shelf: Shelf) -> None:
        while not self._ended.wait(shelf.again):
            shelf.look()

    def close(self) -> None:
        """Close all of them."""
        self._ended.set()
        for thread in self._looking:
            if thread.is_alive():
                thread.join(10)
        for shelf in self:
            shelf.collection.close()
