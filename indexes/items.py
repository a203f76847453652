"""The items of a store, in SQL: what is known of each row, and the generations it was born and died in.

What another hand changed is told by its digest (proof.py), which format 1 did not have: Malformed is raised then.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexes import proof, typed
from indexes.errors import BadFilter
from indexes.filters import Condition
from indexes.fulltext import table
from indexes.typed import Malformed

LOOKED_UP = 500  # ids in one statement
_DECODER = json.JSONDecoder(parse_constant=lambda name: None)  # older versions wrote NaN and Infinity
_ENCODER = json.JSONEncoder(allow_nan=False)
_AS_JSON = (
    "(SELECT row, id, born, died, CASE WHEN json_valid(fields) THEN fields ELSE plain_json(fields) END AS fields"
    " FROM items)"
)
Line = tuple[str, str, str, int | None]  # id, stamp, fields as JSON, checksum of the vector
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
        """The record of fields as they are stored. Raises Malformed for what is no JSON object."""
        return cls(id, stamp, _fields(text, id))

    @property
    def text(self) -> str:
        """The fields as they are stored, JSON in their order. Raises ValueError for what could not be read again."""
        return _written(self.fields, self.id)


def rows(database: sqlite3.Connection, generation: int, where: Condition | None) -> np.ndarray:
    """The rows of that generation whose fields meet the condition, int64, ascending. Raises BadFilter, Damaged."""
    try:
        return _rows(database, "items", generation, where)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        if "malformed JSON" not in str(error):  # too many terms, say
            raise BadFilter(f"the filter cannot be used ({error}): give a simpler --where") from error
    database.create_function("plain_json", 1, _plain_json, deterministic=True)
    try:
        return _rows(database, _AS_JSON, generation, where)
    except sqlite3.OperationalError as error:
        raise Malformed("a record is no JSON") from error


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
    return np.fromiter((line[0] for line in database.execute(sql, (first_row, end))), np.int64)


def record(database: sqlite3.Connection, row: int) -> Record | None:
    """The record of a row, dead or alive; None where it never was or was collected. Raises Malformed."""
    line = database.execute("SELECT * FROM items WHERE row = ?", (row,)).fetchone()
    if line is None:
        return None
    _, name, stamp, fields, born, _died, *proven = line
    if proven and not proof.is_sound((row, name, stamp, fields, born, *proven)):
        raise Malformed(f"the record of row {row} was changed")
    if not (isinstance(name, str) and isinstance(stamp, str)):
        raise Malformed(f"the record of row {row} has no name")
    return Record.read(name, stamp, fields)


def _fields(text: Any, name: str) -> dict[str, Any]:
    """The fields of a record. Unlike typed.parse it takes NaN, and little time."""
    try:
        if len(text) > typed.BYTES:
            raise Malformed("too large")
        fields = _DECODER.decode(text)
        _check_depth(text, fields)
        if isinstance(fields, dict):
            return fields
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"the record of {name} cannot be read ({error})") from error
    raise Malformed(f"the record of {name} has no fields")


def _written(fields: dict[str, Any], name: str) -> str:
    """The fields of an item as text. Raises ValueError for what could not be read again."""
    text = json.dumps(fields, allow_nan=False)
    if len(text) > typed.BYTES:
        raise ValueError(f"the fields of {name} take more than {typed.BYTES} bytes")
    try:
        _check_depth(text, fields)
    except Malformed as error:
        raise ValueError(f"the fields of {name} are {error}") from error
    return text


def _check_depth(text: str, fields: Any) -> None:
    if text.count("{") + text.count("[") > typed.DEPTH:  # seldom: the walk takes longer than the reading
        typed.check_depth(fields)


def stamps(database: sqlite3.Connection, generation: int) -> dict[str, str]:
    """id -> stamp of every item of that generation."""
    return _texts(database.execute(f"SELECT id, stamp FROM items WHERE {_SEEN}", (generation,)).fetchall())


def _texts(lines: list[tuple[Any, Any]]) -> dict[str, str]:
    if not all(isinstance(name, str) and isinstance(stamp, str) for name, stamp in lines):
        raise Malformed("an item has no name")
    return dict(lines)


def stamps_of(database: sqlite3.Connection, ids: Sequence[str]) -> dict[str, str]:
    """id -> stamp of those of these items that the last commit holds."""
    found: dict[str, str] = {}
    for start in range(0, len(ids), LOOKED_UP):
        some = ids[start : start + LOOKED_UP]
        sql = f"SELECT id, stamp FROM items WHERE died IS NULL AND id IN ({', '.join('?' * len(some))})"
        found.update(_texts(database.execute(sql, some).fetchall()))
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


def lines(records: Sequence[Record], vectors: np.ndarray) -> list[Line]:
    """What is stored of records and their rows (n, d). Raises ValueError for what could not be read again."""
    sums = proof.of_vectors(vectors)
    return [(each.id, each.stamp, each.text, vector) for each, vector in zip(records, sums, strict=True)]


# ---------------------------------------------------------------- within a transaction of the writer's


def insert(database: sqlite3.Connection, first_row: int, lines: Sequence[Line], generation: int) -> None:
    """Rows from the first on are born with these lines."""
    items = [(row, *line[:3], generation, line[3]) for row, line in enumerate(lines, first_row)]
    born = [(*item, proof.of_item(*item)) for item in items]
    database.executemany(f"INSERT INTO items ({proof.ITEM}) VALUES (?, ?, ?, ?, ?, ?, ?)", born)
    proof.count_born(database, (line[-1] for line in born))
    table.insert(database, ((row, line[2]) for row, line in enumerate(lines, first_row)))


def bury(database: sqlite3.Connection, ids: Iterable[str], generation: int) -> None:
    """These items die. Unknown ids are no error."""
    sql = "SELECT row FROM items WHERE id = ? AND died IS NULL"
    rows = [row for name in dict.fromkeys(ids) for (row,) in database.execute(sql, (name,))]
    database.executemany("UPDATE items SET died = ? WHERE row = ?", [(generation, row) for row in rows])
    proof.count_dead(database, rows, generation)


def bury_all(database: sqlite3.Connection, first_row: int, end: int, generation: int) -> None:
    """Every item from the first row on and before the end dies."""
    those = "row >= ? AND row < ? AND died IS NULL"
    rows = [row for (row,) in database.execute(f"SELECT row FROM items WHERE {those}", (first_row, end))]
    database.execute(f"UPDATE items SET died = ? WHERE {those}", (generation, first_row, end))
    proof.count_dead(database, rows, generation)


def buried(database: sqlite3.Connection, first_row: int, end: int, generation: int) -> list[Line]:
    """The lines of those that died in that generation, by their rows. Raises Malformed for what was not written."""
    sql = f"SELECT {proof.ITEM} FROM items WHERE row >= ? AND row < ? AND died = ? ORDER BY row"
    found = []
    for line in database.execute(sql, (first_row, end, generation)):
        if not proof.is_sound(line):
            raise Malformed(f"the record of row {line[0]} was changed")
        row, name, stamp, fields, _born, vector, _digest = line
        if "NaN" in fields or "Infinity" in fields:  # as older versions wrote, for which SQLite has no JSON
            fields = Record.read(name, stamp, fields).text
        found.append((name, stamp, fields, vector))
    return found


def forget(database: sqlite3.Connection, first_row: int, end: int) -> None:
    """Remove the items from the first row on and before the end, which are of segments that were replaced."""
    those = "FROM items WHERE row >= ? AND row < ?"
    gone = database.execute(f"SELECT row, died, digest {those}", (first_row, end)).fetchall()
    database.execute(f"DELETE {those}", (first_row, end))
    table.forget(database, first_row, end)
    proof.count_forgotten(database, gone)
