"""Rows by the words in them: the best by BM25, what a query weighs, and which of its words a row has.

FTS5 counts the rows that died as well; here the living ones count.
"""

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from indexes.fulltext.words import Term, Words

_AT_ONCE, _FARTHER = 1000, 10  # answers that are looked at first; times as many, where too few of them count
_COUNTED = 2000  # rows of a word that are told from those that died
_MOST_RANKED = 2_000_000  # rows, each for each of its words


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
    """Those that must be there, and the rarest others, at least one, as many as are ranked in a second or so: two
    hundred words that every row has would hold a server for minutes."""
    looked_at = 0
    for term, one in sorted(zip(terms, weights, strict=True), key=lambda both: (not both[0].must, both[1].rows)):
        looked_at += one.rows
        if term.must or looked_at <= max(_MOST_RANKED, one.rows):
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
