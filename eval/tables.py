"""Table: what is told in rows, as text in columns. The page shows the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

WIDEST = 44  # characters of a first cell


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells.

    Attributes:
        title: What is told.
        header: A name for each column.
        rows: As many cells each, as they are to be read.
        notes: Lines below it.
        words: How many of the last columns are words, which stand at the left; numbers stand at the right.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=tuple)
    words: int = 0

    def __str__(self) -> str:
        cells = [[_short(row[0]), *row[1:]] for row in (self.header, *self.rows)]
        wide = [max(len(row[column]) for row in cells) for column in range(len(self.header))]
        at_left = {0, *range(len(wide) - self.words, len(wide))}
        lines = [
            "  ".join(
                cell.ljust(width) if column in at_left else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, wide, strict=True))
            )
            for row in cells
        ]
        return "\n".join([self.title, *(f"  {line.rstrip()}" for line in lines), *self.notes])


def _short(text: str) -> str:
    """The end of a path tells more than its beginning."""
    return text if len(text) <= WIDEST else f"...{text[3 - WIDEST :]}"
