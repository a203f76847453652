"""Datasets of the Hugging Face hub, and folders that `save_to_disk` wrote, through its library `datasets`."""

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import datasets

from retrieval.errors import BadRequest, first_line
from retrieval.sources import arrow, parquet
from retrieval.sources.uri import Uri

Dataset = Any  # a datasets.Dataset, whose package has no types
_loading = threading.Lock()  # its progress bars, even where none is shown, do not bear two threads


class Opened(NamedTuple):
    """A dataset. columns: their names. rows: plain values, without pictures. stamp: changes when its data does."""

    dataset: Dataset
    columns: list[str]
    stamp: str

    def rows(self, leave_out: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """The rows as plain values, without columns that hold bytes and without those named."""
        table = self.dataset.with_format("arrow")
        names = arrow.class_names(self.dataset.features.to_dict())
        schema = self.dataset.features.arrow_schema
        kept = [field.name for field in schema if field.name not in leave_out and not arrow.holds_bytes(field.type)]
        if not kept:
            yield from ({} for _ in range(len(self.dataset)))
            return
        for batch in table.select_columns(kept).iter(parquet.BATCH):
            yield from arrow.rows(batch, names, "the dataset")

    def cell(self, row: int, column: str) -> bytes | str | None:
        """A picture of a column that `encoded` went over: its bytes or its path; None where there is none."""
        return parquet.picture_in(self.dataset[row][column])

    def __reduce__(self) -> NoReturn:
        """To send it to another process would be to send all rows that are in memory."""
        raise TypeError("a dataset is read by the process that opened it")

    def encoded(self, column: str) -> "Opened":
        """The same with the pictures of a column as they were encoded."""
        if not isinstance(self.dataset.features[column], datasets.Image):
            return self
        return self._replace(dataset=self.dataset.cast_column(column, datasets.Image(decode=False)))


def open_dataset(uri: Uri) -> Opened:
    """`hf:NAME?split=train&config=NAME&stream=N`: of the hub, or a folder on this machine. Raises BadRequest.

    stream: of a dataset too large to keep, its first N rows and no more. They are written down as they come, once, so
    that their number is known and any of them can be read.
    """
    first = uri.reading.get("stream")
    if first is not None and not re.fullmatch(r"0*[1-9]\d{0,11}", first):
        raise BadRequest(f"stream={first}: give the number of rows to take, as in hf:{uri.path}?stream=10000")
    try:
        with _loading:
            datasets.disable_progress_bars()
            found = _load(uri, None if first is None else int(first))
    except Exception as error:  # its own family of errors, and those of all it calls
        raise BadRequest(
            f"dataset {uri.path} cannot be had ({first_line(error).rstrip(':. ')}): "
            "check its name and the network, or give a file"
        ) from error
    return Opened(found, list(found.column_names), found._fingerprint)


def _load(uri: Uri, first: int | None) -> Dataset:
    split, config = uri.reading.get("split", "train"), uri.reading.get("config")
    if Path(uri.path).is_dir() and (Path(uri.path) / "state.json").is_file():
        table = datasets.load_from_disk(uri.path)
        return table if first is None else table.select(range(min(first, len(table))))
    if first is not None:
        return _written_down(datasets.load_dataset_builder(uri.path, config), split, first)
    return datasets.load_dataset(uri.path, config, split=split)


def _written_down(builder: Any, split: str, count: int) -> Dataset:  # of a DatasetBuilder
    """The first `count` rows of a stream, in the cache of `datasets`, where the next run finds them again."""
    rows = builder.as_streaming_dataset(split=split).take(count)
    for column, kind in (rows.features or {}).items():
        if isinstance(kind, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))  # kept as encoded bytes
    # The folder is named after the data's version, or the files' times, so that other data is written down anew.
    key = hashlib.sha256(f"{builder.cache_dir} {split} {count}".encode()).hexdigest()[:16]
    return datasets.Dataset.from_generator(_each, rows.features, gen_kwargs={"rows": rows}, fingerprint=key)


def _each(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from rows
