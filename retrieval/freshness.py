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
from retrieval import roots
from retrieval.folders import Rules
from retrieval.sources import open_items
from retrieval.uris import Uri, id_of, stamp_of

SKIPPED_FILE = "skipped.txt"  # in an index's folder: what could not be indexed, a line each, and why
WALKED = "walked"  # in its manifest: when its folders were last looked through, in seconds since 1970
SECONDS, ENTRIES = 0.05, 20_000
_SLACK = 3.0  # seconds: some file systems count the time in twos


@dataclass
class Changes:
    """Pictures of the folders beside those of the index. whole: everything was looked at."""

    new: int = 0
    changed: int = 0
    gone: int = 0
    whole: bool = True

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.gone)

    def __str__(self) -> str:
        parts = [f"{count} {what}" for what in ("new", "changed", "gone") if (count := getattr(self, what))]
        return ("" if self.whole else "at least ") + (", ".join(parts) or "nothing new")


def count(store: Store, uri: Uri) -> Changes:
    """Exactly what `mmr index` would find. Reads every folder. Raises BadRequest for one that is not there."""
    known, skipped = store.stamps(), _skipped(store)
    found, present = Changes(), set()
    for item in open_items(uri):
        present.add(item.id)
        if item.id not in known:
            found.new += item.id not in skipped
        elif known[item.id] != item.stamp:
            found.changed += 1
    found.gone = len(known.keys() - present)
    return found


def glance(store: Store, seconds: float = SECONDS, entries: int = ENTRIES) -> Changes | None:
    """New and changed pictures, as far as they are seen in that time; None where the index could not be renewed."""
    uri = roots.recorded(store)
    if uri is None or not all(os.access(folder, os.W_OK) for folder in (store.path, *uri.folders)):
        return None
    look = _Look(store, uri, time.monotonic() + seconds, entries)
    look.at_everything()
    return look.found


class _Look:
    """One glance: folders by the time of their last change, the newest first."""

    def __init__(self, store: Store, uri: Uri, until: float, entries: int) -> None:
        self._store, self._root, self._until, self._entries = store, Path(uri.path), until, entries
        self._since = store.manifest.get(WALKED, 0.0) - _SLACK
        self._skipped = _skipped(store)
        self._waiting = [(-_time_of(folder), str(folder), Rules(folder, uri.options)) for folder in uri.folders]
        heapq.heapify(self._waiting)
        self.found = Changes()

    def at_everything(self) -> None:
        while self._waiting:
            if self._is_enough():
                self.found.whole = False
                return
            modified, folder, rules = heapq.heappop(self._waiting)
            self._at(Path(folder), rules, fresh=-modified > self._since)

    def _is_enough(self) -> bool:
        return self._entries <= 0 or time.monotonic() > self._until

    def _at(self, folder: Path, rules: Rules, fresh: bool) -> None:
        rules.read(folder)
        names = []
        for entry in self._entries_of(folder):
            if entry.is_dir(follow_symlinks=False):
                if rules.wants_folder(folder, entry.name):
                    heapq.heappush(self._waiting, (-_time_of(entry.path), entry.path, rules))
            elif rules.wants_file(folder, entry.name):
                names.append(entry.name)
        start = id_of((folder / "_").relative_to(self._root).as_posix()).removesuffix("_")
        ids = {item: name for name in names if (item := start + id_of(name)) not in self._skipped}
        if fresh or not self._store.stamps_of([min(ids)] if ids else []):
            self._compare(folder, ids)

    def _entries_of(self, folder: Path) -> Iterator[os.DirEntry]:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._entries -= 1
                    yield entry
                    if self._is_enough():
                        self.found.whole = False
                        return
        except OSError:  # gone, or not for us
            return

    def _compare(self, folder: Path, ids: dict[str, str]) -> None:
        known = self._store.stamps_of(list(ids))
        self.found.new += len(ids) - len(known)
        for number, (item, stamp) in enumerate(known.items()):
            if number % 100 == 99 and self._is_enough():
                self.found.whole = False
                return
            self.found.changed += stamp_of(folder / ids[item]) != stamp


def _time_of(folder: Path | str) -> float:
    try:
        return os.stat(folder).st_mtime  # noqa: PTH116 - often
    except OSError:
        return 0.0


def _skipped(store: Store) -> set[str]:
    """The ids of what could not be indexed the last time: it is not new."""
    try:
        lines = (store.path / SKIPPED_FILE).read_text("utf-8", "replace").split("\n")
    except OSError:
        return set()
    return {line.rpartition("\t")[0] for line in lines}
