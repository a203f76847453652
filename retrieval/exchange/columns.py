"""Rows of a table and what they say of a picture: columns -> Entry, records -> columns.

A table that an index wrote has a column `mmr_record` with the whole record as JSON, so that what no column can hold
(names that are no Unicode, nested values, columns of mixed types) comes back as it was. The other columns are for
other tools.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from indexes import Record
from retrieval.errors import BadRequest
from retrieval.exchange.collection import Entry
from retrieval.images.kinds import PICTURES
from retrieval.indexing.cards import Card
from retrieval.indexing.fields import URI

RECORD = "mmr_record"
VECTOR = "embedding"
FILES = ("image_path", "image", "path", "file", "filepath", "file_name")  # columns that may name a file
NAMES = ("url", "key", "id", "uri")  # and those that name what is none
_INT64 = 1 << 63


# ---------------------------------------------------------------- read


def entries(rows: Iterable[dict[str, Any]], folder: Path, source: Path, root: Path | None) -> Iterator[Entry]:
    """An entry a row. folder: what relative paths start from. root: that of the records an index wrote, if any.

    Raises BadRequest, naming `source`, where no column names anything.
    """
    for number, row in enumerate(rows):
        if not number and not any(column in row for column in (RECORD, *FILES, *NAMES)):
            raise BadRequest(f"{source} has no column that names pictures, only {', '.join(row)}: call one image_path")
        recorded = _recorded(row.get(RECORD), source, number) if row.get(RECORD) else None
        yield _of_record(recorded, root) if recorded else _of_row(row, number, folder)


def _recorded(text: object, source: Path, number: int) -> Record:
    try:
        if not isinstance(text, str | bytes):
            raise TypeError("no text")
        found = json.loads(text)
        record = Record(found["id"], found["stamp"], found["fields"])
        typed = (isinstance(part, str) for part in (record.id, record.stamp, record.fields[URI]))
        if not all(typed) or not isinstance(Card.of(record).meta, dict):
            raise TypeError("not as an index writes it")
        return record
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest(f"{source}: {RECORD} of row {number} is damaged: remove that column and try again") from error


def _of_record(record: Record, root: Path | None) -> Entry:
    card = Card.of(record)
    path = None if root is None else os.path.normpath(root / card.uri)
    return Entry(card.uri, path, card.caption, card.meta, record.stamp, record.id, card.uri)


def _of_row(row: dict[str, Any], number: int, folder: Path) -> Entry:
    file = next((column for column in FILES if _is_text(row.get(column))), None)
    used: str | None
    if file and Path(row[file]).suffix.lower() in PICTURES and "://" not in row[file]:
        used, path = file, os.path.normpath(folder / row[file])
    else:
        used, path = next((column for column in NAMES if _is_text(row.get(column))), file), None
    name = row[used] if used else str(number)
    meta = {key: plain(value) for key, value in row.items() if key not in (used, "caption", VECTOR, RECORD)}
    return Entry(name, path, _caption(row.get("caption")), {k: v for k, v in meta.items() if v not in (None, "")})


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _caption(value: object) -> str | None:
    """The first of a list; None where there is none."""
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None or value != value or value == "" else str(value)


def plain(value: object) -> Any:
    """A value as JSON can hold it; None for what says nothing (NaN, bytes)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if value is None or isinstance(value, str | int):
        return value
    return None if isinstance(value, bytes) else str(value)


# ---------------------------------------------------------------- write


def kinds_of(blocks: Iterable[Sequence[Record]]) -> dict[str, str]:
    """The columns that records need, name -> kind (rows.KINDS); what is not of one kind throughout is a string."""
    found: dict[str, str] = {}
    for records in blocks:
        for record in records:
            for key, value in Card.of(record).meta.items():
                kind, name = _kind(value), text_of(key)
                if kind and name not in (*FILES[:1], "caption", VECTOR, RECORD):
                    found[name] = kind if found.get(name, kind) == kind else _both(found[name], kind)
    return {FILES[0]: "string", "caption": "string", **found, RECORD: "string"}


def _kind(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -_INT64 <= value < _INT64 else "string"
    return "float64" if isinstance(value, float) else "string"


def _both(one: str, other: str) -> str:
    return "float64" if {one, other} == {"int64", "float64"} else "string"


def line_of(record: Record, path: str | None, kinds: dict[str, str]) -> dict[str, Any]:
    """The row of a record. path: the file, where it is one."""
    card = Card.of(record)
    meta = {text_of(key): value for key, value in card.meta.items()}
    line = {name: _as_kind(meta.get(name), kind) for name, kind in kinds.items()}
    whole = {"id": record.id, "stamp": record.stamp, "fields": record.fields}
    return line | {
        FILES[0]: text_of(path or card.uri), "caption": None if card.caption is None else text_of(card.caption),
        RECORD: json.dumps(whole),
    }  # fmt: skip


def _as_kind(value: object, kind: str) -> object:
    if isinstance(value, int | float) and kind == "float64":
        return float(value)
    if value is None or kind != "string":
        return value
    return text_of(value if isinstance(value, str) else json.dumps(value))


def text_of(name: str) -> str:
    """The name as proper Unicode: file names may hold bytes that are none."""
    return name.encode("utf-8", "backslashreplace").decode()
