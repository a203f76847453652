"""What people see beside answers: lines on stdout, progress, skips and errors on stderr."""

import errno
import functools
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TextIO

import typer

from cli.output import plain, streams
from indexes.errors import BadFilter, BadWords, StoreError
from retrieval.errors import MissingModel, NothingReadable, RetrievalError

OK, NONE, USAGE, MISSING, SKIPPED, MACHINE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
_SHORT = (
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS, errno.ESTALE
)  # fmt: skip
_LISTED = 20  # skipped files named on the terminal
_P = ParamSpec("_P")


# ---------------------------------------------------------------- errors


def guarded(command: Callable[_P, None]) -> Callable[_P, None]:
    """A command whose errors are one line on stderr and an exit code; MMR_DEBUG=1 shows the traceback as well."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):  # Typer's own ways out
            raise
        except BrokenPipeError as error:
            raise typer.Exit(unwritten(error)) from None
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("MMR_DEBUG"):
                raise
            message, code = explain(error)
            if isinstance(error, NothingReadable):
                skipped(error.skipped)
            if _speaks or not isinstance(error, RetrievalError):  # those are the same in every process
                _write(sys.stderr, plain.line(message))
            raise typer.Exit(code) from None

    return run


def unwritten(error: OSError, said: bool = False) -> int:
    """What a command says whose answers cannot be written; the exit code. said: it has said so.

    A reader that went away (`mmr search ... | head`) has read enough: that is no error.
    """
    streams.silence(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return OK
    message, code = explain(error)
    if not said:
        _write(sys.stderr, plain.line(message))
    return code


def explain(error: BaseException) -> tuple[str, int]:
    """One line that ends with the next thing to do, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted: run the same command again to go on", INTERRUPTED
    if isinstance(error, (BadFilter, BadWords)):
        return f"mmr: {error}", USAGE
    if isinstance(error, StoreError | MissingModel):
        return f"mmr: {error}", MISSING
    if isinstance(error, RetrievalError):
        return f"mmr: {error}", USAGE
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "mmr: out of memory: use a smaller --set batch_size=..., or close other programs", MACHINE
    if _is_full(error):
        return "mmr: the disk is full: free some space, then run the same command again", MACHINE
    read_only = getattr(error, "errno", None) == errno.EROFS or "readonly database" in str(error)
    if isinstance(error, PermissionError) or read_only:
        where = getattr(error, "filename", None) or "the index"
        return f"mmr: no permission to write {where}: give another folder, or change its permissions", MACHINE
    if isinstance(error, OSError | sqlite3.Error):
        return f"mmr: the machine failed ({_one_line(error)}): check the disk, then run the same command again", MACHINE
    return (
        f"mmr: unexpected {type(error).__name__}: {_one_line(error)}: run again with MMR_DEBUG=1 and report it",
        MACHINE,
    )


def is_of_machine(error: BaseException) -> bool:
    """Did the machine fail, or run short of something, rather than what was asked or this program?"""
    of_sqlite = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.ProgrammingError)
    return of_sqlite or isinstance(error, MemoryError) or getattr(error, "errno", None) in _SHORT


def _is_full(error: BaseException) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in full or "database or disk is full" in str(error)


def _one_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(":. ")


_speaks = True


def silence() -> None:
    """From here on show nothing but what broke: another process of the same run speaks."""
    global _speaks
    _speaks = False


def note(text: str) -> None:
    """A line on stderr."""
    if _speaks:
        _write(sys.stderr, text)


def out(text: str) -> None:
    """A line on stdout."""
    if _speaks:
        sys.stdout.write(f"{plain.lines(text)}\n")


def _write(stream: TextIO, text: str) -> None:
    streams.say(stream, f"{plain.lines(text)}\n")


def skipped(pairs: Sequence[tuple[str, str]], listed_in: Path | None = None) -> None:
    """Which inputs were left out and why, on stderr."""
    if not pairs:
        return
    note(f"{len(pairs)} skipped:")
    for uri, reason in pairs[:_LISTED]:
        note(f"  {plain.line(uri)}: {plain.line(reason)}")
    if len(pairs) > _LISTED:
        note(f"  ... and {len(pairs) - _LISTED} more")
    if listed_in:
        note(f"the whole list is in {listed_in}")


# ---------------------------------------------------------------- progress


class Meter:
    """A progress line on stderr: redrawn on a terminal, a line every ten seconds elsewhere.

    Call it with (done, total) and any text; it adds the rate and, by how fast it was of late, the time left.
    """

    _LATE = 60.0  # seconds

    def __init__(self, what: str, unit: str = "", stream: TextIO | None = None) -> None:
        self._what, self._unit = what, unit
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._started = time.monotonic()
        self._drawn, self._width = 0.0, 0
        self._first: int | None = None  # `done` before this Meter was first called
        self._past: list[tuple[float, float]] = []  # when it was shown, and the share of the work done by then

    def __call__(self, done: int, total: int, text: str = "", share: float | None = None) -> None:
        """Show where it is. total 0: unknown. share: of the work, 0..1, where one of `done` is not like another."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = done - 1, now
        if done < total and now - self._drawn < (0.2 if self._live else 10):
            return
        self._drawn = now
        elapsed = now - self._started
        rate = (done - self._first) / elapsed if elapsed > 0.5 else 0.0  # too early to tell
        left = self._left(now, done / max(1, total) if share is None else share) if done < total else ""
        speed = f", {rate:.0f} {self._unit}/s" if self._unit and rate > 0 else ""
        line = plain.line(f"{self._what} {done}/{total} ({done / max(1, total):.0%}){speed}{text}{left}")
        if self._live:
            streams.say(self._stream, "\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            streams.say(self._stream, line + "\n")

    def _left(self, now: float, share: float) -> str:
        self._past.append((now, share))
        while now - self._past[0][0] > self._LATE and len(self._past) > 2:
            self._past.pop(0)
        then, before = self._past[0]
        known = now - then > 0.5 and share > before
        return f", {_clock((1 - share) * (now - then) / (share - before))} left" if known else ""

    def say(self, text: str) -> None:
        """A line of its own, above the progress."""
        if self._live and self._width:
            streams.say(self._stream, "\r" + " " * self._width + "\r")
        _write(self._stream, text)

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live and self._width:
            streams.say(self._stream, "\n")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
