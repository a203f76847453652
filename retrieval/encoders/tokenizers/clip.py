"""CLIP's tokenizer as open_clip has it, compiled into a file, so that a query needs neither open_clip nor its tables.

open_clip builds a dictionary of 49,000 merges at each start, which takes longer than the query. Here they lie in an
SQLite file, and the few that a query's words need are looked up. The tokens are the same, in all scripts (tests).
"""

import contextlib
import functools
import html
import re
import sqlite3
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np

from indexes import foreign, forks, typed
from indexes.typed import Meta

_END = "</w>"
_MARKS = r"|'s|'t|'re|'ve|'m|'ll|'d|"
_WORDS = _MARKS + r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # of any script: the module `regex`
_ASCII_WORDS = _MARKS + r"[a-z]+|[0-9]|[^\sa-z0-9]+"  # the same where the text is ASCII
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def basic_clean(text: str) -> str:
    """Mojibake mended, HTML entities resolved twice, as CLIP was trained on."""
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.strip()  # ftfy would change nothing, and takes 30 ms to import
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def _lower(text: str) -> str:
    return _whitespace(text).lower()


def _whitespace(text: str) -> str:
    return " ".join(basic_clean(text).split())


def _canonicalize(text: str) -> str:
    return " ".join(basic_clean(text).replace("_", " ").translate(_NO_PUNCTUATION).lower().split())


CLEANERS: dict[str, Callable[[str], str]] = {
    "lower": _lower, "whitespace": _whitespace, "canonicalize": _canonicalize,
}  # fmt: skip


_TABLES = {"merges": ("pair", "rank"), "tokens": ("token", "id"), "facts": ("key", "value")}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the table of that name says. specials: the start and the end first, with | between."""

    context: Annotated[int, Meta(ge=2, le=1 << 16)]
    clean: Literal["lower", "whitespace", "canonicalize"]
    specials: Annotated[str, Meta(max_length=10_000)]


class Merges(Protocol):
    """What is read of open_clip's SimpleTokenizer, whose package has no types."""

    bpe_ranks: dict[tuple[str, str], int]
    encoder: dict[str, int]
    decoder: dict[int, str]
    all_special_ids: list[int]
    context_length: int


def compile_tokenizer(tokenizer: Merges, clean: str, file: Path) -> None:
    """Write what open_clip's SimpleTokenizer knows into an SQLite file. clean: the name in CLEANERS of its cleaning."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE merges (pair TEXT PRIMARY KEY, rank INTEGER) WITHOUT ROWID")
        database.execute("CREATE TABLE tokens (token TEXT PRIMARY KEY, id INTEGER) WITHOUT ROWID")
        database.execute("CREATE TABLE facts (key TEXT PRIMARY KEY, value)")
        database.executemany(
            "INSERT INTO merges VALUES (?, ?)", ((" ".join(pair), rank) for pair, rank in tokenizer.bpe_ranks.items())
        )
        database.executemany("INSERT INTO tokens VALUES (?, ?)", tokenizer.encoder.items())
        facts = {"context": tokenizer.context_length, "clean": clean}
        facts |= {"specials": "|".join(tokenizer.decoder[number] for number in tokenizer.all_special_ids)}
        database.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        database.commit()


class ClipTokenizer:
    """Texts to the token rows of open_clip's SimpleTokenizer, from a file that `compile_tokenizer` wrote.

    For any thread, and in a forked child too: the file does not change.
    """

    def __init__(self, file: Path) -> None:
        self._asking = forks.Lock(waited_for=True)  # SQLite has locks of its own, which a fork must find free
        self._database = foreign.open_read_only(file, _TABLES, lookups=True)
        facts = typed.checked(dict(self._database.execute("SELECT key, value FROM facts LIMIT 100")), _Facts)
        self.context = facts.context
        self._clean = CLEANERS[facts.clean]
        self._specials = facts.specials.split("|")
        self._first, self._last = (self._id(token) for token in self._specials[:2])
        self._rank = functools.lru_cache(1 << 16)(self._look_up)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, context): start, tokens, end, zeros. What is too long is cut, and ends with the end."""
        rows = np.zeros((len(texts), self.context), np.int64)
        for row, text in zip(rows, texts, strict=True):
            tokens = [self._first, *self._encode(text), self._last]
            row[: len(tokens)] = tokens[: self.context]
            if len(tokens) > self.context:
                row[-1] = self._last
        return rows

    def _encode(self, text: str) -> list[int]:
        text = self._clean(text)
        return [self._id(token) for word in self._words(text) for token in self._merged(word)]

    def _words(self, text: str) -> list[str]:
        if text.isascii():
            return re.findall("|".join(self._specials) + _ASCII_WORDS, text, re.IGNORECASE)
        import regex

        return regex.findall("|".join(self._specials) + _WORDS, text, regex.IGNORECASE)

    def _merged(self, word: str) -> list[str]:
        """A word as the tokens that byte-pair encoding leaves: the pair of the lowest rank is joined first."""
        if word in self._specials:
            return [word]
        symbols = _byte_symbols()
        parts = [symbols[byte] for byte in word.encode("utf-8")]
        parts[-1] += _END
        while len(parts) > 1:
            ranks = [self._rank(f"{left} {right}") for left, right in zip(parts, parts[1:], strict=False)]
            best = min((rank for rank in ranks if rank is not None), default=None)
            if best is None:
                break
            parts = _join(parts, ranks, best)
        return parts

    def _look_up(self, pair: str) -> int | None:
        """The rank of a pair of symbols, "th e" say; None where they are never joined."""
        with self._asking:
            found = self._database.execute("SELECT rank FROM merges WHERE pair = ?", (pair,)).fetchone()
        return found and found[0]

    def _id(self, token: str) -> int:
        with self._asking:
            return self._database.execute("SELECT id FROM tokens WHERE token = ?", (token,)).fetchone()[0]


def _join(parts: list[str], ranks: list[int | None], best: int) -> list[str]:
    """All pairs of that rank joined, from left to right."""
    joined, place = [], 0
    while place < len(parts):
        pair = place < len(ranks) and ranks[place] == best
        joined.append(parts[place] + parts[place + 1] if pair else parts[place])
        place += 2 if pair else 1
    return joined


@functools.cache
def _byte_symbols() -> list[str]:
    """A printable character for each byte, as GPT-2 chose them: its own where it has one, else from 256 on."""
    own = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in own else next(others)) for byte in range(256)]
