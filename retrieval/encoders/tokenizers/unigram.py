"""sentencepiece's unigram model as USE has it, compiled into a file: the likeliest way to cut a text into known pieces.

A text is normalized (charsmap.py), its spaces become `▁`, and of all cuts into pieces the one with the highest sum of
scores is taken, the earlier start where two are equal. Few texts are cut here, with their words' pieces looked up in an
SQLite file, so that a query need not read the table; many go through `tokenizers`, which is given the table once. The
ids are the same, but that `tokenizers` makes one token of unknown characters beside each other, which is undone; a text
that spells the unknown token itself is cut here.
"""

import functools
import hashlib
import itertools
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np

from indexes import durable, foreign, forks, typed
from indexes.typed import Malformed, Meta
from retrieval.encoders.tokenizers.charsmap import BYTES, Charsmap
from retrieval.encoders.tokenizers.rows import pad

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.db"
SPACE = "▁"
UNKNOWN, FIRST, LAST = 0, 1, 2
CONTEXT = 1 << 13  # tokens of the longest text
_LESS = 10.0  # than the lowest score is that of an unknown character
_MANY = 1 << 14  # characters from which on it is worth it to read the whole table
_AT_ONCE = 4096  # pieces looked up by one statement
_TABLES = {"pieces": ("piece", "id", "score"), "facts": ("key", "value"), "charsmap": ("content",)}
_SEGMENTS = re.compile(f"{SPACE}?[^{SPACE}]*")

_Place = tuple[tuple[int, int, float], ...]  # the pieces that begin there: characters, id, score


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the table of that name says. longest: characters of a piece; lowest: its score's."""

    count: Annotated[int, Meta(ge=3, le=1 << 24)]
    longest: Annotated[int, Meta(ge=1, le=256)]
    lowest: Annotated[float, Meta(ge=-1e6, le=0)]
    context: Annotated[int, Meta(ge=3, le=1 << 16)]


class UnigramTokenizer:
    """Texts to token rows: the first, the pieces, the last; what is longer than the context is cut before the last.

    For any thread, and in a forked child too: the file does not change. Raises Malformed for a file that is none.
    """

    kind = "unigram"

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._asking = forks.Lock(waited_for=True)  # SQLite has locks of its own, which a fork must find free
        self._reading = forks.Lock()
        facts = typed.checked(dict(database.execute("SELECT key, value FROM facts LIMIT 100")), _Facts)
        self.context, self._count = facts.context, facts.count
        self._longest, self._unknown = facts.longest, facts.lowest - _LESS
        self._charsmap = Charsmap(_blob(database))
        self._segment = functools.lru_cache(1 << 14)(self._places)
        self._table: Tokenizer | None = None

    @classmethod
    def open(cls, file: Path, sha256: str) -> Self:
        """From a file that `save` wrote, which is still that: by its SHA-256."""
        if not file.is_file():
            raise Malformed(f"{file.name} is gone")
        with file.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
                raise Malformed(f"{file.name} is not what was written")
        database = foreign.open_read_only(file, _TABLES, lookups=True)
        try:
            return cls(database)
        except BaseException as error:
            database.close()
            if isinstance(error, sqlite3.Error):
                raise Malformed(f"no tokenizer ({error})") from error
            raise

    @classmethod
    def compile(cls, pieces: Sequence[tuple[str, float]], charsmap: bytes, context: int = CONTEXT) -> Self:
        """From the pieces with their scores, by their ids, and a charsmap (sentencepiece.py)."""
        names = [piece for piece, _ in pieces]
        if len(pieces) < 3 or len({*names}) < len(names) or any(SPACE in name[1:] for name in names):
            raise Malformed("a model whose pieces are told twice, or reach over words")
        database = sqlite3.connect(":memory:", check_same_thread=False)
        database.execute("CREATE TABLE pieces (piece TEXT PRIMARY KEY, id INTEGER, score REAL) WITHOUT ROWID")
        database.execute("CREATE TABLE facts (key TEXT PRIMARY KEY, value) WITHOUT ROWID")
        database.execute("CREATE TABLE charsmap (content BLOB)")
        rows = sorted((piece, number, score) for number, (piece, score) in enumerate(pieces))
        database.executemany("INSERT INTO pieces VALUES (?, ?, ?)", rows)
        facts = {"count": len(pieces), "longest": max(map(len, names)), "lowest": min(score for _, score in pieces)}
        database.executemany("INSERT INTO facts VALUES (?, ?)", (facts | {"context": context}).items())
        database.execute("INSERT INTO charsmap VALUES (?)", (charsmap,))
        database.commit()
        return cls(database)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write tokenizer.db; its SHA-256."""
        with self._asking:
            content = self._database.serialize()
        durable.write_bytes(folder / FILE, content)
        return {"sha256": hashlib.sha256(content).hexdigest()}

    def content(self) -> bytes:
        """What decides its tokens, as bytes that are the same wherever it was made."""
        digest = hashlib.sha256()
        with self._asking:
            for statement in (
                "SELECT piece, id, score FROM pieces ORDER BY piece", "SELECT key, value FROM facts ORDER BY key",
                "SELECT content FROM charsmap",
            ):  # fmt: skip
                for row in self._database.execute(statement):
                    digest.update(repr(row).encode())
        return digest.digest()

    def __len__(self) -> int:
        return self._count

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it does not change

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, length of the longest), filled with PAD; at least one column."""
        return pad(self.rows(texts))

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without padding."""
        lines = [self._normalized(text) for text in texts]
        many = self._table is not None or sum(map(len, lines)) > _MANY
        cut = self._cut_many(lines) if many else [self._cut(line) for line in lines]
        return [[FIRST, *(ids or [UNKNOWN])[: self.context - 2], LAST] for ids in cut]

    def _normalized(self, text: str) -> str:
        """As the pieces are spelled, and no longer than the context can be."""
        most = self.context * self._longest
        words = self._charsmap.normalize(text[:most])
        return (SPACE + words.replace(" ", SPACE)).rstrip(SPACE)[:most]

    # ---------------------------------------------------------------- few

    def _cut(self, line: str) -> list[int]:
        """The likeliest cut. To each place comes the best piece that ends there; of two as good, the longer."""
        scores = [0.0] + [-np.inf] * len(line)
        came = [(0, UNKNOWN)] * (len(line) + 1)
        segments = _SEGMENTS.findall(line)
        for place, pieces in enumerate(itertools.chain.from_iterable(map(self._segment, segments))):
            for length, number, score in pieces:
                if (total := scores[place] + score) > scores[place + length]:
                    scores[place + length], came[place + length] = total, (place, number)
        ids, place = [], len(line)
        while place:
            place, number = came[place]
            ids.append(number)
        return ids[::-1]

    def _places(self, segment: str) -> list[_Place]:
        """The pieces that begin at each place of a segment, shorter ones first; an unknown character is one too."""
        reach = range(1, self._longest + 1)
        spans = [[segment[at : at + n] for n in reach[: len(segment) - at]] for at in range(len(segment))]
        known = self._look_up(sorted({*itertools.chain.from_iterable(spans)}))
        return [
            tuple(
                (len(span), *known.get(span, (UNKNOWN, self._unknown)))
                for span in those
                if span in known or len(span) == 1
            )
            for those in spans
        ]

    def _look_up(self, spans: list[str]) -> dict[str, tuple[int, float]]:
        found: dict[str, tuple[int, float]] = {}
        for start in range(0, len(spans), _AT_ONCE):
            part = spans[start : start + _AT_ONCE]
            statement = f"SELECT piece, id, score FROM pieces WHERE piece IN ({','.join('?' * len(part))})"
            with self._asking:
                found |= {piece: self._checked(*row) for piece, *row in self._database.execute(statement, part)}
        return found

    def _checked(self, number: Any, score: Any) -> tuple[int, float]:
        """As a table must have them: an id that is none is the unknown one, and unlikely."""
        if type(number) is int and 0 <= number < self._count and type(score) is float and score <= 0:
            return number, score
        return UNKNOWN, self._unknown

    # ---------------------------------------------------------------- many

    def _cut_many(self, lines: list[str]) -> list[list[int]]:
        encoded = self._whole_table().encode_batch(lines, add_special_tokens=False)
        return [
            one.ids if UNKNOWN not in one.ids else self._cut(line) if self._spelled in line
            else _apart(one.ids, one.tokens) for line, one in zip(lines, encoded, strict=True)
        ]  # fmt: skip

    def _whole_table(self) -> "Tokenizer":
        with self._reading:
            if self._table is None:
                from tokenizers import Tokenizer, models

                with self._asking:
                    read = self._database.execute("SELECT piece, id, score FROM pieces ORDER BY id").fetchall()
                if [number for _, number, _ in read] != [*range(self._count)]:
                    raise Malformed("a tokenizer whose pieces are not counted from 0 on")
                self._spelled = read[UNKNOWN][0]  # "<unk>", which a text may hold too
                self._table = Tokenizer(models.Unigram([(piece, score) for piece, _, score in read], UNKNOWN))
            return self._table


def _apart(ids: list[int], tokens: list[str]) -> list[int]:
    """Unknown characters beside each other, of which `tokenizers` makes one token, as a token each."""
    apart: list[int] = []
    for number, token in zip(ids, tokens, strict=True):
        apart += [number] * (len(token) if number == UNKNOWN else 1)
    return apart


def _blob(database: sqlite3.Connection) -> bytes:
    found = database.execute("SELECT content FROM charsmap WHERE length(content) <= ? LIMIT 1", (BYTES,)).fetchone()
    if found is None or not isinstance(found[0], bytes):
        raise Malformed("a tokenizer without a charsmap")
    return found[0]
