"""What those who index and search are given to say how far they are, and what is called where nobody listens."""

from collections.abc import Callable

OnProgress = Callable[[int, int], None]  # (done, total)
OnMessage = Callable[[str], None]  # a line for a person


def no_progress(done: int, total: int) -> None:
    """The OnProgress that does nothing."""


def no_message(text: str) -> None:
    """The OnMessage that does nothing."""
