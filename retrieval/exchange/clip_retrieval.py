"""The folder that `clip-retrieval inference` writes: img_emb/img_emb_0.npy beside metadata/metadata_0.parquet, ...

Rows and metadata belong together by their order in the concatenation of the files, sorted by name. Its text vectors and
its FAISS indices are left alone: what is searched here are the pictures. Which encoder made them it says nowhere.
"""

import math
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from indexes import Record, Store, durable
from retrieval.callbacks import OnProgress
from retrieval.errors import BadRequest
from retrieval.exchange import columns, flat, rows
from retrieval.exchange.collection import BLOCK_ROWS, Collection, Entry

SHARD_ROWS = BLOCK_ROWS * 64  # about a million, as it writes them itself


def open_folder(path: Path, root: Path | None = None, records: Path | None = None) -> Collection:
    """The pictures of such a folder. Relative image paths start from `root`, or from where we are, as for the tool.

    Raises BadRequest where it is no such folder, a file is damaged, or the numbers of rows do not fit together.
    """
    vectors = sorted((path / "img_emb").glob("*.npy"))
    metadata = sorted((path / "metadata").glob("*.parquet"))
    if not vectors:
        raise BadRequest(f"{path} has no img_emb/*.npy: give the folder that `clip-retrieval inference` wrote")
    if not metadata:
        raise BadRequest(f"{path} has no metadata/*.parquet: copy them from where the vectors were made")
    shards = [flat.load_npy(file) for file in vectors]
    for file, shard in zip(vectors, shards, strict=True):
        if shard.shape[1] != shards[0].shape[1]:
            raise BadRequest(
                f"{file} holds rows of {shard.shape[1]}, {vectors[0].name} of {shards[0].shape[1]}: remove one of them"
            )
    _must_fit(path, [len(shard) for shard in shards], [rows.parquet_size(file) for file in metadata])
    described = rows.parquet_footer(metadata[0])
    known = described.get("root")

    def entries() -> Iterator[Entry]:
        table = chain.from_iterable(rows.parquet_rows(file) for file in metadata)
        moved = (root or Path(known)) if isinstance(known, str) else None
        return columns.entries(table, (root or Path()).absolute(), path / "metadata", moved)

    return flat.collection("clip-retrieval", path, shards, entries, described, root)


def _must_fit(path: Path, vectors: list[int], metadata: list[int]) -> None:
    if vectors != metadata:
        raise BadRequest(
            f"{path} has {sum(vectors)} vectors in {len(vectors)} file(s) of img_emb and {sum(metadata)} rows in "
            f"{len(metadata)} of metadata, which do not fit together: copy what is missing, or make it again"
        )


def write_folder(store: Store, path: Path, on_progress: OnProgress, dtype: np.dtype) -> list[Path]:
    """The same layout, which `clip-retrieval index` and `back` read; the folder is whole or absent."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise BadRequest(f"{path} exists: give another folder, or remove it first")
    beside = path.absolute().with_name(f".exporting-{path.name}")
    shutil.rmtree(beside, ignore_errors=True)  # of an export that was killed
    try:
        _write_shards(store, beside, on_progress, dtype)
        if path.is_dir():
            path.rmdir()
        beside.rename(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    durable.sync_folder(path.absolute().parent)
    return [path]


def _write_shards(store: Store, folder: Path, on_progress: OnProgress, dtype: np.dtype) -> None:
    described = flat.Described(store)
    starts = range(0, max(1, len(store)), SHARD_ROWS)
    width = int(math.log10(len(starts))) + 1
    rest = _Blocks(flat.blocks_of(store, on_progress))
    for number, start in enumerate(starts):
        count = min(SHARD_ROWS, len(store) - start)
        name = str(number).zfill(width)
        npy = folder / "img_emb" / f"img_emb_{name}.npy"
        flat.write_shard(
            npy, folder / "metadata" / f"metadata_{name}.parquet", dtype, store.dim, count, rest.take(count), described
        )


class _Blocks:
    """Blocks that are cut where a shard ends."""

    def __init__(self, blocks: Iterator[tuple[np.ndarray, list[Record]]]) -> None:
        self._blocks = blocks
        self._left: tuple[np.ndarray, list[Record]] | None = None

    def take(self, count: int) -> Iterator[tuple[np.ndarray, list[Record]]]:
        """Blocks of `count` rows together."""
        while count:
            vectors, records = self._left or next(self._blocks)
            yield vectors[:count], records[:count]
            self._left = (vectors[count:], records[count:]) if len(records) > count else None
            count -= min(count, len(records))
