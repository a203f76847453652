"""Writing files so that, after a crash or a power cut, each is whole or not there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_COPIED = 1 << 20  # bytes at once


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Where folders cannot be opened (Windows), the file system does it alone."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each name durable in the folder that holds it."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create or replace `path` with what `write(file)` writes: written beside it, fsynced, renamed, folder fsynced.

    Raises whatever `write` or the disk raises; `path` is then what it was before.
    """
    beside = path.with_name(path.name + ".partial")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """`write_file` for content that is at hand."""
    write_file(path, lambda file: file.write(content))


def copy_file(source: Path, path: Path) -> None:
    """`write_file` for the content of another file."""
    with source.open("rb") as content:
        write_file(path, lambda file: shutil.copyfileobj(content, file, _COPIED))
