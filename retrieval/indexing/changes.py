"""Have pictures come or changed since an index was made of their folders: exactly, or at a glance.

A glance takes a few hundredths of a second, whatever the folders hold: it begins with the folder that changed last, and
of one that is older than the last indexing it sees whether it is known, no more. It may miss a file that was written
over in place; `count` does not.
"""

import heapq
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexes import Store
from retrieval.datatypes import Item
from retrieval.indexing import catalog, renewal, roots
from retrieval.indexing.skipped import Skipped
from retrieval.sources.folders import Rules
from retrieval.sources.uri import Uri, id_of, stamp_of

SECONDS, ENTRIES = 0.03, 20_000
_LAST = "\U0010ffff"
_SLACK = 3.0  # seconds: some file systems count the time in twos


@dataclass
class Changes:
    """Pictures of the folders beside those of the index. whole: everything was looked at.

    renewed: those that are as they were, of which their source says other captions or fields. A glance sees none.
    """

    new: int = 0
    changed: int = 0
    renewed: int = 0
    gone: int = 0
    whole: bool = True

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.renewed or self.gone)

    def __str__(self) -> str:
        parts = [f"{count} {what}" for what in ("new", "changed", "renewed", "gone") if (count := getattr(self, what))]
        return ("" if self.whole else "at least ") + (", ".join(parts) or "nothing new")


def count(store: Store, uri: Uri) -> Changes:
    """Exactly what `mmr index` would find. Reads every folder. Raises BadRequest for one that is not there."""
    from retrieval.sources.registry import open_items  # a glance, which each search takes, does without

    known, skipped, since = store.stamps(), Skipped(store.path), _since(store)
    found, present = Changes(), set()

    def unchanged() -> Iterator[Item]:
        for item in open_items(uri):
            present.add(item.id)
            if item.id not in known:
                found.new += item.id not in skipped or _time_in(item) > since
            elif known[item.id] != item.stamp:
                found.changed += 1
            else:
                yield item

    found.renewed = sum(1 for _ in renewal.outdated(store, unchanged()))
    found.gone = len(known.keys() - present)
    return found


def _since(store: Store) -> float:
    return catalog.walked(store) - _SLACK


def _time_in(item: Item) -> float:
    """When the item's file was last changed; 0 where that is not known."""
    time_of, nanoseconds = item.stamp.split(":")[1:2], 0
    if time_of and time_of[0].isdecimal() and isinstance(item.content, Path):
        nanoseconds = int(time_of[0])
    return nanoseconds / 1e9


def glance(store: Store, seconds: float = SECONDS, entries: int = ENTRIES) -> Changes | None:
    """What has come, changed or gone, as far as it is seen in that time; None where the index could not be renewed."""
    uri = roots.recorded(store)
    if uri is None or not os.access(store.path, os.W_OK) or not all(os.access(one, os.R_OK) for one in uri.folders):
        return None
    look = _Look(store, uri, time.monotonic() + seconds, entries)
    look.at_everything()
    return look.found


class _Look:
    """One glance: folders by the time of their last change, the newest first."""

    def __init__(self, store: Store, uri: Uri, until: float, entries: int) -> None:
        self._store, self._root, self._until, self._entries = store, Path(uri.path), until, entries
        self._since, self._skipped = _since(store), Skipped(store.path)
        self._waiting = [(-_time_of(folder), str(folder), Rules(folder, uri.options)) for folder in uri.folders]
        heapq.heapify(self._waiting)
        self.found = Changes()

    def at_everything(self) -> None:
        while self._waiting:
            if self._is_enough():
                return
            modified, folder, rules = heapq.heappop(self._waiting)
            self._at(Path(folder), rules, fresh=-modified > self._since)

    def _is_enough(self) -> bool:
        """Must it end here? Then not everything was looked at."""
        enough = self._entries <= 0 or time.monotonic() > self._until
        self.found.whole &= not enough
        return enough

    def _at(self, folder: Path, rules: Rules, fresh: bool) -> None:
        rules.read(folder)
        start = id_of((folder / "_").relative_to(self._root).as_posix()).removesuffix("_")
        ids, subfolders = self._list(folder, start, rules, every=fresh)
        if not fresh and ids and not self._store.stamps_of(list(ids)):  # it was moved here, with its old time
            ids, subfolders = self._list(folder, start, rules, every=True)
            self._compare(folder, ids)
        for path in subfolders.values():
            heapq.heappush(self._waiting, (-_time_of(path), path, rules))
        if fresh:  # where its listing was cut short, it is enough by now, and nothing is missed
            self._compare(folder, ids)
            self._miss(start, ids, {id_of(name) for name in subfolders})

    def _list(self, folder: Path, start: str, rules: Rules, every: bool) -> tuple[dict[str, str], dict[str, str]]:
        """id -> name of the files, every one or the first; name -> path of the subfolders."""
        ids: dict[str, str] = {}
        subfolders: dict[str, str] = {}
        for entry in self._entries_of(folder):
            if entry.is_dir(follow_symlinks=False):
                if rules.wants_folder(folder, entry.name):
                    subfolders[entry.name] = entry.path
            elif (every or not ids) and rules.wants_file(folder, entry.name):
                ids[start + id_of(entry.name)] = entry.name
        return {item: name for item, name in ids.items() if item not in self._skipped}, subfolders

    def _entries_of(self, folder: Path) -> Iterator[os.DirEntry]:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._entries -= 1
                    yield entry
                    if (self._entries <= 0 or self._entries % 32 == 0) and self._is_enough():
                        return
        except OSError:  # gone, or not for us
            return

    def _compare(self, folder: Path, ids: dict[str, str]) -> None:
        """Count what is new and changed of these files of a folder."""
        known = self._store.stamps_of(list(ids))
        self.found.new += len(ids) - len(known)
        for number, (item, stamp) in enumerate(known.items()):
            if number % 100 == 99 and self._is_enough():
                return
            self.found.changed += stamp_of(folder / ids[item]) != stamp

    def _miss(self, start: str, ids: dict[str, str], subfolders: set[str]) -> None:
        """Count what the index has of a folder and the folder has not; its subfolders are looked at by themselves."""
        at = start
        while (found := self._store.ids_between(at, start + _LAST)) and not self._is_enough():
            for item in found:
                name, slash, _ = item[len(start) :].partition("/")
                if slash and name in subfolders:
                    at = f"{start}{name}0"  # what follows "/"
                    break
                self.found.gone += item not in ids
                at = item + "\0"


def _time_of(folder: Path | str) -> float:
    try:
        return os.stat(folder).st_mtime  # noqa: PTH116 - often
    except OSError:
        return 0.0
