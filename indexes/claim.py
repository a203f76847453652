"""Who may write into a store's folder: the one who holds its lock; and a new store takes only an empty folder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from indexes import database, durable
from indexes.database import DATABASE
from indexes.errors import NotAnIndex


def new_folder(path: Path, way_on: str = "give another --index") -> filelock.BaseFileLock:
    """Make the folder of a new store and take its lock. Raises NotAnIndex where something else is there, Locked.

    way_on: what the message tells to do then.
    """
    if path.exists() and not path.is_dir():
        raise NotAnIndex(f"{path} is a file, not a folder: {way_on}")
    if path.is_dir() and not _is_unborn(path):
        raise NotAnIndex(f"{path} exists and is not empty: {way_on}")
    durable.make_folder(path.absolute() / "segments")
    return lock(path)


@contextmanager
def filling(path: Path, way_on: str) -> Iterator[None]:
    """A new folder, locked while its content is written: where that fails, what was made is removed again.

    Raises NotAnIndex and Locked as new_folder does.
    """
    made = [folder for folder in (path.absolute(), *path.absolute().parents) if not folder.exists()]
    taken = new_folder(path, way_on)
    try:
        yield
    except BaseException:
        (path / DATABASE).unlink(missing_ok=True)  # first, for without it the rest is no index
        taken.release()
        _remove(path, made)
        raise
    finally:
        taken.release()


def _remove(path: Path, made: list[Path]) -> None:
    """Empty a folder, and remove those of `made`, the deepest first, that then are empty."""
    for child in path.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
    with suppress(OSError):  # something else was put there meanwhile
        for folder in made:
            folder.rmdir()


def _is_unborn(path: Path) -> bool:
    """True for an empty folder and for one whose making was interrupted before its database had its name."""
    made_first = {"segments", "lock", DATABASE + ".partial", DATABASE + ".partial-journal"}
    return all(child.name in made_first for child in path.iterdir())


def lock(path: Path, wait: float = 0.0) -> filelock.BaseFileLock:
    """The lock of the folder's one writer, taken. Raises Locked where another process has it for so many seconds."""
    taken = filelock.FileLock(path / "lock", timeout=wait, thread_local=False)  # any thread may let go of it
    try:
        taken.acquire()
    except filelock.Timeout:
        raise database.in_use(path) from None
    return taken
