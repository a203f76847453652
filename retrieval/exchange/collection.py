"""What another tool left, in our words: Collection and Entry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexes import Record
from retrieval.indexing.catalog import Identity

Block = tuple[np.ndarray, "list[Entry]"]
BLOCK_ROWS = 16_384  # rows that are in memory at once while reading and writing


@dataclass(frozen=True, slots=True)
class Entry:
    """What a row is of. name: what the other tool calls it: a path, an address, a key.

    path: the absolute path, where it is a file. captions, meta: as in Item. stamp: as in Item; None: that of the file
    as it is now. record: as an index of mmr had it, where it was one; then it holds what is said of it.
    """

    name: str
    path: str | None = None
    captions: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    stamp: str | None = None
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """Vectors and their entries, read in blocks.

    kind: a name in IMPORTERS. path: where it lies. dim: numbers in a row. total: rows. blocks: yields (vectors (n, dim)
    of any float type and length, n entries). paths: yields the paths of the entries that are files. encoder: what made
    the vectors, where that is known. root, source: where it says so itself.
    """

    kind: str
    path: Path
    dim: int
    total: int
    blocks: Callable[[], Iterator[Block]]
    paths: Callable[[], Iterator[str]]
    encoder: Identity | None = None
    root: Path | None = None
    source: str | None = None
