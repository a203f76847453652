"""rclip's database: one SQLite file with the path, the size, the time and the vector of every picture it has seen.

Versions 1 and 2 of the file hold vectors of ViT-B-32-quickgelu/openai, 3 and 4 (rclip 3) of
ViT-B-32-256/datacomp_s34b_b86k, which is the preset `small`; each is 512 little-endian float32.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from indexes import NotAnIndex, foreign, typed
from indexes.distribution import UPGRADE
from retrieval import cache
from retrieval.errors import BadRequest
from retrieval.exchange.collection import BLOCK_ROWS, Block, Collection, Entry
from retrieval.indexing.catalog import Identity

NEWEST = 4
DIM = 512
_ALIVE = "FROM images WHERE deleted IS NULL"
_TABLES = {"images": ("deleted", "filepath", "modified_at", "size", "vector"), "db_version": ("version",)}
_PAGE = f"""
    SELECT rowid,
        CASE WHEN typeof(filepath) = 'text' AND length(filepath) <= 8192 THEN filepath END,
        CASE WHEN typeof(modified_at) IN ('integer', 'real') THEN modified_at END,
        CASE WHEN typeof(size) = 'integer' THEN size END,
        CASE WHEN typeof(vector) = 'blob' AND length(vector) = {4 * DIM} THEN vector END
    {_ALIVE} AND rowid > ? ORDER BY rowid LIMIT ?
"""


def default_database() -> Path:
    """Where rclip keeps its database: in $RCLIP_DATADIR, or the user's own folder for such things."""
    home, given = cache.home(), os.environ.get("RCLIP_DATADIR")
    by_system = {"darwin": home / "Library/Application Support/rclip", "win32": home / "AppData/Roaming/rclip"}
    return Path(given or by_system.get(sys.platform, home / ".local/share/rclip")) / "db.sqlite3"


def open_database(path: Path, root: Path | None = None, records: Path | None = None) -> Collection:
    """The pictures of an rclip database; `path`: the file, or its folder.

    Its paths are absolute: `root` adds nothing. Raises BadRequest where there is no file, or it is of a newer version;
    NotAnIndex where it is not rclip's.
    """
    path = path / "db.sqlite3" if path.is_dir() else path
    if not path.is_file():
        raise BadRequest(f"no rclip database at {path}: give its path, as in mmr import rclip DB")
    version, total = _describe(path)
    if version > NEWEST:
        raise BadRequest(f"{path} has version {version}, this mmr reads rclip's up to {NEWEST}: run `{UPGRADE}`")
    name = "small" if version >= 3 else "open_clip:ViT-B-32-quickgelu/openai"
    return Collection("rclip", path, DIM, total, lambda: _blocks(path), lambda: _paths(path), Identity(name))


def _describe(path: Path) -> tuple[int, int]:
    with _opened(path) as database:
        ((total,),) = database.execute(f"SELECT count(*) {_ALIVE}")
        line = database.execute("SELECT version FROM db_version").fetchone()
    version = line[0] if line else 1
    if not isinstance(version, int):
        raise NotAnIndex(f"{path} cannot be read as rclip's database (its version is no number): check the path")
    return version, total


def _paths(path: Path) -> Iterator[str]:
    return (row[1] for rows in _pages(path) for row in rows if row[1] is not None)


def _blocks(path: Path) -> Iterator[Block]:
    return map(_block, _pages(path))


def _pages(path: Path) -> Iterator[list[tuple]]:
    """(number, path, time, size, vector) of the rows, a block at a time; None for a value of another kind."""
    last = -(1 << 63)
    with _opened(path) as database:
        while rows := database.execute(_PAGE, (last, BLOCK_ROWS)).fetchall():  # a statement a page: it has its time
            yield rows
            last = rows[-1][0]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, of which nothing is believed. Raises NotAnIndex where it is another, or made to do harm."""
    try:
        with closing(foreign.open_read_only(path, _TABLES)) as database:
            database.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
            yield database
    except (typed.Malformed, sqlite3.Error) as error:
        raise NotAnIndex(f"{path} cannot be read as rclip's database ({error}): check the path") from error


def _block(rows: list[tuple]) -> Block:
    return np.stack([_vector(row[4]) for row in rows]), [_entry(*row[:4]) for row in rows]


def _vector(blob: object) -> np.ndarray:
    """A row; one of NaN, which no index takes, where the bytes are none."""
    if not isinstance(blob, bytes) or len(blob) != 4 * DIM:
        return np.full(DIM, np.nan, np.float32)
    return np.frombuffer(blob, "<f4")


def _entry(number: int, path: str | None, modified: float | None, size: int | None) -> Entry:
    """stamp: empty, so that it is encoded again, where the file is no longer the one that rclip saw."""
    if path is None:
        return Entry(f"row {number}")
    try:
        now = os.stat(path)  # noqa: PTH116 - a million times
        changed = (now.st_mtime, now.st_size) != (modified, size)
    except (OSError, ValueError):
        changed = False
    return Entry(path, path, stamp="" if changed else None)
