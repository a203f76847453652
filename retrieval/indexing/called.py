"""Items by what a person calls them: their ids, their uris, or the paths of their files as they are seen from here."""

import os
from collections.abc import Iterable
from pathlib import Path

from indexes import Store
from retrieval.errors import BadRequest
from retrieval.indexing import stored
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import root_of

_OF_A_PATH = ("/", "./", "../")


def rows(store: Store, names: Iterable[str]) -> list[int]:
    """The rows of items by id, uri, absolute path or path from here. Raises BadRequest for a name of none or of two."""
    by_path = _ByPath(store)
    return [_row(store, name, by_path) for name in names]


def _row(store: Store, name: str, by_path: "_ByPath") -> int:
    if Path(name).is_absolute() or name.startswith(_OF_A_PATH):
        row = by_path.find(name)
        return stored.named(store, [name])[0] if row is None else row
    try:
        (row,) = stored.named(store, [name])
    except BadRequest:
        there = by_path.find(name)
        if there is None:
            raise
        return there
    other = by_path.find(name, thoroughly=False)
    if other not in (None, row):
        one, two = (Card.of(record).path(store) for record in store.records([row, other]))
        raise BadRequest(f"`{name}` names one item, and another as seen from here: give {one} or {two}")
    return row


class _ByPath:
    """Rows by the paths of their files."""

    def __init__(self, store: Store) -> None:
        self._store, self._root = store, root_of(store)
        self._all: dict[str, int] | None = None

    def find(self, name: str, thoroughly: bool = True) -> int | None:
        """The row of the item whose file is called so from here. thoroughly: also where its source calls it oddly."""
        if self._root is None:
            return None
        there = os.path.normpath(Path.cwd() / name)
        for path, root in ((there, self._root), (os.path.realpath(there), os.path.realpath(self._root))):
            for uri in (Path(os.path.relpath(path, root)).as_posix(), path):
                try:
                    return stored.named(self._store, [uri])[0]
                except BadRequest:
                    continue
        return self._paths().get(there) if thoroughly else None

    def _paths(self) -> dict[str, int]:
        if self._all is None:
            rows = self._store.rows().tolist()
            cards = [Card.of(record) for record in self._store.records(rows)]
            self._all = {path: row for card, row in zip(cards, rows, strict=True) if (path := card.path(self._store))}
        return self._all
