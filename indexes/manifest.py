"""What every manifest says, checked when it is read; what else stands in one is checked by those who read that."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from indexes import typed
from indexes.typed import Malformed

_MOST = 1000  # keys


@dataclass(frozen=True, slots=True)
class _Always:
    """dim: numbers in a row. generation: of commits. next_row: no row has that number or a higher one."""

    dim: typed.Size
    generation: typed.Natural
    next_row: typed.Natural


def read(database: sqlite3.Connection) -> dict[str, Any]:
    """The values by their keys. Raises Malformed where it is none."""
    lines = database.execute("SELECT key, value FROM manifest LIMIT ?", (_MOST,)).fetchall()
    found = {typed.checked(key, str): typed.parse(typed.checked(value, str), Any) for key, value in lines}
    typed.checked({key: value for key, value in found.items() if key in _Always.__slots__}, _Always)
    return found


def require_fitting(manifest: dict[str, Any], segments: list[tuple[int, int, int]]) -> None:
    """Raise Malformed unless segments (number, first row, rows), by their rows, may be of a store that says this."""
    if segments and sum(segments[-1][1:]) > manifest["next_row"]:
        raise Malformed(f"segment {segments[-1][0]} is of rows that were not given yet")
