"""Rows of other tools' tables: parquet, csv, jsonl, read one by one in bounded memory; parquet written."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from retrieval.errors import BadRequest
from retrieval.exchange.collection import BLOCK_ROWS

FOOTER = b"mmr"  # the key in a parquet file's footer under which an index says what it is
KINDS = ("bool", "int64", "float64", "string", "strings")  # the last is a list of them


# ---------------------------------------------------------------- read


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a .parquet, .csv, .tsv, .jsonl or .ndjson file. Raises BadRequest for another, or a damaged one."""
    if not path.is_file():
        raise BadRequest(f"no such file: {path}: check the path")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadRequest(f"{path} is no table: give a .parquet, .csv or .jsonl file")
    return reader(path)


def parquet_size(path: Path) -> int:
    """The number of rows. Raises BadRequest where it is no parquet file."""
    with _parquet(path) as file:
        return file.metadata.num_rows


def parquet_footer(path: Path) -> dict[str, Any]:
    """What an index wrote of itself under FOOTER, {} where the file is not of one."""
    with _parquet(path) as file:
        text = (file.schema_arrow.metadata or {}).get(FOOTER)
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def parquet_rows(path: Path, leave_out: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows without columns of bytes, and without those named."""
    import pyarrow

    with _parquet(path) as file:
        wanted = [
            field.name for field in file.schema_arrow
            if field.name not in leave_out
            and not pyarrow.types.is_binary(field.type) and not pyarrow.types.is_large_binary(field.type)
        ]  # fmt: skip
        for batch in file.iter_batches(BLOCK_ROWS, columns=wanted):
            yield from batch.to_pylist()


def parquet_vectors(path: Path, column: str) -> Iterator[np.ndarray]:
    """The lists of numbers of a column, as float (n, d) blocks. Raises BadRequest where they are none."""
    import pyarrow.compute

    with _parquet(path) as file:
        if column not in file.schema_arrow.names:
            raise BadRequest(
                f"{path} has no column `{column}`, only {', '.join(file.schema_arrow.names)}: rename the one of vectors"
            )
        for batch in file.iter_batches(BLOCK_ROWS, columns=[column]):
            lists = batch.column(0)
            if lists.null_count or not hasattr(lists, "flatten"):
                raise BadRequest(f"{path}: column `{column}` is not a list of numbers in each row: check the file")
            numbers = lists.flatten().to_numpy(zero_copy_only=False)
            lengths = pyarrow.compute.min_max(pyarrow.compute.list_value_length(lists)).as_py()
            if lengths["min"] != lengths["max"] or not lengths["min"] or numbers.dtype.kind != "f":
                raise BadRequest(f"{path}: the lists of `{column}` are not floats of one length: check the file")
            yield numbers.reshape(len(batch), -1)


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:  # a pyarrow.parquet.ParquetFile, whose package has no types
    import pyarrow
    import pyarrow.parquet

    if not path.is_file():
        raise BadRequest(f"no such file: {path}: check the path")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":. ")
        raise BadRequest(f"{path} cannot be read as parquet ({reason[:120]}): check the file") from error


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(min(sys.maxsize, 1 << 24))
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            for row in reader:
                yield {key: value for key, value in row.items() if key}
        except csv.Error as error:
            raise BadRequest(f"{path}: line {reader.line_num}: {error}: repair the file") from error


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise BadRequest(f"{path}: line {number} is no JSON: repair the file") from error
                if not isinstance(row, dict):
                    raise BadRequest(f"{path}: line {number} is no JSON object: write one object a line")
                yield row


_READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    ".parquet": parquet_rows, ".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl,
}  # fmt: skip


# ---------------------------------------------------------------- write


class ParquetSink:
    """Writes rows, and vectors if `dim` is given, to an open file, block by block. columns: name -> one of KINDS."""

    def __init__(self, file: BinaryIO, columns: dict[str, str], footer: dict[str, Any], dim: int | None = None) -> None:
        import pyarrow
        import pyarrow.parquet

        lists = {"strings": pyarrow.list_(pyarrow.string())}
        fields = [(name, lists.get(kind) or pyarrow.type_for_alias(kind)) for name, kind in columns.items()]
        if dim is not None:
            fields.append(("embedding", pyarrow.list_(pyarrow.float32())))
        self._schema = pyarrow.schema(fields, {FOOTER: json.dumps(footer)})
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema)

    def write(self, lines: Sequence[dict[str, Any]], vectors: np.ndarray | None = None) -> None:
        """lines: a value a column, what is absent is null. vectors: (n, dim), where there is a column for them."""
        import pyarrow

        arrays = [pyarrow.array([line.get(field.name) for line in lines], field.type) for field in self._schema]
        if vectors is not None:
            offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
            numbers = np.ascontiguousarray(vectors, np.float32).reshape(-1)
            arrays[-1] = pyarrow.ListArray.from_arrays(offsets, numbers)
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))

    def __enter__(self) -> "ParquetSink":
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()
