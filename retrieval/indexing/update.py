"""A store comes to hold exactly these items. Resumable: what is committed is never done again."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from indexes import Store
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item
from retrieval.indexing import ocr as texts
from retrieval.indexing import renames, renewal, stored, unseen
from retrieval.indexing.cards import Card
from retrieval.indexing.line import Line, Made, whole_batches_first
from retrieval.indexing.removed import Removed
from retrieval.indexing.roots import EVERYTHING, LAST, is_of
from retrieval.sources.uri import Unseen

COMMIT_SECONDS = 5.0  # at most about this much work is lost when the process is killed
COMMIT_ROWS = 20_000
FEW_STARTS = 2_000  # each is looked up by itself


@dataclass
class IndexReport:
    """What indexing did, in numbers of pictures.

    Attributes:
        added: New ones.
        changed: Those whose content was another than before, encoded again.
        renewed: Those as before, of which their source says other captions or fields: their vectors were kept.
        moved: Those with another name or another time and the same content: their vectors were kept.
        removed: Those that are gone from the source, and from the index now.
        unchanged: Those that were left as they were.
        unseen: Those that stay though they could not be looked at, as they, their folder or their disk cannot be read.
        left_out: Those that were removed from the index, and so are not taken in (removed.py).
        skipped: (uri, reason) of what could not be used.
        unread: (uri, reason) of pictures whose text was to be read and could not be: they are in the index without it.
        read: Those that it had, of which the text was read now.
        starts: It was about the items whose ids start so; all others were left alone.
    """

    added: int = 0
    changed: int = 0
    renewed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    unseen: int = 0
    left_out: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    read: int = 0
    starts: tuple[str, ...] = EVERYTHING

    @property
    def held(self) -> int:
        """How many items the index has of what was looked at."""
        return self.added + self.changed + self.renewed + self.moved + self.unchanged + self.unseen

    @property
    def listed(self) -> list[tuple[str, str]]:
        """What a person should know the reasons of: (uri, reason)."""
        return [*self.skipped, *self.unread]


def update(
    store: Store,
    items: Iterable[Item],
    line: Line,
    on_progress: OnProgress = no_progress,
    starts: tuple[str, ...] = EVERYTHING,
    let_go: bool = False,
    removed: Removed | None = None,
    ocr: bool = False,
) -> IndexReport:
    """Make the store hold exactly these items: new and changed ones are encoded, those that are gone are deleted.

    A file that has another name now, or another time, with the same content keeps its vector, and so does one of which
    its source says other captions or fields now. Commits every few seconds, so killed at any moment and run again it
    goes on. A picture whose file holds something else now, that does not decode, is deleted and listed. What cannot be
    looked at stays, and is listed.

    Args:
        store: Open for writing.
        items: What it shall hold.
        line: What makes rows of them, by the encoder of those that it holds.
        on_progress: Called with (done, total) items, of those that are encoded.
        starts: How the ids of these items start, where they are a part of what the store holds; the others stay.
        let_go: What cannot be looked at does not stay.
        removed: What was removed and is not to come back; None is the store's own list.
        ocr: The text in the pictures is read too: of new ones, and of those that the store has without it.

    Returns:
        What was done.

    Raises:
        BadRequest: From `items`, where the source cannot be read.
        StoreError: The store cannot be written.
    """
    known = _stamps(store, starts)
    removed = Removed(store.path) if removed is None else removed
    present: set[str] = set()
    places: set[str] = set()
    out: set[str] = set()
    todo: list[Item] = []
    numbers: dict[str, int] = {}  # of these: their places among all that there are
    unread: list[Item] = []

    def unchanged() -> Iterator[Item]:
        for item in unseen.places(items, known):
            if isinstance(item.content, Unseen) and not let_go:
                places.add(item.id)
            if removed.keeps_out(item):
                out.add(item.id)
                continue
            if item.stamp and known.get(item.id) == item.stamp:
                yield item
            else:
                todo.append(item)
                numbers[item.id] = len(present)
            present.add(item.id)

    same = texts.noting(store, unchanged(), unread) if ocr else unchanged()
    others = list(renewal.outdated(store, same))  # the whole source is read before anything is written
    absent = [name for name in known if name not in present]
    gone = [name for name in absent if not unseen.is_below(name, places)]
    report = IndexReport(renewed=renewal.renew(store, others), unseen=len(absent) - len(gone), starts=starts)
    report.unchanged = len(present) - len(todo) - report.renewed
    kept = renames.carry_over(store, todo, gone, known)
    if ocr:
        unread += texts.lacking(store, [item for item in todo if item.id in kept])
    new = (item for item in todo if item.id not in kept and item.id not in known)
    out |= removed.keeps_out_moved(new, present | out)
    removed.save()
    todo = [item for item in todo if item.id not in kept and item.id not in out]
    report.left_out = len(out)
    report.moved, report.removed = len(kept), len(gone) - len(set(kept.values()) - kept.keys())
    store.delete(gone)
    todo = whole_batches_first(todo, [numbers[item.id] for item in todo], line.together, len(present))
    done, total = len(todo), len(todo) + len(unread)
    failed = _encode_into(store, todo, line, report, known, lambda now, _: on_progress(now, total), ocr)
    report.read, not_read = texts.read(store, unread, lambda now, _: on_progress(done + now, total))
    report.unread += not_read
    _let_go(store, failed, report, let_go)
    if store.needs_compaction():
        store.compact()
    return report


def _stamps(store: Store, starts: tuple[str, ...]) -> dict[str, str]:
    """id -> stamp of those that start so; of a few among millions the others are not read."""
    if "" in starts or len(starts) > FEW_STARTS:
        return {name: stamp for name, stamp in store.stamps().items() if is_of(name, starts)}
    names = [start[:-1] for start in starts if start.endswith("\0")]
    for start in starts:
        at = start
        while not start.endswith("\0") and (found := store.ids_between(at, start + LAST)):
            names += found
            at = found[-1] + "\0"
    return store.stamps_of(names)


def _encode_into(
    store: Store, todo: list[Item], line: Line, report: IndexReport, known: dict[str, str], on_progress: OnProgress,
    ocr: bool,
) -> list[Item]:  # fmt: skip
    """Encode and commit, and say so in the report. Gives the items of the store that could not be encoded again."""
    waiting: list[Made] = []
    last = time.monotonic()
    for made in line(todo, ocr):
        waiting.append(made)
        report.skipped += made.skipped
        report.unread += made.unread
        report.changed += sum(name in known for name in made.ids)
        report.added += sum(name not in known for name in made.ids)
        on_progress(report.added + report.changed + len(report.skipped), len(todo))
        if time.monotonic() - last > COMMIT_SECONDS or sum(len(some.ids) for some in waiting) >= COMMIT_ROWS:
            _commit(store, waiting)
            waiting, last = [], time.monotonic()
    _commit(store, waiting)
    unreadable = {uri for uri, _ in report.skipped}
    return [item for item in todo if item.uri in unreadable and item.id in known]


def _commit(store: Store, made: list[Made]) -> None:
    records = [record for some in made for record in some.records]
    if records:
        store.add(np.concatenate([some.vectors for some in made if len(some.vectors)]), records)


def _let_go(store: Store, failed: list[Item], report: IndexReport, everything: bool) -> None:
    """Delete those of these items that are pictures no more; with `everything` all of them."""
    if not failed:
        return
    keys = {record.id: Card.of(record).key for record in stored.by_id(store, [item.id for item in failed])}
    lost = [item.id for item in failed if everything or unseen.is_lost(item, keys.get(item.id))]
    report.unseen += len(failed) - len(lost)
    store.delete(lost)
