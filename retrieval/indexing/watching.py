"""Folders that are watched: what happens in them is brought into their index, once it has come to rest.

Nothing here waits: events come as batches, some of them empty (events.py), and a clock tells the time.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from indexes import Locked
from retrieval.callbacks import OnMessage, no_message
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, NothingThere
from retrieval.indexing import skipped
from retrieval.indexing.build import build, renew
from retrieval.indexing.early import PATIENCE, Patient
from retrieval.indexing.line import Here
from retrieval.indexing.update import IndexReport
from retrieval.sources.uri import Uri
from retrieval.sources.walk import IGNORE_FILE, Rules

QUIET, QUIET_POLLED = 0.4, 1.1  # seconds that a file must stay as it is; who polls sees times in whole seconds
HOLD = 0.5  # seconds that what has come to rest waits for the rest of a burst
MANY = 1000  # paths: of more, all is looked through
AGAIN, AGAIN_LOCKED = 15.0, 0.5  # seconds until what failed is tried again
LONGEST = 60.0  # seconds that a look through everything waits for files that grow

Signature = tuple[int, int] | None


class Stopped(Exception):
    """Whoever watches was told to end while it worked; what was committed is kept."""


def signature(path: Path) -> Signature:
    """Size and time of what is at a path, None for nothing."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


class Settling:
    """Paths that something happened to, until they have come to rest.

    quiet: seconds that one must stay as it is. look: what tells whether it did.
    """

    def __init__(self, quiet: float = QUIET, look: Callable[[Path], Signature] = signature) -> None:
        self._quiet, self._look = quiet, look
        self._waiting: dict[Path, tuple[Signature, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def touched(self, paths: Iterable[Path], now: float) -> None:
        """Something happened to these."""
        for path in paths:
            self._waiting.setdefault(path, (self._look(path), now))

    def take(self, now: float) -> list[Path]:
        """Those at rest; none while the rest of a burst is to be had soon."""
        for path, (before, _) in self._waiting.items():
            if (found := self._look(path)) != before:
                self._waiting[path] = found, now
        since = [at for _, at in self._waiting.values() if now - at >= self._quiet]
        if len(since) < len(self._waiting) and not any(now - at >= self._quiet + HOLD for at in since):
            return []
        ready = [path for path, (_, at) in self._waiting.items() if now - at >= self._quiet]
        for path in ready:
            del self._waiting[path]
        return ready


class Work(Protocol):
    """What a Watcher has done. Both give None where nothing could be done and that was said.

    early: files that the last one read in vain, and that may be growing.
    """

    early: set[Path]

    def whole(self) -> IndexReport | None:
        """Look through everything."""
        ...

    def part(self, paths: Collection[Path]) -> IndexReport | None:
        """Look at these paths."""
        ...


class Watcher:
    """Brings batches of events into an index.

    Args:
        work: What does it.
        wanted: Is a path one that an index may be of?
        settling: When it is at rest.
        sweep: Seconds between looks through everything.
        done: Called with the report of each update, and the seconds that it took.
        say: Called with a line for a person.
        clock: Tells the seconds.
    """

    def __init__(
        self, work: Work, wanted: Callable[[Path], bool], settling: Settling, sweep: float,
        done: Callable[[IndexReport, float], None], say: OnMessage = no_message,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._work, self._wanted, self._settling, self._every = work, wanted, settling, sweep
        self._done, self._say, self._clock, self._said = done, say, clock, ""
        self._due: float | None = None  # since when everything is to be looked through
        self._ready: set[Path] = set()
        self._again: dict[Path, float] = {}  # what was read too early, and when it is looked at again
        self._sweep_at, self._try_at, self._began = 0.0, 0.0, False

    def run(self, batches: Iterable[Collection[Path]]) -> None:
        """Go on until there are no more batches. Raises what the work raises at its first time."""
        for touched in batches:
            self.step(touched, self._clock())

    def step(self, touched: Collection[Path], now: float) -> None:
        """What happened until `now`, in seconds of any clock."""
        self._settling.touched(filter(self._wanted, touched), now)
        if not self._began or now >= self._sweep_at and self._due is None:
            self._due = now
        if now < self._try_at:
            return
        self._ready |= {*self._settling.take(now), *(path for path, at in self._again.items() if now >= at)}
        if self._due is not None and (not self._began or not self._settling or now - self._due > LONGEST):
            self._try(self._work.whole, now)
        elif self._ready:
            self._try(lambda: self._work.part(self._ready), now)

    def _try(self, work: Callable[[], IndexReport | None], now: float) -> None:
        whole, started = work == self._work.whole, self._clock()
        try:
            report = work()
        except Locked as error:
            self._fail(str(error).replace("wait for it, then try again", "waiting for it"), now + AGAIN_LOCKED)
            return
        except BadRequest as error:
            if not self._began:
                raise
            self._fail(f"{error}; looked at again every {AGAIN:.0f} s", now + AGAIN)
            return
        self._began, self._said = True, ""
        self._again = {path: at for path, at in self._again.items() if path not in self._ready}
        self._again |= dict.fromkeys(self._work.early, now + PATIENCE)
        self._ready = set()
        if whole:
            self._due, self._sweep_at = None, now + self._every
        if report is not None:
            self._done(report, self._clock() - started)

    def _fail(self, said: str, again: float) -> None:
        self._try_at = again
        if said != self._said:
            self._say(said)
        self._said = said


@dataclass
class Folders:
    """The work on an index of folders.

    uri: all that it is of. stopped: asked between batches whether to end. away: folders of it that are gone
    or empty, with what was said of them. known: what was said to be skipped. early: files that were read in vain by the
    last update and may be growing: what the index has of them stays.
    """

    uri: Uri
    path: Path
    encoder: Encoder
    device: str = "cpu"
    say: OnMessage = no_message
    stopped: Callable[[], bool] = lambda: False
    away: dict[Path, str] = field(default_factory=dict)
    known: set[tuple[str, str]] = field(default_factory=set)
    early: set[Path] = field(default_factory=set)
    _rules: dict[Path, Rules] = field(default_factory=dict)

    def wanted(self, path: Path) -> bool:
        """May something of the index be at a path? Not what its options leave out, nor the index itself."""
        top = next((top for top in self.uri.folders if path.is_relative_to(top)), None)
        if top is None or path.is_relative_to(self.path.absolute()):
            return False
        if top not in self._rules:
            self._rules[top] = Rules(top, self.uri.options)
        rules, at = self._rules[top], top
        *above, name = path.relative_to(top).parts or [""]
        for part in above:
            if not rules.wants_folder(at, part):
                return False
            at /= part
        if name in ("", IGNORE_FILE) or name.lower().endswith(".txt"):
            return True
        return rules.wants_file(at, name) or rules.wants_folder(at, name) and not os.path.isfile(path)  # noqa: PTH113 - often

    def whole(self) -> IndexReport | None:
        """Look through everything that is there. What is of a folder that is gone or empty stays, and that is said."""
        before, self.away, self.early = self.away, {}, set()
        report = None
        while report is None and self._there():
            try:
                report = self._build()
            except NothingThere as error:
                folder = error.folder or Path(self.uri.path)
                self.away[folder] = str(error)
                if before.get(folder) != str(error):
                    self.say(f"{error}; it is looked for")
        for folder in before.keys() - self.away.keys():
            self.say(f"{folder} is there again")
        return report

    def part(self, paths: Collection[Path]) -> IndexReport | None:
        """Look at these paths; at everything, where more than they may have changed."""
        several = len(paths) > MANY or self.uri.options.follow or self.uri.files or self.away
        if several or any(path.name == IGNORE_FILE or path in self.uri.folders for path in paths):
            return self.whole()
        try:
            report = renew(self.uri, self.path, self.encoder, paths, self._line(), self.device, self._go_on, self.say)
        except NothingThere:
            return self.whole()
        return self._listed(report)

    def _build(self) -> IndexReport:
        uri, there = self.uri, self._there()
        if self.away:
            uri = replace(uri, roots=tuple(root for root in uri.roots if Path(uri.path, root) in there), files=())
        store, report = build(
            uri, self.path, self.encoder, self.device, self._go_on, on_message=self.say, line=self._line()
        )
        store.close()
        return self._listed(report)

    def _line(self) -> Patient:
        line = Patient(Here(self.encoder))
        self.early = line.early
        return line

    def _there(self) -> list[Path]:
        return [folder for folder in self.uri.folders if folder not in self.away]

    def _listed(self, report: IndexReport) -> IndexReport:
        """The report without what was said to be skipped before."""
        skipped.write(self.path, report.listed, report.starts)
        said = [[pair for pair in pairs if pair not in self.known] for pairs in (report.skipped, report.unread)]
        self.known |= {pair for pairs in said for pair in pairs}
        return replace(report, skipped=said[0], unread=said[1])

    def _go_on(self, done: int, total: int) -> None:
        if self.stopped():
            raise Stopped


def told(report: IndexReport, seconds: float) -> str:
    """What an update did, "" for nothing: "3 new, 1 removed, 0.8 s"."""
    counts = [
        (report.added, "new"), (report.changed, "changed"), (report.renewed, "renewed"), (report.moved, "moved"),
        (report.removed, "removed"), (report.read, "read"), (len(report.skipped), "skipped"),
        (len(report.unread), "unread"),
    ]  # fmt: skip
    parts = [f"{count} {what}" for count, what in counts if count]
    return ", ".join([*parts, f"{seconds:.1f} s"]) if parts else ""
