"""Pictures in the terminal, through textual-image: the terminal's own way (Sixel, Kitty), else colored blocks."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.output import show
from cli.output.hits import nearby
from indexes import distribution
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest, ImageError

_WIDTH, _SIDE = 40, 640  # columns of a picture, and pixels that it is decoded to at least


def check() -> None:
    """Raise BadRequest where no picture can be shown."""
    if not (sys.stdout.isatty() and os.get_terminal_size(sys.stdout.fileno()).columns):  # some have no size
        raise BadRequest("--preview draws on a terminal, and stdout is none: use --html FILE")
    if importlib.util.find_spec("textual_image") is None:
        raise BadRequest(f"--preview needs textual-image: {distribution.install('preview')}, or use --html FILE")


def draw(found: Sequence[Hit]) -> None:
    """Each hit as its line and its picture."""
    from rich.console import Console
    from textual_image.renderable import Image  # it asks the terminal what it can do

    from retrieval.images import load

    console = Console()
    for hit in found:
        show.out(f"{hit.rank:>4}  {hit.score:6.3f}  {nearby(hit.path, hit.uri)}")
        try:
            picture = load.decode(Path(hit.path or ""), at_least=_SIDE)
        except ImageError as error:
            show.note(f"{hit.uri}: {error}")
            continue
        picture.thumbnail((_SIDE, _SIDE))
        console.print(Image(picture, width=min(_WIDTH, console.width)))
