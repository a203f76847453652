"""SQLite files that other hands may have written: their schema is compared, and their work has bounds.

A file that is sent can hold a view that never ends in place of a table, a trigger, or a cell of a gigabyte.
"""

import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from indexes.typed import Malformed

CELL = 64 << 20  # bytes of the longest text or blob
STATEMENT_SECONDS = 30.0  # that one statement may take before it gives a row
_STEPS = 100_000  # of SQLite's machine between two looks at the clock


def open_read_only(file: Path, tables: Mapping[str, Iterable[str]], *, lookups: bool = False) -> sqlite3.Connection:
    """Open a database of which only some tables are read.

    Args:
        file: Its path.
        tables: Name -> the columns that it must have; it may have others.
        lookups: It does not change while it is open, and any thread may read it.

    Returns:
        The connection, guarded. Close it.

    Raises:
        Malformed: It is no database, or one of them is no table of these columns.
    """
    mode = "mode=ro&immutable=1" if lookups else "mode=ro"
    database = sqlite3.connect(f"{file.absolute().as_uri()}?{mode}", uri=True, check_same_thread=not lookups)
    try:
        guard(database)
        database.execute("PRAGMA schema_version")  # reads the file: sqlite3.connect has not
        for name, columns in tables.items():
            require_table(database, name, columns)
    except sqlite3.Error as error:
        database.close()
        raise Malformed(f"no database that can be read ({error})") from error
    except BaseException:
        database.close()
        raise
    return database


def guard(database: sqlite3.Connection, seconds: float = STATEMENT_SECONDS) -> None:
    """Bound what the content of a database can make SQLite do: no function by its schema, no endless statement."""
    limit(database, CELL)
    database.set_trace_callback(watch(database, seconds).start)


def limit(database: sqlite3.Connection, cell: int) -> None:
    """No function is called by its schema, no page is believed unseen, and no cell is longer than so many bytes."""
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, cell)


def watch(database: sqlite3.Connection, seconds: float) -> "Clock":
    """What runs longer than that since its clock was started is ended."""
    clock = Clock(seconds)
    database.set_progress_handler(clock.is_over, _STEPS)
    return clock


def require_table(database: sqlite3.Connection, name: str, columns: Iterable[str]) -> None:
    """Raise Malformed unless there is a real table of that name with these columns, and no trigger on it."""
    kinds = database.execute("SELECT type FROM sqlite_schema WHERE tbl_name = ? COLLATE NOCASE", (name,)).fetchall()
    if ("table",) not in kinds or ("view",) in kinds or ("trigger",) in kinds:
        raise Malformed(f"it has no plain table `{name}`")
    # A column that is computed can compute forever.
    there = {line[1] for line in database.execute(f'PRAGMA table_xinfo("{name}")') if line[6] == 0}
    if missing := [column for column in columns if column not in there]:
        raise Malformed(f"its table `{name}` has no column `{missing[0]}`")


class Clock:
    """Since when something runs. `start` it before each statement, or before some that belong together."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._started = seconds, time.monotonic()

    def start(self, _statement: str = "") -> None:
        """It runs from now on."""
        self._started = time.monotonic()

    def is_over(self) -> bool:
        """Has it run too long?"""
        return time.monotonic() - self._started > self._seconds
