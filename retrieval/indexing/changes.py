"""Have pictures come or changed since an index was made of their folders: exactly, or at a glance.

A glance takes a few hundredths of a second, whatever the folders hold: it begins with the folder that changed last, and
of one that is older than the last indexing it sees whether it is known, no more. It may miss a file that was written
over in place; `count` does not.
"""

import heapq
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from indexes import Store
from retrieval.datatypes import Item
from retrieval.errors import NothingThere
from retrieval.indexing import catalog, renewal, roots, unseen
from retrieval.indexing.removed import Removed
from retrieval.indexing.skipped import Skipped
from retrieval.sources.uri import Unseen, Uri, id_of, stamp_of
from retrieval.sources.walk import Rules

SECONDS, ENTRIES = 0.03, 20_000
_SLACK = 3.0  # seconds: some file systems count the time in twos


@dataclass
class Changes:
    """Pictures of the folders beside those of the index.

    renewed: those that are as they were, of which their source says other captions or fields. A glance sees none.
    unseen: of the index, that cannot be looked at now. skipped: (uri, reason) of the places where that is so. left_out:
    that were removed from the index (removed.py). whole: everything was looked at.
    """

    new: int = 0
    changed: int = 0
    renewed: int = 0
    gone: int = 0
    unseen: int = 0
    left_out: int = field(default=0, compare=False)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    whole: bool = True

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.renewed or self.gone)

    def __str__(self) -> str:
        parts = [f"{count} {what}" for what in ("new", "changed", "renewed", "gone") if (count := getattr(self, what))]
        return ("" if self.whole else "at least ") + (", ".join(parts) or "nothing new")


def count(store: Store, uri: Uri) -> Changes:
    """Exactly what `mmr index` would find. Reads every folder. Raises BadRequest for one that is not there."""
    from retrieval.sources.registry import open_items  # a glance, which each search takes, does without

    counting = _Counting(store)
    try:
        items = unseen.places(open_items(roots.expecting(store, uri)), counting.known)
        same = (item for item in items if counting.is_unchanged(item))
        renewed = sum(1 for _ in renewal.outdated(store, same))
    except NothingThere as error:
        raise unseen.explained(error, store) from error
    return counting.found(renewed)


class _Counting:
    """Items of the source beside those of an index."""

    def __init__(self, store: Store) -> None:
        self.known, self._skipped, self._since = store.stamps(), Skipped(store.path), _since(store)
        self._removed, self._new = Removed(store.path), list[Item]()
        self._present: set[str] = set()
        self._places: set[str] = set()
        self._out: set[str] = set()
        self._found = Changes()

    def is_unchanged(self, item: Item) -> bool:
        """Count one; whether it is as the index has it."""
        found, stamp = self._found, self.known.get(item.id)
        self._present.add(item.id)
        if self._removed.keeps_out(item):
            self._present.discard(item.id)
            self._out.add(item.id)
            return False
        if isinstance(item.content, Unseen):
            self._places.add(item.id)
            found.skipped.append((item.uri, item.content.reason))
            found.unseen += stamp is not None
        elif stamp is None:
            if item.id not in self._skipped or _time_in(item) > self._since:
                self._new.append(item)
        elif stamp and not item.stamp:
            found.skipped.append((item.uri, "cannot be read"))
            found.unseen += 1
        else:
            found.changed += stamp != item.stamp
            return stamp == item.stamp
        return False

    def found(self, renewed: int) -> Changes:
        self._found.renewed = renewed
        absent = self.known.keys() - self._present
        kept = sum(unseen.is_below(name, self._places) for name in absent)
        self._found.unseen += kept
        moved = self._removed.keeps_out_moved(self._new, self._present | self._out)
        self._found.new, self._found.left_out = len(self._new) - len(moved), len(self._out) + len(moved)
        self._found.gone = len(absent) - kept
        return self._found


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
        self._since, self._skipped, self._removed = _since(store), Skipped(store.path), Removed(store.path)
        self._expected = catalog.mounts(store)
        self._follow, self._roots = uri.options.follow, set(uri.folders)
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
        if folder in self._expected and not os.path.ismount(folder):
            return
        start = id_of((folder / "_").relative_to(self._root).as_posix()).removesuffix("_")
        try:
            rules.read(folder)
            ids, subfolders, links = self._list(folder, start, rules, every=fresh)
            if not fresh and self._is_strange(ids):  # it was moved here, with its old time
                ids, subfolders, links = self._list(folder, start, rules, every=True)
                self._compare(folder, ids)
        except OSError:  # what is in it is not seen, which is not gone
            return
        for path in subfolders.values():
            heapq.heappush(self._waiting, (-_time_of(path), path, rules))
        if fresh and (ids or subfolders or links or folder not in self._roots):  # of a disk that is there
            self._compare(folder, ids)  # where its listing was cut short, it is enough by now, and nothing is missed
            away = [mount.name for mount in self._expected if mount.parent == folder]
            self._miss(start, ids, {id_of(name) for name in (*subfolders, *links, *away)})

    def _is_strange(self, ids: dict[str, str]) -> bool:
        """Is there a file in a folder, and none that the index or its list of what was skipped knows?"""
        known = any(item in self._skipped or item in self._removed for item in ids)
        return bool(ids) and not known and not self._store.stamps_of(list(ids))

    def _list(
        self, folder: Path, start: str, rules: Rules, every: bool
    ) -> tuple[dict[str, str], dict[str, str], list[str]]:
        """id -> name of the files, every one or the first; name -> path of the subfolders; links that are followed,
        behind which a glance does not look. Raises OSError.
        """
        ids: dict[str, str] = {}
        subfolders: dict[str, str] = {}
        links: list[str] = []
        for entry in self._entries_of(folder):
            if entry.is_dir(follow_symlinks=False):
                if rules.wants_folder(folder, entry.name):
                    subfolders[entry.name] = entry.path
            elif rules.wants_file(folder, entry.name):
                if every or not ids:
                    ids[start + id_of(entry.name)] = entry.name
            elif self._follow and entry.is_symlink():
                links.append(entry.name)
        return ids, subfolders, links

    def _entries_of(self, folder: Path) -> Iterator[os.DirEntry]:
        with os.scandir(folder) as entries:
            for entry in entries:
                self._entries -= 1
                yield entry
                if (self._entries <= 0 or self._entries % 32 == 0) and self._is_enough():
                    return

    def _compare(self, folder: Path, ids: dict[str, str]) -> None:
        """Count what is new and changed of these files of a folder."""
        known = self._store.stamps_of(list(ids))
        self.found.new += sum(
            not (item in known or item in self._skipped or self._removed.knows_file(item, folder / name))
            for item, name in ids.items()
        )
        for number, (item, stamp) in enumerate(known.items()):
            if number % 100 == 99 and self._is_enough():
                return
            now = stamp_of(folder / ids[item])
            self.found.changed += bool(now) and now != stamp

    def _miss(self, start: str, ids: dict[str, str], subfolders: set[str]) -> None:
        """Count what the index has of a folder and the folder has not; its subfolders are looked at by themselves."""
        at = start
        while (found := self._store.ids_between(at, start + roots.LAST)) and not self._is_enough():
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
