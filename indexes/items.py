"""The items of a store, in SQL: what is known of each row, and the generations it was born and died in."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexes.errors import BadFilter, Damaged
from indexes.filters import Condition

LOOKED_UP = 500  # ids in one statement
_DECODER = json.JSONDecoder(parse_constant=lambda name: None)  # older versions wrote NaN and Infinity
_ENCODER = json.JSONEncoder(allow_nan=False)
_AS_JSON = (
    "(SELECT row, id, born, died, CASE WHEN json_valid(fields) THEN fields ELSE plain_json(fields) END AS fields"
    " FROM items)"
)
_SEEN = "born <= ?1 AND (died IS NULL OR died > ?1)"  # by a reader of generation ?1


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a row.

    Attributes:
        id: The item's stable name; a store holds each once.
        stamp: Any text that changes when the item does: who adds items compares it, the store does not read it.
        fields: JSON values by name, for filters and for people.

    Examples:
        >>> Record("beach.jpg", "2024-06-01", {"uri": "beach.jpg", "meta": {"year": 2024}}).id
        'beach.jpg'
    """

    id: str
    stamp: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, id: str, stamp: str, text: str) -> "Record":
        """The record of fields as they are stored. Raises ValueError for what is no JSON."""
        return cls(id, stamp, _DECODER.decode(text))

    @property
    def text(self) -> str:
        """The fields as they are stored, JSON in their order. Raises ValueError for what JSON has not, as NaN."""
        return _ENCODER.encode(self.fields)


def rows(database: sqlite3.Connection, generation: int, where: Condition | None) -> np.ndarray:
    """The rows of that generation whose fields meet the condition, int64, ascending. Raises BadFilter, Damaged."""
    try:
        return _rows(database, "items", generation, where)
    except sqlite3.OperationalError as error:
        if "malformed JSON" not in str(error):  # too many terms, say
            raise BadFilter(f"the filter cannot be used ({error}): give a simpler --where") from error
    database.create_function("plain_json", 1, _plain_json, deterministic=True)
    try:
        return _rows(database, _AS_JSON, generation, where)
    except sqlite3.OperationalError as error:
        raise Damaged("a record of the index is no JSON: see `mmr verify`") from error


def _rows(database: sqlite3.Connection, table: str, generation: int, where: Condition | None) -> np.ndarray:
    met, values = ("", ()) if where is None else (f" AND {where.sql}", where.values)
    found = database.execute(f"SELECT row FROM {table} WHERE {_SEEN}{met} ORDER BY row", (generation, *values))
    return np.fromiter((line[0] for line in found), np.int64)


def _plain_json(text: str) -> str:
    """What an older version wrote, with null for NaN and infinity, which are no JSON to SQLite."""
    return _ENCODER.encode(_DECODER.decode(text))


def dead(database: sqlite3.Connection, first_row: int, end: int) -> np.ndarray:
    """The rows from the first on and before the end that are no longer alive, int64, ascending."""
    sql = "SELECT row FROM items WHERE died IS NOT NULL AND row >= ? AND row < ? ORDER BY row"
    return np.array([line[0] for line in database.execute(sql, (first_row, end))], np.int64)


def record(database: sqlite3.Connection, row: int) -> Record | None:
    """The record of a row, dead or alive; None where it never was or was collected."""
    line = database.execute("SELECT id, stamp, fields FROM items WHERE row = ?", (row,)).fetchone()
    return line and Record.read(*line)


def stamps(database: sqlite3.Connection, generation: int) -> dict[str, str]:
    """id -> stamp of every item of that generation."""
    return dict(database.execute(f"SELECT id, stamp FROM items WHERE {_SEEN}", (generation,)))


def stamps_of(database: sqlite3.Connection, ids: Sequence[str]) -> dict[str, str]:
    """id -> stamp of those of these items that the last commit holds."""
    found: dict[str, str] = {}
    for start in range(0, len(ids), LOOKED_UP):
        some = ids[start : start + LOOKED_UP]
        sql = f"SELECT id, stamp FROM items WHERE died IS NULL AND id IN ({', '.join('?' * len(some))})"
        found.update(database.execute(sql, some))
    return found


def fields_of(database: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """id -> (row, fields as JSON) of those of these items that the last commit holds."""
    found: dict[str, tuple[int, str]] = {}
    for start in range(0, len(ids), LOOKED_UP):
        some = ids[start : start + LOOKED_UP]
        sql = f"SELECT id, row, fields FROM items WHERE died IS NULL AND id IN ({', '.join('?' * len(some))})"
        found.update((name, (row, fields)) for name, row, fields in database.execute(sql, some))
    return found


def ids_between(database: sqlite3.Connection, first: str, end: str) -> list[str]:
    """The first LOOKED_UP ids of the last commit from `first` on and before `end`, in order of code points."""
    sql = "SELECT id FROM items WHERE died IS NULL AND id >= ? AND id < ? ORDER BY id LIMIT ?"
    return [line[0] for line in database.execute(sql, (first, end, LOOKED_UP))]


def digest(database: sqlite3.Connection, first_row: int, count: int) -> str:
    """SHA-256 of the records of these rows."""
    sha256 = hashlib.sha256()
    sql = "SELECT row, id, stamp, fields FROM items WHERE row >= ? AND row < ? ORDER BY row"
    for line in database.execute(sql, (first_row, first_row + count)):
        sha256.update("\0".join(map(str, line)).encode("utf-8", "surrogatepass"))
    return sha256.hexdigest()


# ---------------------------------------------------------------- within a transaction of the writer's


def insert(database: sqlite3.Connection, first_row: int, records: Sequence[Record], generation: int) -> None:
    """Rows from the first on are born with these records. Raises ValueError for fields that are no JSON."""
    database.executemany(
        "INSERT INTO items VALUES (?, ?, ?, ?, ?, NULL)",
        [(first_row + offset, each.id, each.stamp, each.text, generation) for offset, each in enumerate(records)],
    )


def bury(database: sqlite3.Connection, ids: Iterable[str], generation: int) -> None:
    """These items die. Unknown ids are no error."""
    database.executemany(
        "UPDATE items SET died = ? WHERE id = ? AND died IS NULL", [(generation, name) for name in ids]
    )


def bury_all(database: sqlite3.Connection, generation: int) -> None:
    """Every item dies."""
    database.execute("UPDATE items SET died = ? WHERE died IS NULL", (generation,))


def forget_retired(database: sqlite3.Connection, generation: int) -> None:
    """Remove the items of the segments that were retired by that generation."""
    database.execute(
        "DELETE FROM items WHERE EXISTS (SELECT 1 FROM segments AS s WHERE s.retired <= ?"
        " AND items.row >= s.first_row AND items.row < s.first_row + s.rows)",
        (generation,),
    )
