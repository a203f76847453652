"""Collection: an index that others ask for hours, always on its newest state, and what of it they may see."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from indexes import Damaged, NotAnIndex, Store
from indexes.sharded.opening import file_of
from retrieval import Retriever
from retrieval.datatypes import Hit
from retrieval.encoders.protocol import Encoder
from retrieval.indexing import stored
from retrieval.indexing.catalog import Identity, root_of
from retrieval.indexing.find import FOLDER
from retrieval.search import answers
from retrieval.sources.allowed import Allowed

Marks = dict[str, tuple[int, int, int]]  # of files of rows, as Store.marks tells them


class Collection:
    """An index, opened for as long as a page or an agent asks it. Threads may share it.

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
        self._suspected: tuple[object, str] = None, ""  # a state with files that are not as they were; what is wrong
        self._open(self._which())

    def _open(self, file: tuple[int, int]) -> None:
        """Open what is there now; where that fails, all stays as it was.

        What was open before is closed once nobody asks it any more: nothing else holds it.
        """
        retriever = Retriever.open(self.path, self._encoder, self._device, steady=True)
        self._identity, self._marks = Identity.recorded(retriever.store), retriever.store.marks()
        self._retriever, self._file = retriever, file

    @property
    def retriever(self) -> Retriever:
        """On the state that was looked at last (`now`)."""
        return self._retriever

    def now(self) -> Retriever:
        """On the newest state; opened again where the index was made again, or has another encoder by now.

        Raises StoreError, MissingModel.
        """
        with self._looking:
            file = self._which()
            if file != self._file or not self._retriever.store.refresh(self._goes_on):
                self._open(file)
            return self._retriever

    def require_untouched(self) -> None:
        """Raise Damaged where a file of rows was changed since it was looked at: what is read of it may be anything."""
        store = self._retriever.store
        if not self._are_known(store.marks()):
            raise Damaged(f"files of {self.path} are being changed: ask again in a moment")

    def _goes_on(self, newest: Store) -> bool:
        """Is a state one that follows ours, of the same encoder and of files that nobody touched? Raises Damaged."""
        if newest.generation < self._retriever.store.generation:  # an older copy was put in its place
            return False
        recorded = Identity.recorded(newest)
        if recorded != self._identity and (recorded is None or recorded.fingerprint is not None):
            return False
        marks = newest.marks()
        if self._are_known(marks):
            self._marks = marks
            return True
        if self._suspected[0] != (marks, newest.generation):  # they are read once
            self._suspected = (marks, newest.generation), _unsound(newest)
        if self._suspected[1]:
            raise Damaged(self._suspected[1])
        return False  # the same rows in other files: all that is kept of the old ones is let go of

    def _are_known(self, marks: Marks) -> bool:
        return all(self._marks.get(file, mark) == mark for file, mark in marks.items())

    def _which(self) -> tuple[int, int]:
        """Tells the index from another one that was made in its place."""
        try:
            found = file_of(self.path).stat()
        except OSError as error:
            raise NotAnIndex(f"no index at {self.path}: have it made with `mmr index FOLDER`") from error
        return found.st_dev, found.st_ino

    def items(self, ids: Sequence[str]) -> list[Hit]:
        """Items by id or uri, as answers to no question: their score is 0. Raises BadRequest for one of none."""
        return self.now().whole(lambda store: _items(store, ids))

    def allowed(self) -> Allowed:
        """Which pictures may be shown: below named folders, and beside an index that is called .mmr.

        An index that came from elsewhere may record any root, and a model is told by its captions what to look at: the
        root is not believed. Who serves photos/.mmr, or gives it to an agent, gives photos.
        """
        folder = self.path.resolve()
        own = [folder.parent] if folder.name == FOLDER else []
        return Allowed(root_of(self._retriever.store), tuple(one.resolve() for one in (*own, *self._named)))

    def hidden(self) -> str | None:
        """The root of the index, where its pictures may not be shown; None where they may."""
        allowed = self.allowed()
        if allowed.root is None or any(Path(allowed.root).resolve().is_relative_to(one) for one in allowed.folders):
            return None
        return allowed.root

    def close(self) -> None:
        """Let go of the index."""
        self._retriever.close()


def names(paths: Iterable[Path]) -> list[str]:
    """What indexes are called: by their folders, or by those that hold their .mmr; two of one name get numbers."""
    folders = [path.resolve() for path in paths]
    return numbered(folder.parent.name if folder.name == FOLDER else folder.stem for folder in folders)


def numbered(given: Iterable[str]) -> list[str]:
    """Names that tell things apart: the second of one name is NAME-2."""
    found: list[str] = []
    for own in given:
        name, number = own, 2
        while name in found:
            name, number = f"{own}-{number}", number + 1
        found.append(name)
    return found


def _unsound(store: Store) -> str:
    try:
        store.require_sound()
    except Damaged as error:
        return str(error)
    return ""


def _items(store: Store, ids: Sequence[str]) -> list[Hit]:
    records = (store.records([row])[0] for row in stored.named(store, ids))
    return [answers.hit(store, rank, record, 0.0) for rank, record in enumerate(records, 1)]
