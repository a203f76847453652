"""What was taken out of an index, in its folder: a line of JSON each. `mmr index` leaves it out until it changes."""

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from indexes import StoreError, durable, typed
from retrieval.datatypes import Item
from retrieval.indexing import contents
from retrieval.sources.uri import stamp_of

FILE = "removed.jsonl"
_MOST = 1 << 16  # bytes of a line


@dataclass(frozen=True)
class Removal:
    """An item that was taken out. stamp, key: of its content then, as the index had them."""

    id: str
    stamp: str = ""
    key: str | None = None


class Removed:
    """The items that were taken out of the index at a path. Raises StoreError where their list cannot be read."""

    def __init__(self, index: Path) -> None:
        self._file = index / FILE
        self._known = {removal.id: removal for removal in _read(self._file)}
        self._written = dict(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, id: str) -> bool:
        return id in self._known

    def add(self, removals: Iterable[Removal]) -> None:
        """Put down, durably, that these were taken out."""
        self._known.update((removal.id, removal) for removal in removals)
        self.save()

    def readmit(self, is_meant: Callable[[str], bool]) -> None:
        """Forget, durably, those whose ids are meant."""
        self._known = {id: removal for id, removal in self._known.items() if not is_meant(id)}
        self.save()

    def rename(self, name: Callable[[str], str]) -> None:
        """Give all of them, durably, other ids."""
        self._known = {name(id): replace(removal, id=name(id)) for id, removal in self._known.items()}
        self.save()

    def save(self) -> None:
        """Write what has changed since it was read, durably; nothing where nothing has."""
        if self._known != self._written:
            lines = (json.dumps(asdict(removal)) + "\n" for removal in self._known.values())
            durable.write_bytes(self._file, "".join(lines).encode())
            self._written = dict(self._known)

    def is_as_it_was(self, id: str, stamp: str) -> bool:
        """Was an item of this name and stamp taken out? Nothing is read."""
        return id in self._known and self._known[id].stamp == stamp

    def knows_file(self, id: str, path: Path) -> bool:
        """Was this file taken out, and is untouched since?"""
        return id in self._known and self._known[id].stamp == stamp_of(path)

    def keeps_out(self, item: Item) -> bool:
        """Was an item taken out, and holds what it held then? One that holds something else is forgotten."""
        known = self._known.get(item.id)
        if known is None:
            return False
        if known.stamp == item.stamp or not item.stamp:
            return True
        if contents.is_whole(known.key) and contents.key_of(item) == known.key:
            self._known[item.id] = replace(known, stamp=item.stamp)
            return True
        del self._known[item.id]
        return False

    def keeps_out_moved(self, items: Iterable[Item], present: Collection[str]) -> set[str]:
        """The ids of those of these new items that are moved ones of what was taken out, and so are out as well.

        present: the ids of all items of the source; what is among them was not moved.
        """
        moved = {known.key: id for id, known in self._known.items() if known.key and id not in present}
        sizes = {contents.size_of(key) for key in moved}
        found: set[str] = set()
        for item in items if moved else ():
            if item.stamp.partition(":")[0] in sizes and (key := contents.key_of(item)) in moved:
                self._known.pop(moved[key], None)
                self._known[item.id] = Removal(item.id, item.stamp, key)
                found.add(item.id)
        return found


def _read(file: Path) -> list[Removal]:
    try:
        with file.open("rb") as lines:
            return [typed.parse(line, Removal, _MOST) for line in lines]
    except FileNotFoundError:
        return []
    except typed.Malformed as error:
        raise StoreError(
            f"{file} cannot be read ({error}): restore it, or remove it, and what was removed comes back"
        ) from error
