"""The table of words: its schema, what a commit changes of it, and is it what the records say (ranking.py asks it).

It is derived from the records and in their transactions, so it is never behind them. It holds the rows that died too,
as long as their records are there: a reader on an older state is answered from it as well.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any

from indexes.errors import StoreError
from indexes.fulltext import texts

Database = sqlite3.Connection
_DECODER = json.JSONDecoder()
_BLOCK = 5000  # records that are looked at together
_MARK = (1 << 61) - 1  # sums of occurrences are modulo this
# `M*`: without it unicode61 ends a word of Hindi at each vowel sign. `So`: emoji.
SCHEMA = (
    f"CREATE VIRTUAL TABLE words USING fts5({', '.join(texts.COLUMNS)}, "
    "tokenize=\"porter unicode61 remove_diacritics 2 categories 'L* N* M* Co So'\")"
)
_INSERT = "INSERT INTO words (rowid, said, named, told, read) VALUES (?, ?, ?, ?, ?)"


def create(database: sqlite3.Connection) -> None:
    """Make the table, with the words of all records there are. Raises StoreError where this SQLite has no FTS5."""
    try:
        database.execute(SCHEMA)
    except sqlite3.OperationalError as error:
        if "fts5" not in str(error):
            raise
        raise StoreError(
            "the SQLite of this Python was built without FTS5, which mmr needs: install Python from python.org, conda "
            "or your system, then try again"
        ) from error
    for lines in _records(database):
        insert(database, lines)


def insert(database: sqlite3.Connection, lines: Iterable[tuple[int, str]]) -> None:
    """Rows came: their numbers, and their fields as JSON."""
    database.executemany(_INSERT, ((row, *_of(fields)) for row, fields in lines))


def forget(database: sqlite3.Connection, first_row: int, end: int) -> None:
    """The records from the first row on and before the end are removed."""
    database.execute("DELETE FROM words WHERE rowid >= ? AND rowid < ?", (first_row, end))


@contextmanager
def made_of(lines: Iterable[tuple[int, str]]) -> Iterator[sqlite3.Connection]:
    """Such a table of other rows, which is gone afterwards; in memory, and on disk where it is large."""
    with closing(sqlite3.connect("")) as database:
        database.execute(SCHEMA)
        insert(database, lines)
        yield database


def renew(database: sqlite3.Connection) -> None:
    """Make it again from the records, in a transaction."""
    database.execute("DROP TABLE words")
    create(database)


def _of(fields: str) -> tuple[str, str, str, str]:
    try:
        said = _DECODER.decode(fields)
    except (ValueError, TypeError, RecursionError):  # a damaged record, which is told where it is read
        said = None
    return texts.of(said) if isinstance(said, dict) else ("", "", "", "")


def _records(database: sqlite3.Connection) -> Iterator[list[tuple[int, str]]]:
    """(row, fields) of all records, some at a time."""
    last = -1
    while lines := database.execute(
        "SELECT row, fields FROM items WHERE row > ? ORDER BY row LIMIT ?", (last, _BLOCK)
    ).fetchall():
        yield lines
        last = lines[-1][0]


# ---------------------------------------------------------------- compared


def problems(database: sqlite3.Connection) -> list[str]:
    """Is it what the records say, and is its index what it says? A line a problem. In a transaction."""
    found = []
    if [name for (name,) in database.execute("SELECT k FROM words_config")] != ["version"]:
        found.append("they are set up in another way than mmr does")
    if any(_differ(database, lines) for lines in _records(database)) or _count(database) != _of_items(database):
        found.append("the words of some items are not those of their records")
    if not found:
        with made_of(chain.from_iterable(_records(database))) as anew:
            found += [] if _indexed(database) == _indexed(anew) else ["words are not found where they stand"]
    return found


def _differ(database: sqlite3.Connection, lines: Sequence[tuple[int, str]]) -> bool:
    sql = "SELECT rowid, said, named, told, read FROM words WHERE rowid >= ? AND rowid <= ? ORDER BY rowid"
    there = database.execute(sql, (lines[0][0], lines[-1][0])).fetchall()
    return there != [(row, *_of(fields)) for row, fields in lines]


def _count(database: sqlite3.Connection) -> int:
    return database.execute("SELECT count(*) FROM words").fetchone()[0]


def _of_items(database: sqlite3.Connection) -> int:
    return database.execute("SELECT count(*) FROM items").fetchone()[0]


def _indexed(database: sqlite3.Connection) -> tuple[int, int, list[Any]]:
    """What BM25 is made of: sums over every word, of which row and where, and over the lengths of rows; all lengths."""
    database.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.occurrences USING fts5vocab('main', 'words', 'instance')")
    every = database.execute("SELECT term, doc, col, offset FROM temp.occurrences")
    lengths = database.execute("SELECT id, sz FROM words_docsize")
    total = [block for (block,) in database.execute("SELECT block FROM words_data WHERE id = 1")]
    total = [b"" if isinstance(one, bytes) and not any(one) else one for one in total]  # of no row: zeros, or nothing
    return sum(map(hash, every)) % _MARK, sum(map(hash, lengths)) % _MARK, total
