"""Folders made beside a place, under a name that no search looks for, and put there when they are whole."""

import shutil
from pathlib import Path

from indexes import Locked, Store, StoreError, durable


def name_beside(path: Path, making: str) -> Path:
    """Where the index of `path` is made. making: what for, "importing" say."""
    return path.absolute().with_name(f".{making}-{path.absolute().name}")


def clear(beside: Path) -> None:
    """Remove what was left by a process that was killed. Raises Locked while another one is at it."""
    if beside.is_dir():
        try:
            Store.open(beside, write=True).close()
        except Locked:
            raise
        except StoreError:  # it was killed before it was an index
            pass
        shutil.rmtree(beside)


def put(beside: Path, path: Path) -> None:
    """Give a finished index its name: there is none, or an empty folder, at that path."""
    if path.is_dir():
        path.rmdir()
    beside.rename(path)
    durable.sync_folder(path.absolute().parent)
