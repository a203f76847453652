"""Tables of pictures: csv, jsonl, parquet and Hugging Face datasets; a column `image`, or `url` where allowed."""

import csv
import difflib
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrieval.datatypes import Item
from retrieval.errors import BadRequest
from retrieval.images import kinds
from retrieval.sources import reopen, within
from retrieval.sources.captions import captions_of
from retrieval.sources.uri import Row, Uri, existing_file, id_of, matches, stamp_of

Table = Any  # a datasets.Dataset, whose package has no types and is imported late
_PICTURES = ("image", "jpg", "jpeg", "png", "webp")  # the later ones are img2dataset's


def csv_file(uri: Uri) -> Iterable[Row]:
    """`csv:FILE`, `.tsv` by its ending. Raises BadRequest."""
    path = existing_file(uri)
    csv.field_size_limit(min(sys.maxsize, 1 << 24))
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            if not reader.fieldnames:
                raise BadRequest(f"{uri.path} is empty: it must start with a line `image,caption`")
            yield from _table(uri, reader.fieldnames, reader)
        except csv.Error as error:
            raise BadRequest(f"{uri.path}: line {reader.line_num}: {error}: repair the file") from error


def jsonl(uri: Uri) -> Iterable[Row]:
    """`jsonl:FILE`, an object a line. Raises BadRequest."""
    path = existing_file(uri)

    def lines() -> Iterator[dict[str, Any]]:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        row = json.loads(line)
                    except ValueError as error:
                        raise BadRequest(f"{uri.path}: line {number} is no JSON: repair the file") from error
                    if not isinstance(row, dict):
                        raise BadRequest(f"{uri.path}: line {number} is no JSON object: write one object a line")
                    yield row

    for row in lines():
        yield from _table(uri, list(row), [row])


def url_list(uri: Uri) -> Iterable[Row]:
    """`urls:FILE`: a text with a URL a line, or a table with a column `url`. Raises BadRequest, also if not allowed."""
    path = existing_file(uri)
    by_ending = {".csv": csv_file, ".tsv": csv_file, ".jsonl": jsonl, ".ndjson": jsonl, ".parquet": parquet}
    if path.suffix.lower() in by_ending:
        yield from by_ending[path.suffix.lower()](uri)
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                yield _of_web(line.strip(), uri, {}), None


def _of_web(url: str, uri: Uri, meta: dict[str, Any]) -> Item:
    from retrieval.sources import web  # with it comes all of http and TLS, which few sources need

    return web.item(url, uri, meta)


def _table(uri: Uri, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Rows with the path of a picture under `image`, or its `url`, and a text, or a list of texts, under `caption`."""
    column = _picture_column(uri, columns, ("image",))
    folder = Path(uri.path).parent
    for row in rows:
        name = row.get(column)
        if name and matches(row, uri.where):
            meta = {k: v for k, v in row.items() if k not in (column, "caption") and k and v not in (None, "")}
            path = folder / str(name)
            if column == "url":
                item = _of_web(str(name), uri, meta)
            else:
                item = Item(id_of(str(name)), str(name), path, stamp=stamp_of(path), meta=meta, kind=kinds.kind(path))
            yield from ((item, caption) for caption in captions_of(row.get("caption")) or (None,))


def _picture_column(uri: Uri, columns: Iterable[str], among: tuple[str, ...]) -> str:
    """The column that has the pictures. Raises BadRequest where it, or one of ?column=value, is not there."""
    columns = [column for column in columns if column]
    chosen = next((name for name in (*among, "url") if name in columns), "image")
    for wanted in (chosen, *uri.where):
        if wanted not in columns:
            near = difflib.get_close_matches(wanted, columns, 1)
            hint = f"did you mean `{near[0]}`?" if near else "rename one of them, or name another in the source"
            raise BadRequest(f"{uri.path} has no column `{wanted}`, only {', '.join(columns)}: {hint}")
    return chosen


# ---------------------------------------------------------------- Hugging Face datasets


def parquet(uri: Uri) -> Iterable[Row]:
    """`parquet:FILE`: pictures as bytes, as structs of bytes or path, or as paths. Raises BadRequest."""
    import datasets

    path = existing_file(uri)
    try:
        table = datasets.Dataset.from_parquet(str(path))
    except Exception as error:  # pyarrow's and datasets' own families of errors, all meaning the same here
        raise BadRequest(f"{uri.path} cannot be read as parquet ({_first_line(error)}): check the file") from error
    return _dataset(uri, table, path)


def hugging_face(uri: Uri) -> Iterable[Row]:
    """`hf:NAME?split=train&config=NAME&stream=N`: a dataset of the hub, or a folder written by `save_to_disk`.

    stream: of a dataset too large to keep, its first N rows and no more. They are written down as they come, once, so
    that their number is known and any of them can be read.
    """
    import datasets

    where = dict(uri.where)
    split, config, first = where.pop("split", "train"), where.pop("config", None), where.pop("stream", None)
    uri = replace(uri, where=where)
    if first is not None and not re.fullmatch(r"0*[1-9]\d{0,11}", first):
        raise BadRequest(f"stream={first}: give the number of rows to take, as in hf:{uri.path}?stream=10000")
    try:
        if Path(uri.path).is_dir() and (Path(uri.path) / "state.json").is_file():
            table = datasets.load_from_disk(uri.path)
            table = table if first is None else table.select(range(min(int(first), len(table))))
        elif first is not None:
            table = _written_down(datasets.load_dataset_builder(uri.path, config), split, int(first))
        else:
            table = datasets.load_dataset(uri.path, config, split=split)
    except Exception as error:
        raise BadRequest(
            f"dataset {uri.path} cannot be had ({_first_line(error)}): check its name and the network, or give a file"
        ) from error
    return _dataset(uri, table, None)


def _written_down(builder: Any, split: str, count: int) -> Table:  # a DatasetBuilder
    """The first `count` rows of a stream, in the cache of `datasets`, where the next run finds them again."""
    import datasets

    rows = builder.as_streaming_dataset(split=split).take(count)
    for column, kind in (rows.features or {}).items():
        if isinstance(kind, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))  # kept as encoded bytes
    # The folder is named after the data's version, or the files' times, so that other data is written down anew.
    key = hashlib.sha256(f"{builder.cache_dir} {split} {count}".encode()).hexdigest()[:16]
    return datasets.Dataset.from_generator(_each, rows.features, gen_kwargs={"rows": rows}, fingerprint=key)


def _each(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from rows


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(":. ")


def _dataset(uri: Uri, table: Table, file: Path | None) -> Iterator[Row]:
    import datasets

    column = _picture_column(uri, table.column_names, _PICTURES)
    if isinstance(table.features[column], datasets.Image):
        table = table.cast_column(column, datasets.Image(decode=False))
    texts = table if column == "url" else table.remove_columns(column)
    for number, row in enumerate(texts):
        failed = uri.scheme == "img2dataset" and row.get("status", "success") != "success"  # it lists these too
        if matches(row, uri.where) and not failed:
            meta = {k: v for k, v in row.items() if k != "caption" and isinstance(v, str | int | float | bool)}
            if column != "url":
                item = _dataset_item(table, number, column, meta, file)
            elif row["url"]:
                item = _of_web(row["url"], uri, {k: v for k, v in meta.items() if k != "url"})
            else:
                continue
            captions = captions_of(row.get("caption")) or captions_of(row.get("txt"))
            yield from ((item, caption) for caption in captions or (None,))


def _dataset_item(table: Table, number: int, column: str, meta: dict[str, Any], file: Path | None) -> Item:
    folder = Path() if file is None else file.parent

    def content() -> Path | bytes:
        return reopen.cell(table[number][column], folder)

    place = None if file is None else within.InTable(file.name, number, column)
    return Item(str(number), str(number), content, stamp=table._fingerprint, meta=meta, within=place)
