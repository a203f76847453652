"""A table of pictures for people to write captions into, which `mmr train` reads as it is.

Spreadsheets take a csv for UTF-8 where it begins with a byte order mark, and a cell for a formula where it begins with
one of `= + - @`: a path then begins with `./`, a caption with a blank, and both are read as before.
"""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from cli.output import target
from indexes import durable
from retrieval.errors import BadRequest
from retrieval.search.sample import Chosen

HEADER = ("image", "caption")
_FORMULA = tuple("=+-@\t\r")


def check(file: Path, option: str, force: bool) -> None:
    """Raise BadRequest where the table must not be written: captions may have been written into one that is there."""
    if file.suffix.lower() != ".csv":
        raise BadRequest(f"{file} does not end in .csv, as tables do: give {option} {file}.csv")
    target.check(file, option, force=True)
    if file.exists() and not force:
        raise BadRequest(f"{file} is there already, and may hold captions: give another name, or add --force")


def write(file: Path, chosen: Sequence[Chosen]) -> None:
    """A row for each picture, or for each caption of one that has some. Raises OSError."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    folder = os.path.realpath(file.parent)
    for one in chosen:
        picture = _path(one.path, folder)
        rows.writerows([picture, _caption(caption)] for caption in one.captions or ("",))
    durable.make_folder(file.parent)
    durable.write_bytes(file, text.getvalue().encode("utf-8-sig"))


def _path(path: str, folder: str) -> str:
    """As it is named from the folder of the table, unless they have nothing but the root of the disk in common."""
    try:
        if os.path.commonpath([path, folder]) == Path(folder).anchor:
            return path
    except ValueError:  # two drives
        return path
    relative = Path(os.path.relpath(path, folder)).as_posix()
    return f"./{relative}" if relative.startswith(_FORMULA) else relative


def _caption(text: str) -> str:
    return f" {text}" if text.startswith(_FORMULA) else text
