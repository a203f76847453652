"""Cells of a csv as spreadsheets read them: no formula, whatever anybody's caption or file begins with.

They take a csv for UTF-8 where it begins with a byte order mark, and a cell for a formula where it begins with one of
`= + - @`: a path then begins with `./`, another text with a blank. What reads captions from it reads them as before.
"""

ENCODING = "utf-8-sig"
_FORMULA = tuple("=+-@\t\r")


def path(name: str) -> str:
    """The path of a file, relative to anything."""
    return f"./{name}" if name.startswith(_FORMULA) else name


def text(said: str) -> str:
    """Any other text."""
    return f" {said}" if said.startswith(_FORMULA) else said
