"""`mmr watch`, and the same within `mmr serve`: from parsed words to folders watched until it is told to end."""

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cli import config
from cli.commands import indexing
from cli.output import show, target
from indexes import NotAnIndex, Store, WrongEncoder
from indexes.database import DATABASE
from indexes.sharded.opening import are_shards
from retrieval.encoders import bulk, default, presets
from retrieval.errors import BadRequest
from retrieval.indexing import events, roots, skipped
from retrieval.indexing.catalog import Identity
from retrieval.sources.uri import Uri, of_places

if TYPE_CHECKING:
    from retrieval.indexing.update import IndexReport

SWEEP = 15.0  # minutes
AGAIN = 60.0  # seconds until a server tries again what failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How folders are watched. poll: seconds between looks, None by events. sweep: minutes between whole updates."""

    poll: float | None = None
    sweep: float = SWEEP
    device: str = "auto"
    engine: str = "auto"

    def check(self) -> None:
        """Raise BadRequest for a time that is none."""
        for option, value, some in (("--poll", self.poll, "10"), ("--sweep", self.sweep, "15")):
            if value is not None and not 0 < value < math.inf:
                raise BadRequest(f"{option} {value:g} is no time to wait: give a number above 0, as {option} {some}")


def run(sources: Sequence[str], index_dir: Path | None, model: str | None, how: Watched) -> int:
    """Watch until Ctrl+C or SIGTERM; the exit code. Raises BadRequest for what cannot be watched."""
    how.check()
    events.require()
    path = _place(tuple(sources), index_dir)
    before = indexing.known(path, model)
    if before.silent and not sources:
        raise indexing.unsaid(path)
    uri = _folders(path, _asked(tuple(sources), before.uri))
    if before.uri:
        _require_same(path, uri)
    name = model or before.encoder or config.value("model") or default.choose(show.note)
    stop = threading.Event()
    with _ending(stop) as told_to_end:
        try:
            _follow_on(path, uri, name, model is None, how, stop, _said)
        except KeyboardInterrupt:
            if not told_to_end():
                raise
    return show.OK


def _place(sources: tuple[str, ...], index_dir: Path | None) -> Path:
    """Where the index is, or is to be. Raises BadRequest where it cannot be, NotAnIndex where none is that is meant."""
    path = index_dir or indexing.place_of(sources)
    _require_one(path)
    if (path / DATABASE).exists():
        return path
    target.check_place(path, "--index")
    if index_dir and not sources:
        raise NotAnIndex(f"no index at {path}: name its folders, as in `mmr watch FOLDER --index {path}`")
    return path


def beside(paths: Sequence[Path], how: Watched, stop: threading.Event) -> list[threading.Thread]:
    """A thread for each of these indexes that is of folders, not started. Raises BadRequest where none is."""
    events.require()
    threads = []
    for path in paths:
        try:
            _require_one(path)
            _remembered(path)
            threads.append(_thread(path, how, stop))
        except BadRequest as error:
            show.note(f"not watched: {error}")
    if not threads:
        raise BadRequest("none of the indexes is of folders, so there is nothing to watch: leave --watch out")
    return threads


def _thread(path: Path, how: Watched, stop: threading.Event) -> threading.Thread:
    def follow() -> None:
        said = ""
        while not stop.is_set():
            try:
                uri, name = _remembered(path)
                _follow_on(path, uri, name, True, how, stop, lambda line: show.note(f"{path}: {line}"))
            except Exception as error:  # the server goes on, and a full disk may be mended
                if (reason := show.explain(error)[0].removeprefix("mmr: ")) != said:
                    show.note(f"{path} is not watched, which is tried every {AGAIN:.0f} s: {reason}")
                said = reason
                stop.wait(AGAIN)

    return threading.Thread(target=follow, name=f"watch {path}", daemon=True)


def _remembered(path: Path) -> tuple[Uri, str]:
    """The folders of an index, and the name of its encoder, as it has them now. Raises BadRequest."""
    before = indexing.known(path, None)
    if before.uri is None or before.encoder is None:
        raise indexing.unsaid(path)
    return _folders(path, before.uri), before.encoder


def _asked(sources: tuple[str, ...], held: Uri | None) -> Uri:
    """What is to be watched. held: what the index is of, whose folders need not be there yet. Raises BadRequest."""
    named = [Path(os.path.abspath(source)) for source in sources]  # noqa: PTH100 - a link is watched by its name
    if held and held.scheme == "folder" and named and {*map(os.path.abspath, held.folders)} >= {*map(str, named)}:
        return roots.seen_from(held, of_places(named, [], held.text, held.options))
    return indexing.IndexRequest(sources=sources).uri(held, whole=False)


def _require_same(path: Path, uri: Uri) -> None:
    """Raise BadRequest where the index that is there is of other folders: before an encoder is made ready."""
    with Store.open(path) as store:
        roots.check(store, uri)


def _require_one(path: Path) -> None:
    """Raise BadRequest for shards."""
    if are_shards(path):
        raise BadRequest(f"{path} is shards: watch the index that they were split from, with `mmr watch --index DIR`")


def _folders(path: Path, uri: Uri) -> Uri:
    """The source with absolute paths. Raises BadRequest where it is not folders."""
    if uri.scheme != "folder" or uri.where:
        raise BadRequest(
            f"{uri.text} is no folder, and only folders are watched: renew its index with `mmr index --index {path}`"
        )
    if not uri.folders:
        raise BadRequest(f"{uri.text} is pictures, and only folders are watched: name their folder")
    return replace(uri, path=os.path.abspath(uri.path))  # noqa: PTH100 - a link is watched by its name


def _follow_on(
    path: Path, uri: Uri, name: str, as_index: bool, how: Watched, stop: threading.Event, say: Callable[[str], None]
) -> None:  # fmt: skip
    """`_follow`, and on where the index was given another encoder meanwhile. as_index: whichever it has is taken."""
    while True:
        before = _fingerprint(path)
        try:
            return _follow(path, uri, name, how, stop, say)
        except WrongEncoder:
            if not as_index or _fingerprint(path) in (before, None):
                raise
        _, name = _remembered(path)
        show.note(f"{path} has another encoder now: {name}")


def _fingerprint(path: Path) -> str | None:
    """Of the encoder of an index; None where there is no index yet."""
    try:
        with Store.open(path) as store:
            return Identity.required(store).fingerprint
    except NotAnIndex:
        return None


def _follow(path: Path, uri: Uri, name: str, how: Watched, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Watch until `stop` is set. say: of each update a line."""
    from retrieval.indexing import watching

    presets.require(name)
    encoder = bulk.load_for_bulk(name, how.device, show.note, how.engine)
    work = watching.Folders(uri, path, encoder, how.device, show.note, stop.is_set)
    polled = how.poll is not None

    def done(report: "IndexReport", seconds: float) -> None:
        show.skipped(report.listed, path / skipped.FILE)
        if line := watching.told(report, seconds):
            say(line)

    settling = watching.Settling(watching.QUIET_POLLED if polled else watching.QUIET)
    watcher = watching.Watcher(work, work.wanted, settling, how.sweep * 60, done, show.note)
    show.note(f"watching {', '.join(map(str, uri.folders))}; Ctrl+C ends it")
    try:
        watcher.run(events.batches(uri.folders, stop, how.poll, show.note))
    except watching.Stopped:
        return


def _said(line: str) -> None:
    show.out(line)
    sys.stdout.flush()  # who reads it through a pipe reads it now


@contextmanager
def _ending(stop: threading.Event) -> Iterator[Callable[[], bool]]:
    """SIGTERM, which a service is ended with, interrupts; what is given tells whether that was it."""

    def end(number: int, frame: object) -> None:
        stop.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield stop.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
