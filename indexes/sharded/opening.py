"""What lies in a folder, opened to be searched: an index, or a manifest of several."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from indexes.database import DATABASE
from indexes.sharded.manifest import FILE
from indexes.store import Store

if TYPE_CHECKING:
    from indexes.sharded.reader import Sharded

Reader = Callable[[Path | str, float | None], Store]  # as open_reader


def file_of(path: Path) -> Path:
    """The one file that tells an index, or the manifest of shards, from another that was made in its place."""
    return path / FILE if are_shards(path) else path / DATABASE


def are_shards(path: Path) -> bool:
    """Does a folder hold a manifest of shards, and no index of its own?"""
    return not (path / DATABASE).exists() and (path / FILE).is_file()


def open_reader(path: Path | str, wait: float | None = None) -> Store:
    """Open an index, or shards, for reading.

    Args:
        path: The folder.
        wait: As of Store.open.

    Returns:
        The store; or a Sharded, which has all that those have who only read.

    Raises:
        StoreError: As of Store.open; or a shard is missing, of another encoder, or at another commit than is pinned.
    """
    path = Path(path)
    return cast(Store, open_sharded(path, wait)) if are_shards(path) else Store.open(path, wait=wait)


def open_sharded(path: Path | str, wait: float | None = None) -> "Sharded":
    """Open shards whose folders this machine sees, in this process.

    Args:
        path: The folder of the manifest.
        wait: As of Store.open.

    Returns:
        The reader over all of them.

    Raises:
        StoreError: There is no manifest; or a shard is missing, of another encoder, or at another commit.
    """
    from indexes.sharded.local import connect  # most have one index, and do without all that
    from indexes.sharded.reader import Sharded

    return Sharded(Path(path), partial(connect, wait=wait))
