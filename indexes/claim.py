"""Whose a store's folder is: one writer holds its lock; a new one takes only a folder that holds nothing else."""

from pathlib import Path

import filelock

from indexes import durable
from indexes.database import DATABASE
from indexes.errors import Locked, NotAnIndex


def new_folder(path: Path) -> filelock.BaseFileLock:
    """Make the folder of a new store and take its lock. Raises NotAnIndex where something else is there, Locked."""
    if path.exists() and not path.is_dir():
        raise NotAnIndex(f"{path} is a file, not a folder: give another --index")
    if path.is_dir() and not _is_unborn(path):
        raise NotAnIndex(f"{path} exists and is not empty: give another --index")
    durable.make_folder(path.absolute() / "segments")
    return lock(path)


def _is_unborn(path: Path) -> bool:
    """True for an empty folder and for one whose making was interrupted before its database had its name."""
    made_first = {"segments", "lock", DATABASE + ".partial", DATABASE + ".partial-journal"}
    return all(child.name in made_first for child in path.iterdir())


def lock(path: Path) -> filelock.BaseFileLock:
    """The lock of the folder's one writer, taken. Raises Locked where another process has it."""
    taken = filelock.FileLock(path / "lock", timeout=0)
    try:
        taken.acquire()
    except filelock.Timeout:
        raise Locked(f"another process is writing to {path}: wait for it, then try again") from None
    return taken
