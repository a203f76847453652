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
    names = list(names)
    there = zip(names, rows_there(store, names), strict=True)
    return [stored.named(store, [name])[0] if row is None else row for name, row in there]  # which says what is wrong


def rows_there(store: Store, names: Iterable[str]) -> list[int | None]:
    """As `rows`; None for a name of none."""
    names = list(names)
    known = _Known(store, names)
    return [_row(store, name, known) for name in names]


def _row(store: Store, name: str, known: "_Known") -> int | None:
    row = known.by_name(name)
    if Path(name).is_absolute() or name.startswith(_OF_A_PATH):
        there = known.by_path(name)
        return row if there is None else there
    if row is None:
        return known.by_path(name)
    other = known.by_path(name, thoroughly=False)
    if other not in (None, row):
        one, two = (Card.of(record).path(store) for record in store.records([row, other]))
        raise BadRequest(f"`{name}` names one item, and another as seen from here: give {one} or {two}")
    return row


class _Known:
    """Rows by the names that a person gives, and by the paths of their files: all looked up at once."""

    def __init__(self, store: Store, names: Iterable[str]) -> None:
        self._store, self._root = store, root_of(store)
        self._uris = {name: self._seen_from_here(name) for name in names}
        self._rows = stored.found(store, [*self._uris, *(uri for several in self._uris.values() for uri in several)])
        self._all: dict[str, int] | None = None

    def by_name(self, name: str) -> int | None:
        """The row of the item with that id or uri."""
        return self._rows.get(name)

    def by_path(self, name: str, thoroughly: bool = True) -> int | None:
        """The row of the item whose file is called so from here. thoroughly: also where its source calls it oddly."""
        found = next((self._rows[uri] for uri in self._uris[name] if uri in self._rows), None)
        if found is not None or not self._uris[name] or not thoroughly:
            return found
        return self._paths().get(os.path.normpath(Path.cwd() / name))

    def _seen_from_here(self, name: str) -> list[str]:
        """How the index may call the file that this names from here: from its root, or by the absolute path."""
        if self._root is None or "\0" in name:  # the latter no path can hold
            return []
        there = os.path.normpath(Path.cwd() / name)
        ways = ((there, self._root), (os.path.realpath(there), os.path.realpath(self._root)))
        return [uri for path, root in ways for uri in (Path(os.path.relpath(path, root)).as_posix(), path)]

    def _paths(self) -> dict[str, int]:
        if self._all is None:
            rows = self._store.rows().tolist()
            cards = [Card.of(record) for record in self._store.records(rows)]
            self._all = {path: row for card, row in zip(cards, rows, strict=True) if (path := card.path(self._store))}
        return self._all
