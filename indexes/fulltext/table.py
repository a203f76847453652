"""The table of words: its schema, what a commit changes of it, what is asked of it, and is it what the records say.

It is derived from the records and in their transactions, so it is never behind them. It holds the rows that died too,
as long as their records are there: a reader on an older state is answered from it as well.
"""

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from indexes.errors import StoreError
from indexes.fulltext import texts
from indexes.fulltext.words import Term, Words

Database = sqlite3.Connection
_DECODER = json.JSONDecoder()
_BLOCK = 5000  # records that are looked at together
_AT_ONCE, _FARTHER = 1000, 10  # answers that are looked at first; times as many, where too few of them count
_COUNTED = 2000  # rows of a word that are told from those that died
_MOST_RANKED = 2_000_000  # rows, each for each of its words
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


# ---------------------------------------------------------------- asked


@dataclass(frozen=True, slots=True)
class Living:
    """Rows that did not die. count: how many. among: given rows int64 (n,), which of them, bool (n,)."""

    count: int
    among: Callable[[np.ndarray], np.ndarray]


def nearest(
    database: sqlite3.Connection, asked: Words, k: int, living: Living, held: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The k best rows of those that are held, with their scores: int64 (n,), float32 (n,), the best first.

    The score is BM25 as Lucene has it (k1 = 1.2, b = 0.75; Robertson and Zaragoza, 2009; `_rarity`), positive. held:
    given rows (n,), which of them count, bool (n,).
    """
    weights = _weights(database, asked, living)
    count = max(k, _AT_ONCE)
    while True:
        lines = _ranked(database, asked, weights, count)
        rows = np.array([row for row, _ in lines], np.int64)
        kept = held(rows)
        if kept.sum() >= k or len(lines) < count:
            return rows[kept][:k], np.array([score for _, score in lines], np.float32)[kept][:k]
        count *= _FARTHER


def weight(database: sqlite3.Connection, asked: Words, living: Living) -> float:
    """The score of a row of usual length that has every wanted word once: the sum of their weights.

    A word that no row has counts as the rarest of all, so a row that has the others only is far from it.
    """
    return sum(one.rarity for one in _weights(database, asked, living))


class _Weight(NamedTuple):
    """Of a term. rarity: what it weighs; of_fts5: what it weighs to SQLite; rows: how many have it."""

    rarity: float
    of_fts5: float
    rows: int


def _weights(database: sqlite3.Connection, asked: Words, living: Living) -> list[_Weight]:
    """Of each term. Rows that died are in the table until they are collected, and count for SQLite alone."""
    (count,) = database.execute("SELECT count(*) FROM words_docsize").fetchone()
    sql = "SELECT count(*) FROM words WHERE words MATCH ?"
    found = []
    for term in asked.terms:
        (n,) = database.execute(sql, (term.expression,)).fetchone()
        alive = n if count == living.count else _living(database, term, n, living)
        odds = math.log((count - n + 0.5) / (n + 0.5))
        found.append(_Weight(_rarity(living.count, alive), max(odds, 0.0) or 1e-6, n))
    return found


def _rarity(count: int, n: int) -> float:
    """The weight of a word that n of `count` rows have, above 0 (Lucene's BM25Similarity)."""
    return math.log1p((count - min(n, count) + 0.5) / (n + 0.5))


def _living(database: sqlite3.Connection, term: Term, n: int, living: Living) -> int:
    """How many of the n rows that have a term live: of so many of them, and of all alike."""
    sql = "SELECT rowid FROM words WHERE words MATCH ? AND rowid % ? = 0"
    rows = np.array(database.execute(sql, (term.expression, n // _COUNTED + 1)).fetchall(), np.int64).reshape(-1)
    return round(n * float(living.among(rows).mean())) if len(rows) else n


def _ranked(
    database: sqlite3.Connection, asked: Words, weights: Sequence[_Weight], most: int
) -> list[tuple[int, float]]:
    """The best rows and their scores; ties go to the lower row, as those of vectors do.

    FTS5 ranks by another weight of rare words than Lucene, under which what half of all rows have counts for nothing.
    So each word is ranked alone, brought to the other weight, and SQLite adds them up.
    """
    given: list[float | str] = []
    for term, one in _affordable(asked.terms, weights):
        given += [one.rarity / one.of_fts5, term.expression]
    each = ["SELECT rowid AS row, -rank * ? AS score FROM words WHERE words MATCH ?"] * (len(given) // 2)
    within = ""
    if asked.without or any(term.must for term in asked.terms):
        within = "WHERE row IN (SELECT rowid FROM words WHERE words MATCH ?)"
        given.append(asked.expression)
    sql = f"SELECT row, sum(score) AS score FROM ({' UNION ALL '.join(each)}) {within} GROUP BY row"
    return database.execute(f"{sql} ORDER BY score DESC, row LIMIT ?", (*given, most)).fetchall()


def _affordable(terms: Sequence[Term], weights: Sequence[_Weight]) -> Iterator[tuple[Term, _Weight]]:
    """The rarest terms, at least one, as many as are ranked in a second or so: two hundred words that every row has
    would hold a server for minutes."""
    looked_at = 0
    for term, one in sorted(zip(terms, weights, strict=True), key=lambda both: both[1].rows):
        looked_at += one.rows
        if looked_at > max(_MOST_RANKED, one.rows):
            return
        yield term, one


def matched(database: sqlite3.Connection, asked: Words, rows: Sequence[int]) -> list[tuple[str, ...]]:
    """What of a query each of some rows has, as it was typed: neighbors as one where they stand so in the row too."""
    having = [(term, _having(database, term, rows)) for term in asked.terms] if len(rows) else []
    found = [asked.groups(tuple(term for term, those in having if row in those)) for row in rows]
    return [
        tuple(part for group in groups for part in _parts(database, asked, group, row))
        for row, groups in zip(rows, found, strict=True)
    ]


def _parts(database: sqlite3.Connection, asked: Words, group: tuple[Term, ...], row: int) -> list[str]:
    together = asked.together(group)
    if len(group) == 1 or _having(database, together, [row]):
        return [together.shown]
    return [term.shown for term in group]


def _having(database: sqlite3.Connection, term: Term, rows: Sequence[int]) -> set[int]:
    """Those of some rows that have a term: each looked at, or where each look would gather all words that begin so, all
    rows between them at once."""
    if term.prefix:
        sql = "SELECT rowid FROM words WHERE words MATCH ? AND rowid >= ? AND rowid <= ?"
        those = database.execute(sql, (term.expression, min(rows), max(rows)))
        return {row for (row,) in those} & set(rows)
    sql = "SELECT 1 FROM words WHERE words MATCH ? AND rowid = ?"
    return {row for row in rows if database.execute(sql, (term.expression, row)).fetchone()}


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
