"""Pictures in the terminal, through textual-image: the terminal's own way (Sixel, Kitty), else colored blocks."""

import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from cli.output import show
from cli.output.hits import line
from indexes import distribution
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest, ImageError
from retrieval.sources.allowed import Allowed

_WIDTH, _SIDE = 40, 640  # columns of a picture, and pixels that it is decoded to at least
_BLIND = "--preview cannot ask this terminal what it shows: use --html FILE"


def check() -> None:
    """Raise BadRequest where no picture can be shown: the terminal is asked now, before anything stands on it."""
    if not (sys.stdout.isatty() and os.get_terminal_size(sys.stdout.fileno()).columns):  # some have no size
        raise BadRequest("--preview draws on a terminal, and stdout is none: use --html FILE")
    if importlib.util.find_spec("textual_image") is None:
        raise BadRequest(f"--preview needs textual-image: {distribution.install('preview')}, or use --html FILE")
    _renderable()


def draw(found: Sequence[Hit], allowed: Allowed) -> list[tuple[str, str]]:
    """Each hit as its line and its picture; (uri, reason) of those that cannot be shown. Raises BadRequest."""
    from rich.console import Console

    console, picture_of = Console(), _renderable()
    left: list[tuple[str, str]] = []
    for hit in found:
        show.out(line(hit))
        try:
            picture = allowed.picture(hit, _SIDE)
        except ImageError as error:
            left.append((hit.uri, str(error)))
            continue
        picture.thumbnail((_SIDE, _SIDE))
        try:
            console.print(picture_of(picture, width=min(_WIDTH, console.width)))
        except (ValueError, ArithmeticError) as error:  # what it answered is no size
            raise BadRequest(_BLIND) from error
    return left


def _renderable() -> Any:
    """The class of a picture on this terminal, which is asked what it can do: it has a tenth of a second to answer.

    One that is silent shows blocks, which the library logs with a traceback: its log is not for people. Raises
    BadRequest where it cannot be asked, as where stdin is no terminal, or answers something else.
    """
    logging.getLogger("textual_image").setLevel(logging.CRITICAL)
    try:
        from textual_image.renderable import Image
    except Exception as error:  # termios, decoding, numbers: whatever a terminal makes of a question
        raise BadRequest(_BLIND) from error
    return Image
