"""The settings of a configuration as a table on a terminal: name, default, range and meaning, in groups."""

import itertools
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from retrieval.settings import Row

WIDTH, _NARROW = 100, 70  # columns of the table: at most, and at least
_RANGE = 26  # of those, for what a setting takes
_GAP = "  "


def text(rows: Sequence[Row], width: int = WIDTH) -> str:
    """The table, each line at most `width` columns; what is longer goes on below, in its own column."""
    cells = [("setting", "default", "takes", "meaning"), *((r.name, r.default or "nothing", r.takes, "") for r in rows)]
    widths = [max(len(cell[place]) for cell in cells) for place in range(3)]
    widths[2] = min(widths[2], _RANGE)
    widths.append(width - sum(widths) - 3 * len(_GAP))
    lines = ["Change one with --set NAME=VALUE. A default of nothing is an empty VALUE.", "", *_lines(cells[0], widths)]
    for group, members in itertools.groupby(rows, lambda row: row.group):
        lines += ["", group]
        for row in members:
            lines += _lines((row.name, row.default or "nothing", row.takes, row.meaning), widths)
    return "\n".join(lines)


def _lines(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """One row: as many lines as its longest cell has."""
    wrapped = [
        textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]
        for cell, width in zip(cells, widths, strict=True)
    ]
    for parts in itertools.zip_longest(*wrapped, fillvalue=""):
        yield _GAP.join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()


def terminal_width() -> int:
    """Columns there are for it: those of the terminal, within reason."""
    return max(_NARROW, min(WIDTH, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else WIDTH
