"""Rows of tables as items: csv, jsonl, parquet, Hugging Face datasets, lists of URLs.

A row has a picture in a column `image`, or its `url` where that is allowed, and a text, or a list of them, in a column
`caption`; `?image=file&caption=title` names others (columns.py). All other columns are fields of the item.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from retrieval.datatypes import Item
from retrieval.errors import BadRequest, ImageError
from retrieval.images import kinds
from retrieval.sources import reopen, texts, values
from retrieval.sources.captions import captions_of
from retrieval.sources.columns import Columns, require
from retrieval.sources.uri import Row, Uri, existing_file, id_of, matches, stamp_of, unreadable
from retrieval.sources.within import InTable

_FILES = ("image",)
_CELLS = ("image", "jpg", "jpeg", "png", "webp")  # the later ones are img2dataset's


def csv_file(uri: Uri) -> Iterable[Row]:
    """`csv:FILE`, `.tsv` by its ending. Raises BadRequest."""
    from retrieval.sources import text_tables  # whose checks of JSON cost an import

    table = text_tables.open_csv(uri)
    columns = Columns.of(uri, table.columns, _FILES)
    require(uri, table.columns)
    for row in table.rows:
        yield from _of_row(uri, columns, row)


def jsonl(uri: Uri) -> Iterable[Row]:
    """`jsonl:FILE`, an object a line, which may lack what others have. Raises BadRequest."""
    from retrieval.sources import text_tables

    known: dict[str, None] = {}
    for row in text_tables.open_jsonl(uri).rows:
        known |= dict.fromkeys(row) if row.keys() - known.keys() else {}
        yield from _of_row(uri, Columns.of(uri, row, _FILES), row)
    if known:
        require(uri, known)


def url_list(uri: Uri) -> Iterable[Row]:
    """`urls:FILE`: a text with a URL a line, or a table with a column `url`. Raises BadRequest, also if not allowed."""
    path = existing_file(uri)
    by_ending = {".csv": csv_file, ".tsv": csv_file, ".jsonl": jsonl, ".ndjson": jsonl, ".parquet": parquet}
    if path.suffix.lower() in by_ending:
        yield from by_ending[path.suffix.lower()](uri)
        return
    for line in texts.lines(uri, texts.encoding_of(uri)):
        if line.strip() and not line.startswith("#"):
            yield _of_web(line.strip(), uri, {}), None


def _of_web(url: str, uri: Uri, meta: dict[str, Any]) -> Item:
    from retrieval.sources import web  # with it comes all of http and TLS, which few sources need

    return web.item(url, uri, meta)


def _of_row(uri: Uri, columns: Columns, row: dict[str, Any]) -> Iterator[Row]:
    """A row whose picture is a file, or an address."""
    name = row.get(columns.picture)  # as it stands: a name may hold bytes that are no text
    said = values.plain({key: value for key, value in row.items() if key != columns.picture})
    if name is None or name == "" or not matches({**said, columns.picture: name}, uri.where):
        return
    meta = _fields(said, columns)
    item = _of_web(values.whole(str(name)), uri, meta) if columns.is_url else _of_file(str(name), uri, meta)
    yield from ((item, caption) for caption in captions_of(said.get(columns.caption)) or (None,))


def _of_file(name: str, uri: Uri, meta: dict[str, Any]) -> Item:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return unreadable(name, "no file can have this name")
    if "\0" in name:
        return unreadable(name, "no file can have this name")
    path = Path(uri.path).parent / name
    return Item(id_of(name), name, path, stamp=stamp_of(path), meta=meta, kind=kinds.kind(path))


def _fields(said: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """What a row says of its picture beside the caption; what is empty says nothing."""
    own = (columns.picture, columns.caption)
    return {key: value for key, value in said.items() if key and key not in own and value not in (None, "")}


# ---------------------------------------------------------------- tables that hold pictures


def parquet(uri: Uri) -> Iterable[Row]:
    """`parquet:FILE`: pictures as bytes, as structs of bytes or path, or as paths. Raises BadRequest."""
    path = existing_file(uri)
    from retrieval.sources import parquet as files  # with it comes pyarrow

    head = files.head_of(path)
    columns = Columns.of(uri, head.columns, _CELLS)
    cells, stamp = files.Cells(path, columns.picture), stamp_of(path)

    def item(number: int, meta: dict[str, Any]) -> Item:
        content = _content(lambda: cells(number), path.parent)
        place = InTable(path.name, number, columns.picture)
        return Item(str(number), str(number), content, stamp=stamp, meta=meta, within=place)

    rows = files.rows(path, head, _left_out(uri, columns))
    return _of_cells(uri, columns, list(head.columns), rows, item)


def hugging_face(uri: Uri) -> Iterable[Row]:
    """`hf:NAME?split=train&config=NAME&stream=N`: hugging_face.py says what it may be. Raises BadRequest."""
    from retrieval.sources.hugging_face import open_dataset  # with it comes `datasets`

    dataset = open_dataset(uri)
    columns = Columns.of(uri, dataset.columns, _CELLS)
    dataset = dataset.encoded(columns.picture)

    def item(number: int, meta: dict[str, Any]) -> Item:
        content = _content(lambda: dataset.cell(number, columns.picture), Path())
        return Item(str(number), str(number), content, stamp=dataset.stamp, meta=meta)

    return _of_cells(uri, columns, dataset.columns, dataset.rows(_left_out(uri, columns)), item)


def _left_out(uri: Uri, columns: Columns) -> tuple[str, ...]:
    """The column of pictures, where nothing of it is asked for before they are decoded."""
    return () if columns.is_url or columns.picture in uri.where else (columns.picture,)


def _content(cell: Callable[[], bytes | str | None], folder: Path) -> Callable[[], Path | bytes]:
    def content() -> Path | bytes:
        try:
            return reopen.picture_of(cell(), folder)
        except BadRequest as error:  # the file is damaged there, and all before it is read
            raise ImageError(str(error)) from error

    return content


def _of_cells(
    uri: Uri, columns: Columns, names: Sequence[str], rows: Iterable[dict[str, Any]],
    make: Callable[[int, dict[str, Any]], Item],
) -> Iterator[Row]:  # fmt: skip
    """Rows of a table that is read by columns. names: of all its columns; make: (number, fields) -> item."""
    require(uri, names)
    for number, row in enumerate(rows):
        failed = uri.scheme == "img2dataset" and row.get("status", "success") != "success"  # it lists these too
        if failed or not matches(row, uri.where):
            continue
        meta = _fields(row, columns)
        if not columns.is_url:
            item = make(number, meta)
        elif row.get(columns.picture):
            item = _of_web(str(row[columns.picture]), uri, meta)
        else:
            continue
        captions = captions_of(row.get(columns.caption)) or captions_of(row.get("txt"))
        yield from ((item, caption) for caption in captions or (None,))
