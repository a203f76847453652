"""What a person did or has that cannot work. Every message is one line that ends with the next thing to do."""

from collections.abc import Sequence


class RetrievalError(Exception):
    """Something outside the program is not as it must be; `str()` is the line a person reads."""


class BadRequest(RetrievalError):
    """The words of the request do not make sense: a column, a field, a name, an empty source."""


class NothingReadable(BadRequest):
    """A source of which nothing can be used. skipped: (uri, reason) of what was tried, for the skip list."""

    def __init__(self, message: str, skipped: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.skipped = list(skipped)


class MissingModel(RetrievalError):
    """An encoder cannot be had: no such run, no such weights, no network."""


class ImageError(RetrievalError):
    """One picture cannot be used; `str()` is the short reason for the skip list."""


def first_line(error: Exception) -> str:
    """An error's reason, cut to one line of a message."""
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def did_you_mean(names: Sequence[str], otherwise: str) -> str:
    """What to type instead: the names that are near, or else what is said."""
    return f"did you mean {' or '.join(names)}?" if names else otherwise
