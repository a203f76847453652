"""Errors that a person can cause and mend. Every message is one line that ends with the next thing to do."""

from collections.abc import Sequence
from pathlib import Path


class RetrievalError(Exception):
    """What all errors of this package share: catch it for "something that the caller can mend".

    `str(error)` is one line for people that ends with the next thing to type. `mmr` prints it and exits with 2 or 3.
    Errors of an index are `indexes.StoreError`.
    """


class BadRequest(RetrievalError):
    """What was asked for makes no sense: an unknown column, field or name, a value out of range, an empty source."""


class NoCaptions(BadRequest):
    """Captions were asked for, and no item has one."""


class NothingReadable(BadRequest):
    """A source of which nothing can be used.

    Args:
        message: The line for people.
        skipped: (uri, reason) of what was tried, for the skip list; an attribute too.
    """

    def __init__(self, message: str, skipped: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.skipped = list(skipped)

    def __reduce__(self) -> tuple[type, tuple[str, list[tuple[str, str]]]]:
        """Other processes hear of it too."""
        return type(self), (str(self), self.skipped)


class NothingThere(BadRequest):
    """A source that is gone, or holds nothing: it may be that its disk is not there.

    Args:
        message: The line for people.
        folder: Which one; None where the source is no folder.
    """

    def __init__(self, message: str, folder: Path | None = None) -> None:
        super().__init__(message)
        self.folder = folder

    def __reduce__(self) -> tuple[type, tuple[str, Path | None]]:
        """Other processes hear of it too."""
        return type(self), (str(self), self.folder)


class MissingModel(RetrievalError):
    """An encoder cannot be loaded: no such run, a damaged one, no such weights, or no network to fetch them."""


class ImageError(RetrievalError):
    """One picture cannot be used; the others go on. `str(error)` is the short reason of the skip list."""


class Unreachable(ImageError):
    """A picture cannot be read now: its disk, share or server fails. Its bytes may be as good as ever."""


class NoPictures(ImageError):
    """A file that is called a clip and has sound alone: what hears takes it."""


class NeedsLibrary(ImageError):
    """A picture or a clip of a kind that needs one more library: `str(error)` ends with how it is installed."""


def first_line(error: Exception) -> str:
    """An error's reason, as a part of a message of one line.

    Args:
        error: Any error, of another library above all.

    Returns:
        The first line of its text, at most 120 characters; the name of its type where it has no text.
    """
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def did_you_mean(names: Sequence[str], otherwise: str) -> str:
    """The end of a message about a name that is not known.

    Args:
        names: The known names that are like it, best first.
        otherwise: What is said where there are none.

    Returns:
        "did you mean A or B?", or `otherwise`.
    """
    return f"did you mean {' or '.join(names)}?" if names else otherwise
