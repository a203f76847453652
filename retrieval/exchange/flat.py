"""Bare vectors: a .npy with a table beside it, or a parquet file with a column `embedding`."""

import os
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from indexes import Record, Store, durable
from retrieval.callbacks import OnProgress, no_progress
from retrieval.errors import BadRequest
from retrieval.exchange import columns, rows
from retrieval.exchange.collection import BLOCK_ROWS, Block, Collection, Entry
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import Identity, Origin, root_of

# ---------------------------------------------------------------- read


def open_npy(path: Path, root: Path | None = None, records: Path | None = None) -> Collection:
    """The rows of a .npy file, each called by its number, or by the row of a table.

    records: a .parquet, .csv or .jsonl file with as many rows; its relative paths start from `root`, or from its own
    folder. Raises BadRequest for what cannot be read or does not fit together.
    """
    vectors = load_npy(path)
    table = rows.file_of(records) if records else None
    described = rows.parquet_footer(table) if table and table.suffix.lower() == ".parquet" else {}
    if records:
        count = sum(1 for _ in rows.read(records))
        if count != len(vectors):
            raise BadRequest(f"{path} has {len(vectors)} vectors, {records} has {count} rows: give the table of these")

    def entries() -> Iterator[Entry]:
        if not records:
            return (Entry(str(number)) for number in range(len(vectors)))
        return columns.entries(
            rows.read(records), root or rows.file_of(records).parent, records, _root(described, root)
        )

    return collection("npy", path, [vectors], entries, described, root)


def open_parquet(path: Path, root: Path | None = None, records: Path | None = None) -> Collection:
    """A parquet file whose column `embedding` holds lists of numbers. Raises BadRequest where it cannot be read."""
    total, described = rows.parquet_size(path), rows.parquet_footer(path)
    first = next(rows.parquet_vectors(path, columns.VECTOR), None)
    if first is None:
        raise BadRequest(f"{path} has no rows: give another file")

    def entries() -> Iterator[Entry]:
        table = rows.parquet_rows(path, (columns.VECTOR,))
        return columns.entries(table, root or path.parent, path, _root(described, root))

    def blocks() -> Iterator[Block]:
        rest = entries()
        for vectors in rows.parquet_vectors(path, columns.VECTOR):
            if vectors.shape[1] != first.shape[1]:
                raise BadRequest(f"{path} has vectors of {first.shape[1]} and of {vectors.shape[1]}: check the file")
            yield vectors, list(islice(rest, len(vectors)))

    return _described("parquet", path, first.shape[1], total, blocks, entries, described, root)


def load_npy(path: Path) -> np.ndarray:
    """A .npy file of float rows (n, d), mapped. Raises BadRequest for anything else; nothing in it is executed."""
    if not path.is_file():
        raise BadRequest(f"no such file: {path}: check the path")
    try:
        vectors = np.lib.format.open_memmap(path, "r")
    # A hostile header makes NumPy raise ValueError, SyntaxError, OverflowError, ...: it is no array of numbers.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":. ")
        raise BadRequest(f"{path} is no .npy of numbers ({reason[:120]}): give an array of floats") from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.shape[1]:
        raise BadRequest(
            f"{path} holds {vectors.dtype} of shape {vectors.shape}, not rows of floats: give an array (n, d)"
        )
    return vectors


def collection(
    kind: str, path: Path, shards: list[np.ndarray], entries: Callable[[], Iterator[Entry]],
    described: dict[str, Any], root: Path | None,
) -> Collection:  # fmt: skip
    """The Collection of arrays (n, dim) and of the entries of all of them, in order."""

    def blocks() -> Iterator[Block]:
        rest = entries()
        for shard in shards:
            for start in range(0, len(shard), BLOCK_ROWS):
                block = shard[start : start + BLOCK_ROWS]
                yield block, list(islice(rest, len(block)))

    total = sum(len(shard) for shard in shards)
    return _described(kind, path, shards[0].shape[1], total, blocks, entries, described, root)


def _described(
    kind: str, path: Path, dim: int, total: int, blocks: Callable[[], Iterator[Block]],
    entries: Callable[[], Iterator[Entry]], described: dict[str, Any], root: Path | None,
) -> Collection:  # fmt: skip
    """A Collection, with what an index that wrote it said of itself."""
    encoder, source = described.get("encoder"), described.get("source")
    identity = None
    if isinstance(encoder, dict) and isinstance(encoder.get("name"), str):
        identity = Identity(encoder["name"], encoder.get("fingerprint"))
    return Collection(
        kind, path, dim, total, blocks, lambda: (e.path for e in entries() if e.path), identity,
        _root(described, root), source if isinstance(source, str) else None,
    )  # fmt: skip


def _root(described: dict[str, Any], given: Path | None) -> Path | None:
    """The folder that the uris of an exported index are relative to; `given` where it was moved."""
    found = described.get("root")
    return (given or Path(found)) if isinstance(found, str) else None


# ---------------------------------------------------------------- write


def write_npy(store: Store, path: Path, on_progress: OnProgress, dtype: np.dtype) -> list[Path]:
    """FILE.npy, and what its rows are in FILE.parquet."""
    beside = path.with_suffix(".parquet")
    if path.suffix.lower() != ".npy":
        raise BadRequest(f"{path} does not end in .npy: write mmr export npy {path}.npy")
    _must_be_new(path, beside)
    write_shard(path, beside, dtype, store.dim, len(store), blocks_of(store, on_progress), Described(store))
    return [path, beside]


def write_parquet(store: Store, path: Path, on_progress: OnProgress, dtype: np.dtype) -> list[Path]:
    """One parquet file: the columns of the records, and `embedding`, a list of float32 in each row."""
    _must_be_new(path)
    described = Described(store)

    def write(file: BinaryIO) -> None:
        with rows.ParquetSink(file, described.kinds, described.footer, store.dim) as sink:
            for vectors, records in blocks_of(store, on_progress):
                sink.write(described.lines(records), vectors)

    durable.make_folder(path.absolute().parent)
    durable.write_file(path, write)
    return [path]


def _must_be_new(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise BadRequest(f"{path} exists: give another name, or remove it first")


class Described:
    """What a store says of itself in the files it is written to: their columns, their footer, a line a record."""

    def __init__(self, store: Store) -> None:
        self.kinds = columns.kinds_of(records for _, records in blocks_of(store))
        self._root, identity = root_of(store), Identity.recorded(store)
        self.footer = {
            "root": self._root, "source": Origin.recorded(store).scheme,
            "encoder": identity and {
                "name": identity.run(store.path) or identity.name, "fingerprint": identity.fingerprint
            },
        }  # fmt: skip

    def lines(self, records: list[Record]) -> list[dict[str, Any]]:
        """A row of the table for each record."""
        return [columns.line_of(record, self._place(Card.of(record)), self.kinds) for record in records]

    def _place(self, card: Card) -> str | None:
        """Its uri from the root on, also of a picture within another file: `entries` reads it so."""
        return None if self._root is None else os.path.normpath(Path(self._root, card.uri))


def blocks_of(store: Store, on_progress: OnProgress = no_progress) -> Iterator[tuple[np.ndarray, list[Record]]]:
    """(vectors float32 (n, dim), records) of what is alive, in the order of the rows, at most BLOCK_ROWS at a time."""
    done = 0
    for numbers, vectors in chain.from_iterable(segment.blocks() for segment in store.segments):
        for start in range(0, len(numbers), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            done += len(numbers[part])
            on_progress(done, len(store))
            yield vectors[part], store.records(numbers[part])


def write_shard(
    npy: Path, parquet: Path, dtype: np.dtype, dim: int, count: int,
    blocks: Iterator[tuple[np.ndarray, list[Record]]], described: Described,
) -> None:  # fmt: skip
    """Write `count` rows of `blocks` as a .npy (version 1, C order) and their records as a .parquet; the .npy last."""

    def both(vectors_file: BinaryIO, records_file: BinaryIO) -> None:
        header = {"descr": dtype.str, "fortran_order": False, "shape": (count, dim)}
        np.lib.format.write_array_header_1_0(vectors_file, header)
        with rows.ParquetSink(records_file, described.kinds, described.footer) as sink:
            for vectors, records in blocks:
                vectors_file.write(np.ascontiguousarray(vectors, dtype).tobytes())
                sink.write(described.lines(records))

    for file in (npy, parquet):
        durable.make_folder(file.absolute().parent)
    durable.write_file(npy, lambda outer: durable.write_file(parquet, lambda inner: both(outer, inner)))
