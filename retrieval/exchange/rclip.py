"""rclip's database: one SQLite file with the path, the size, the time and the vector of every picture it has seen.

Versions 1 and 2 of the file hold vectors of ViT-B-32-quickgelu/openai, 3 and 4 (rclip 3) of
ViT-B-32-256/datacomp_s34b_b86k, which is the preset `small`; each is 512 little-endian float32.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np

from indexes.distribution import UPGRADE
from retrieval.errors import BadRequest
from retrieval.exchange.collection import BLOCK_ROWS, Block, Collection, Entry
from retrieval.indexing.catalog import Identity

NEWEST = 4
DIM = 512
_ALIVE = "FROM images WHERE deleted IS NULL"


def default_database() -> Path:
    """Where rclip keeps its database: in $RCLIP_DATADIR, or the user's own folder for such things."""
    home, given = Path.home(), os.environ.get("RCLIP_DATADIR")
    by_system = {"darwin": home / "Library/Application Support/rclip", "win32": home / "AppData/Roaming/rclip"}
    return Path(given or by_system.get(sys.platform, home / ".local/share/rclip")) / "db.sqlite3"


def open_database(path: Path, root: Path | None = None, records: Path | None = None) -> Collection:
    """The pictures of an rclip database; `path`: the file, or its folder.

    Its paths are absolute: `root` adds nothing. Raises BadRequest where there is no file, it is not rclip's, or is of
    a newer version.
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
    # The columns that are read later are all named, so that another program's database is refused now.
    (total, _), *_ = _select(
        path, f"SELECT count(*), max(length(filepath) + modified_at + size + length(vector)) {_ALIVE}"
    )
    line = next(_select(path, "SELECT version FROM db_version"), None)
    return (line[0] if line else 1), total


def _paths(path: Path) -> Iterator[str]:
    return (str(line[0]) for line in _select(path, f"SELECT filepath {_ALIVE} ORDER BY filepath"))


def _blocks(path: Path) -> Iterator[Block]:
    rows: list[tuple] = []
    for row in _select(path, f"SELECT filepath, modified_at, size, vector {_ALIVE} ORDER BY filepath"):
        rows.append(row)
        if len(rows) == BLOCK_ROWS:
            yield _block(rows)
            rows = []
    if rows:
        yield _block(rows)


def _block(rows: list[tuple]) -> Block:
    return np.stack([_vector(row[3]) for row in rows]), [_entry(*row[:3]) for row in rows]


def _vector(blob: object) -> np.ndarray:
    """A row; one of NaN, which no index takes, where the bytes are none."""
    if not isinstance(blob, bytes) or len(blob) != 4 * DIM:
        return np.full(DIM, np.nan, np.float32)
    return np.frombuffer(blob, "<f4")


def _entry(path: object, modified: float, size: int) -> Entry:
    """stamp: empty, so that it is encoded again, where the file is no longer the one that rclip saw."""
    path = str(path)
    try:
        now = os.stat(path)  # noqa: PTH116 - a million times
        changed = (now.st_mtime, now.st_size) != (modified, size)
    except (OSError, ValueError):
        changed = False
    return Entry(path, path, stamp="" if changed else None)


def _select(path: Path, sql: str) -> Iterator[tuple]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as database:
            database.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
            yield from database.execute(sql)
    except sqlite3.DatabaseError as error:
        raise BadRequest(f"{path} cannot be read as rclip's database ({error}): check the path") from error
