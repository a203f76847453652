"""Rows of other tools' tables: parquet, csv, jsonl, read one by one in bounded memory; parquet written."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from indexes import typed
from retrieval.errors import BadRequest
from retrieval.exchange.collection import BLOCK_ROWS
from retrieval.sources import parquet, text_tables
from retrieval.sources.registry import parse_uri
from retrieval.sources.uri import matches

FOOTER = b"mmr"  # the key in a parquet file's footer under which an index says what it is
_ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
_CALLED = {"image": "image_path", "url": "url", "caption": "caption"}  # what columns of an option are called here
KINDS = ("bool", "int64", "float64", "string", "strings")  # the last is a list of them


# ---------------------------------------------------------------- read


def file_of(table: Path) -> Path:
    """The file of a table that may have options behind it, as in `t.csv?sep=;`. Raises BadRequest where it is none."""
    file = table if table.is_file() else Path(str(table).partition("?")[0])
    if not file.is_file():
        raise BadRequest(f"no such file: {file}: check the path")
    if file.suffix.lower() not in _ENDINGS:
        raise BadRequest(f"{file} is no table: give a .parquet, .csv or .jsonl file")
    return file


def read(table: Path) -> Iterator[dict[str, Any]]:
    """The rows of a .parquet, .csv, .tsv, .jsonl or .ndjson file, read as a source is: `?caption=title` and all.

    What an option names is called `image_path` and `caption`. Raises BadRequest for another file, or a damaged one.
    """
    file = file_of(table)
    uri = parse_uri(str(table))
    if uri.scheme == "parquet":
        rows = parquet_rows(file)
    else:
        opened = text_tables.open_csv(uri) if uri.scheme == "csv" else text_tables.open_jsonl(uri)
        rows = opened.rows
    names = {uri.reading[option]: called for option, called in _CALLED.items() if option in uri.reading}
    return ({names.get(key, key): value for key, value in row.items()} for row in rows if matches(row, uri.where))


def parquet_size(path: Path) -> int:
    """The number of rows. Raises BadRequest where it is no parquet file."""
    return parquet.head_of(path).rows


def parquet_footer(path: Path) -> dict[str, Any]:
    """What an index wrote of itself under FOOTER, {} where the file is not of one."""
    with parquet.opened(path) as file:
        text = (file.schema_arrow.metadata or {}).get(FOOTER, b"{}")
    try:
        return typed.parse(text, dict[str, Any])
    except typed.Malformed:
        return {}


def parquet_rows(path: Path, leave_out: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows as plain values, without columns of bytes, and without those named. Raises BadRequest."""
    return parquet.rows(path, parquet.head_of(path), leave_out)


def parquet_vectors(path: Path, column: str) -> Iterator[np.ndarray]:
    """The lists of numbers of a column, as float (n, d) blocks. Raises BadRequest where they are none."""
    import pyarrow.compute

    with parquet.opened(path) as file:
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
