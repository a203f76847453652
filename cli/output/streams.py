"""stdin, stdout and stderr as a command meets them: closed, full, of another encoding than UTF-8, or with no reader."""

import contextlib
import io
import locale
import os
import sys
from typing import TextIO

_AGAIN = "MMR_IN_UTF8"  # the process began again for it


def in_utf8() -> None:
    """Begin again in Python's UTF-8 mode where the locale has another encoding.

    Names of files, words and tables are bytes of UTF-8 whatever the locale says: an index made in one locale is
    searched in another.
    """
    if sys.getfilesystemencoding() == "utf-8" or not sys.executable or _AGAIN in os.environ:
        return
    again = {**os.environ, "PYTHONUTF8": "1", _AGAIN: "1"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], again)


def make_ready() -> None:
    """Have three streams that can be used: what was closed leads nowhere; letters that cannot be shown are escaped."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            _lead_nowhere(number)  # else the next file that is opened would get what is written to the stream
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123
    shown_in = locale.getencoding() if _AGAIN in os.environ else None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=shown_in, errors="backslashreplace")  # names may hold bytes that are no text


def _lead_nowhere(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)


def say(stream: TextIO, text: str) -> None:
    """Write at once. Where nobody can read it any more, what is said is lost, and the work goes on."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        silence(stream)


def silence(stream: TextIO) -> None:
    """Let a stream lead nowhere from here on: its reader went away, or its disk is full."""
    with contextlib.suppress(OSError, ValueError):  # it is no file, or closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
