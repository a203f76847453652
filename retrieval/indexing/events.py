"""What happens in folders, as the system tells it (watchfiles): paths that something happened to, and the time that
passes. The one module that knows watchfiles.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from indexes import distribution
from retrieval.callbacks import OnMessage
from retrieval.errors import BadRequest

TICK, STEP, GATHER = 200, 20, 60  # milliseconds: at the latest it says that nothing happened; between looks; of a batch
FALLBACK = 10.0  # seconds between looks, where the system tells of no more folders
_LIMITS = Path("/proc/sys/fs/inotify")


def batches(
    roots: Sequence[Path], stop: threading.Event, poll: float | None, say: OnMessage
) -> Iterator[frozenset[Path]]:
    """What was touched since the last batch, nothing where nothing was, some times a second until `stop` is set.

    A root that is not there is looked for again; where it came, went or is another disk, the root itself is touched.

    Args:
        roots: Folders, absolute.
        stop: Ends it.
        poll: Seconds between looks at every file, for shares whose changes no system tells; None is by events.
        say: Called with a line for a person.

    Raises:
        BadRequest: watchfiles is not installed.
    """
    require()
    changed: frozenset[Path] = frozenset()
    lenient = False  # of folders that may not be read; it is no word of the limit then
    while not stop.is_set():
        marks = {root: _mark(root) for root in roots}
        there = [root for root, mark in marks.items() if mark]
        try:
            for touched in _told(there, stop, poll, lenient):
                yield changed | touched
                changed = frozenset(root for root, mark in marks.items() if _mark(root) != mark)
                if changed:
                    break
        except FileNotFoundError:  # it went between
            continue
        except PermissionError:
            if lenient:
                raise
            lenient = True
        except (OSError, RuntimeError) as error:
            if poll or not (said := _limit(there, error)):
                raise
            say(said)
            poll = FALLBACK


def require() -> None:
    """Raise BadRequest where watchfiles is not installed."""
    try:
        import watchfiles  # noqa: F401
    except ImportError as error:
        raise BadRequest(f"watching folders needs watchfiles: {distribution.install('watch')}") from error


def _told(roots: Sequence[Path], stop: threading.Event, poll: float | None, lenient: bool) -> Iterator[frozenset[Path]]:
    """Batches of what happens below folders that are there."""
    import watchfiles

    if not roots:
        while not stop.wait(TICK / 1000):
            yield frozenset()
        return
    places = [(Path(os.path.realpath(root)), root) for root in roots]  # some systems tell of those
    told = watchfiles.watch(
        *(real for real, _ in places), watch_filter=None, debounce=GATHER, step=STEP, rust_timeout=TICK,
        yield_on_timeout=True, stop_event=stop, force_polling=poll is not None, poll_delay_ms=round((poll or 1) * 1000),
        ignore_permission_denied=lenient,
    )  # fmt: skip
    for changes in told:
        paths = [Path(path) for _, path in changes]
        yield frozenset(
            root / path.relative_to(real) for real, root in places for path in paths if path.is_relative_to(real)
        )


def _mark(root: Path) -> tuple[int, int] | None:
    """Tells a folder from another one in its place; None where there is none."""
    try:
        found = root.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _limit(roots: Sequence[Path], error: Exception) -> str:
    """What to say of an error that tells of a limit of the system's, "" for any other."""
    if any(sign in str(error) for sign in ("MaxFilesWatch", "watch limit", "No space left")):
        name, needed, what = "max_user_watches", sum(1 for root in roots for _ in os.walk(root)), "folders are"
    elif "Too many open files" in str(error):
        name, needed, what = "max_user_instances", 1, "watching program is"
    else:
        return ""
    try:
        allowed = int((_LIMITS / name).read_text("utf-8"))
    except (OSError, ValueError):
        allowed = 0
    return (
        f"{needed} {what} more than the system watches ({allowed} for all programs of a user): every file is looked at "
        f"each {FALLBACK:.0f} s, until you type `sudo sysctl fs.inotify.{name}={allowed + 2 * needed}` and start again"
    )
