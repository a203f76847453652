"""The proof of mmr.db: a digest of each item, sums of them, and a seal over all that is small.

    items.digest     of what never changes of an item: its row, id, stamp, fields, birth, and the checksum of its vector
    proof.items      the sum of all digests
    proof.dead       the sum of a mark for each row that died, in segments that are read
    proof.deaths     the sum of a mark for each row that died and when, also in segments that were replaced
    proof.sha256     the seal: SHA-256 of manifest, segments, and these sums

Sums are modulo 2**64, so a commit adds and takes away what it changes, and opening costs the same whatever the store
holds: it compares the seal, and the marks of the dead rows, which it reads anyway. A record is compared when it is
read; `problems` and `changed` compare everything.
"""

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from indexes.typed import Malformed

_WORD = 1 << 64
_READ = 50_000  # items at a time
ITEM = "row, id, stamp, fields, born, vector, digest"  # what `is_sound` takes, in order


def of_vectors(rows: np.ndarray) -> list[int]:
    """The checksum of each row (n, d): CRC-32 of its float16 bytes."""
    return [zlib.crc32(memoryview(row)) for row in np.ascontiguousarray(rows, "<f2").view(np.uint8)]


def of_item(row: int, id: str, stamp: str, fields: str, born: int, vector: int | None) -> int:
    """The digest of an item, as SQLite keeps an integer. Raises TypeError where a text is none."""
    said = f"{row} {born} {vector} {len(id)} {len(stamp)} " + id + stamp + fields
    digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def is_sound(line: Sequence[Any]) -> bool:
    """Does a line of items, with the columns of ITEM, match its digest?"""
    try:
        return of_item(*line[:-1]) == line[-1]
    except TypeError:
        return False


def of_dead(rows: np.ndarray) -> int:
    """The sum of the marks of rows (n,)."""
    return of_deaths(rows, np.zeros(len(rows), np.int64))


def of_deaths(rows: np.ndarray, died: np.ndarray) -> int:
    """The sum of the marks of rows (n,) that died in these generations (n,)."""
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ died.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
    return int(np.sum(mixed ^ mixed >> np.uint64(31), dtype=np.uint64))


# ---------------------------------------------------------------- compared


def require(database: sqlite3.Connection) -> None:
    """Raise Malformed where manifest, segments or sums are not those of a commit. In a transaction."""
    if _sealed(database) != _line(database)[3]:
        raise Malformed("manifest and segments are not what was committed")


def require_dead(database: sqlite3.Connection, found: int) -> None:
    """Raise Malformed where this is not the sum of the marks of the rows that died, in segments that are read."""
    if found % _WORD != _line(database)[1] % _WORD:
        raise Malformed("the rows that are marked as deleted are not those that were")


def problems(database: sqlite3.Connection) -> list[str]:
    """Compare the sums with what they are of: a line a problem. In a transaction."""
    found: list[str] = []
    said = _line(database)
    lines, total = database.execute("SELECT digest FROM items"), 0
    while some := lines.fetchmany(_READ):
        total += sum(digest for (digest,) in some if isinstance(digest, int))
    if total % _WORD != said[0] % _WORD:
        found.append("the items are not those that were committed")
    if _marks_of_dead(database) != said[1] % _WORD:
        found.append("the rows that are marked as deleted are not those that were")
    if _marks_of_deaths(database) != said[2] % _WORD:
        found.append("what is said of when rows were deleted is not what was committed")
    return found if _sealed(database) == said[3] else [*found, "manifest and segments are not what was committed"]


def changed(database: sqlite3.Connection) -> list[int]:
    """The rows whose records are not what was written. It takes long, so it reads them in short transactions."""
    found: list[int] = []
    last = -1
    while True:
        sql = f"SELECT {ITEM} FROM items WHERE row > ? ORDER BY row LIMIT {_READ}"
        lines = database.execute(sql, (last,)).fetchall()
        if not lines:
            return found
        found += [line[0] for line in lines if not is_sound(line)]
        last = lines[-1][0]


def _sealed(database: sqlite3.Connection) -> str:
    manifest = database.execute("SELECT key, value FROM manifest ORDER BY key").fetchall()
    segments = database.execute("SELECT id, first_row, rows, sha256, retired FROM segments ORDER BY id").fetchall()
    try:
        said = json.dumps([manifest, segments, _line(database)[:3]])
    except TypeError as error:  # a blob
        raise Malformed(f"manifest and segments are not what was committed ({error})") from error
    return hashlib.sha256(said.encode()).hexdigest()


def _line(database: sqlite3.Connection) -> tuple[int, int, int, str]:
    lines = database.execute("SELECT items, dead, deaths, sha256 FROM proof").fetchall()
    if len(lines) != 1 or not all(isinstance(value, int) for value in lines[0][:3]):
        raise Malformed("its proof is not what was committed")
    return lines[0]


def _marks_of_dead(database: sqlite3.Connection) -> int:
    # From the table, not from an index of it: an index that says otherwise is found by SQLite's own check.
    sql = (
        "SELECT i.row FROM segments AS s, items AS i NOT INDEXED WHERE s.retired IS NULL"
        " AND i.row >= s.first_row AND i.row < s.first_row + s.rows AND i.died IS NOT NULL"
    )
    return of_dead(np.array([row for (row,) in database.execute(sql)], np.int64))


def _marks_of_deaths(database: sqlite3.Connection) -> int:
    lines, total = database.execute("SELECT row, died FROM items NOT INDEXED WHERE died IS NOT NULL"), 0
    while some := lines.fetchmany(_READ):
        total += _of_lines(some)
    return total % _WORD


def _of_lines(lines: Sequence[tuple[int, int]]) -> int:
    if not all(isinstance(died, int) for _, died in lines):
        return 0  # no generation: it cannot be the sum that was committed
    found = np.array(lines, np.int64).reshape(-1, 2)
    return of_deaths(found[:, 0], found[:, 1])


# ---------------------------------------------------------------- within a transaction of the writer's


def begin(database: sqlite3.Connection) -> None:
    """The proof of what a store holds now, which has none yet."""
    digests = sum(digest for (digest,) in database.execute("SELECT digest FROM items"))
    values = [_signed(total) for total in (digests, _marks_of_dead(database), _marks_of_deaths(database))]
    database.execute("INSERT INTO proof VALUES (?, ?, ?, '')", values)


def count_born(database: sqlite3.Connection, digests: Iterable[int]) -> None:
    """Items with these digests came."""
    _change(database, items=sum(digests))


def count_dead(database: sqlite3.Connection, rows: Sequence[int], generation: int) -> None:
    """These rows, of segments that are read, died in that generation."""
    numbers = np.array(rows, np.int64)
    _change(database, dead=of_dead(numbers), deaths=of_deaths(numbers, np.full(len(rows), generation)))


def count_retired(database: sqlite3.Connection) -> None:
    """All segments that were read are replaced."""
    database.execute("UPDATE proof SET dead = 0")


def count_forgotten(database: sqlite3.Connection, lines: Sequence[tuple[int, int, int]]) -> None:
    """Items of replaced segments are forgotten: their rows, generations of death, and digests."""
    deaths = _of_lines([(row, died) for row, died, _ in lines])
    _change(database, items=-sum(digest for *_, digest in lines if isinstance(digest, int)), deaths=-deaths)


def seal(database: sqlite3.Connection) -> None:
    """The last thing that a commit does: the seal over what it leaves."""
    database.execute("UPDATE proof SET sha256 = ?", (_sealed(database),))


def _change(database: sqlite3.Connection, items: int = 0, dead: int = 0, deaths: int = 0) -> None:
    before = _line(database)[:3]
    after = [_signed(was + more) for was, more in zip(before, (items, dead, deaths), strict=True)]
    database.execute("UPDATE proof SET items = ?, dead = ?, deaths = ?", after)


def _signed(total: int) -> int:
    """Modulo 2**64, as SQLite keeps it."""
    return (total + _WORD // 2) % _WORD - _WORD // 2
