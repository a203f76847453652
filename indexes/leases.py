"""Leases: each reader is counted, and what it may still ask for is kept until it is gone.

    readers/12-3-5d0c1f2e-9b41c07a    a reader of generation 12 or later and of derived/000003.faiss or later (0: any),
                                      on that machine; an empty file

It is locked while its reader lives, in a forked child too: the lock ends with the last process that has it open,
however that ends. Whoever can take the lock removes the file. Where locks do not reach (another machine, over a share
that keeps them to itself) a lease counts for LIFE seconds after its reader last asked something. Who cannot write into
the folder has no lease: an error says then what was collected (errors.Outdated).
"""

import functools
import hashlib
import os
import platform
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

FOLDER_NAME = "readers"
LIFE = 3600.0  # seconds
_BEAT = LIFE / 10
_NAME = re.compile(r"(\d+)-(\d+)-([0-9a-f]{8})-[0-9a-f]{8}")
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # of this kernel: what shares it shares its locks


@dataclass(frozen=True, slots=True)
class Needed:
    """What a reader may ask for: rows that died, and segments that were retired, after a generation.

    derived: the least number of an approximate index's file; 0 for any.
    """

    generation: int
    derived: int


class Lease:
    """One reader's, until it is dropped or its process ends. Not for two threads at once."""

    def __init__(self, file: Path, handle: int, locked: bool) -> None:
        self._file, self._handle, self._locked, self._seen = file, handle, locked, time.monotonic()

    def beat(self) -> None:
        """Say that the reader lives, where that was not said lately."""
        if time.monotonic() - self._seen > _BEAT:
            self._seen = time.monotonic()
            with suppress(OSError):
                os.utime(self._file)

    def drop(self) -> None:
        """Let go of it; in a forked child, or a parent, that leaves it to the other."""
        if self._handle >= 0:
            # Closed, not unlocked: a fork has the same lock.
            os.close(self._handle)
            self._handle = -1
            if not self._locked:
                self._file.unlink(missing_ok=True)
            else:
                _is_held(self._file)

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the interpreter everything may be gone
            self.drop()


def take(path: Path, needed: Needed) -> Lease | None:
    """A lease on the store at `path`; None where its folder cannot be written.

    What was committed when it is taken is kept from then on: read the state afterwards.
    """
    try:
        (path / FOLDER_NAME).mkdir(exist_ok=True)
        while True:
            if lease := _taken(path / FOLDER_NAME, needed):
                return lease
    except OSError:
        return None


def _taken(folder: Path, needed: Needed) -> Lease | None:
    """A new lease; None where a writer, who takes it for one that was left behind, is about to remove it."""
    file = folder / f"{needed.generation}-{needed.derived}-{_machine()}-{secrets.token_hex(4)}"
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        locked = _lock(handle)
        if locked is not False and os.fstat(handle).st_nlink:
            return Lease(file.absolute(), handle, bool(locked))
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def living(path: Path) -> list[Needed]:
    """What the readers of the store at `path` need. The leases of those that are gone are removed."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for file in (path / FOLDER_NAME).iterdir():
            if (said := _NAME.fullmatch(file.name)) and _is_held(file):
                found.append(Needed(int(said[1]), int(said[2])))
    return found


def _is_held(file: Path) -> bool:
    """Does the reader of this lease live, as far as can be known? If not, the file is removed."""
    try:
        handle = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # another user's: it cannot be tried
        return _is_young(file)
    try:
        taken = _lock(handle)
        if taken is False:
            return True
        if (taken is None or _machine() not in file.name) and _is_young(file):
            return True
        with suppress(OSError):
            file.unlink()  # while it is locked: a reader that has just made it sees that (`_taken`)
    finally:
        os.close(handle)
    with suppress(OSError):
        file.unlink(missing_ok=True)  # Windows removes no open file, which that reader's is too
    return False


def _lock(handle: int) -> bool | None:
    """Take the lock: False where another has it, None where locks do not work."""
    try:
        return filelock.lock_descriptor(handle, blocking=False)
    except OSError:
        return None


def _is_young(file: Path) -> bool:
    with suppress(FileNotFoundError):
        return time.time() - file.stat().st_mtime < LIFE
    return False


@functools.cache
def _machine() -> str:
    """Names those among whom locks are seen: this kernel, or this host where there is no telling."""
    try:
        name = _BOOT.read_text("utf-8")
    except OSError:
        name = platform.node()
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
