"""Rows of a table and what they say of a picture: columns -> Entry, records -> columns.

A table that an index wrote has a column `mmr_record` with the whole record as JSON, so that what no column can hold
(names that are no Unicode, nested values, columns of mixed types) comes back as it was. The other columns are for
other tools.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from indexes import Record, typed
from retrieval.errors import BadRequest
from retrieval.exchange.collection import Entry
from retrieval.images.kinds import PICTURES
from retrieval.indexing.cards import Card
from retrieval.indexing.fields import CAPTION, kept
from retrieval.sources.captions import captions_of

RECORD = "mmr_record"
VECTOR = "embedding"
CAPTIONS = "captions"  # all of them, beside the first one
FILES = ("image_path", "image", "path", "file", "filepath", "file_name")  # columns that may name a file
NAMES = ("url", "key", "id", "uri")  # and those that name what is none
_INT64 = 1 << 63


@dataclass
class _Fields:
    """What the fields of a record must be, where they are there."""

    uri: str
    caption: str | list[str] | None = None
    meta: dict[str, Any] | None = None
    file: dict[str, Any] | None = None
    labels: dict[str, Any] | None = None
    kind: Literal["picture", "clip"] = "picture"
    key: str | None = None


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
        if not all(isinstance(part, str) for part in (record.id, record.stamp)):
            raise TypeError("not as an index writes it")
        typed.checked(record.fields, _Fields)
        return record
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest(f"{source}: {RECORD} of row {number} is damaged: remove that column and try again") from error


def _of_record(record: Record, root: Path | None) -> Entry:
    card = Card.of(record)
    path = None if root is None else os.path.normpath(root / card.uri)
    return Entry(card.uri, path, stamp=record.stamp, record=record)


def _of_row(row: dict[str, Any], number: int, folder: Path) -> Entry:
    file = next((column for column in FILES if _is_text(row.get(column))), None)
    used: str | None
    if file and Path(row[file]).suffix.lower() in PICTURES and "://" not in row[file]:
        used, path = file, os.path.normpath(folder / row[file])
    else:
        used, path = next((column for column in NAMES if _name_of(row.get(column))), file), None
    name = _name_of(row[used]) if used else str(number)
    meta = {key: value for key, value in row.items() if key not in (used, CAPTION, CAPTIONS, VECTOR, RECORD)}
    return Entry(name, path, captions_of(row.get(CAPTIONS)) or captions_of(row.get(CAPTION)), kept(meta))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _name_of(value: object) -> str:
    """A text or a number as a name; "" for anything else. What was a column of whole numbers may be one of floats."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


# ---------------------------------------------------------------- write


def kinds_of(blocks: Iterable[Sequence[Record]]) -> dict[str, str]:
    """The columns that records need, name -> kind (rows.KINDS); what is not of one kind throughout is a string."""
    found: dict[str, str] = {}
    several: dict[str, str] = {}
    for card in (Card.of(record) for records in blocks for record in records):
        several |= {CAPTIONS: "strings"} if len(card.captions) > 1 else {}
        for key, value in card.fields.items():
            kind, name = _kind(value), text_of(key)
            if kind and name not in (FILES[0], CAPTION, CAPTIONS, VECTOR, RECORD):
                found[name] = kind if found.get(name, kind) == kind else _both(found[name], kind)
    return {FILES[0]: "string", CAPTION: "string", **several, **found, RECORD: "string"}


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
    told = {text_of(key): value for key, value in card.fields.items()}
    line = {name: _as_kind(told.get(name), kind) for name, kind in kinds.items() if name != CAPTIONS}
    whole = {"id": record.id, "stamp": record.stamp, "fields": record.fields}
    return line | {
        FILES[0]: text_of(path or card.uri), CAPTION: card.caption, CAPTIONS: card.captions, RECORD: json.dumps(whole),
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
