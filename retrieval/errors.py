"""Errors that a person can cause and mend. Every message is one line that ends with the next thing to do."""

from collections.abc import Sequence


class RetrievalError(Exception):
    """What all errors of this package share: catch it for "something that the caller can mend".

    `str(error)` is one line for people that ends with the next thing to type. `mmr` prints it and exits with 2 or 3.
    Errors of an index are `indexes.StoreError`.
    """


class BadRequest(RetrievalError):
    """What was asked for makes no sense: an unknown column, field or name, a value out of range, an empty source."""


class NothingReadable(BadRequest):
    """A source of which nothing can be used. skipped: (uri, reason) of what was tried, for the skip list."""

    def __init__(self, message: str, skipped: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.skipped = list(skipped)


class MissingModel(RetrievalError):
    """An encoder cannot be loaded: no such run, a damaged one, no such weights, or no network to fetch them."""


class ImageError(RetrievalError):
    """One picture cannot be used; the others go on. `str(error)` is the short reason of the skip list."""


def first_line(error: Exception) -> str:
    """An error's reason, cut to one line of a message."""
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def did_you_mean(names: Sequence[str], otherwise: str) -> str:
    """What to type instead: the names that are near, or else what is said."""
    return f"did you mean {' or '.join(names)}?" if names else otherwise
