"""Texts compared without regard to case and to how marks are spelled, in SQL too."""

import sqlite3
import unicodedata

NAME = "mmr_fold"  # of `fold` in SQL, of a value cast to a blob


def teach(database: sqlite3.Connection) -> None:
    """Give a connection the function that conditions use."""
    database.create_function(NAME, 1, _of_bytes, deterministic=True)


def _of_bytes(content: bytes | None) -> str | None:
    """Names may hold bytes that are no text."""
    return None if content is None else fold(content.decode("utf-8", "replace"))


def fold(text: str) -> str:
    """A text as `contains` and `like` compare it: neither case nor how marks are spelled (NFC, NFD) differs."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
