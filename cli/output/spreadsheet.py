"""A table of pictures for people to write captions into, which `mmr train` reads as it is. No cell is a formula."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from cli.output import target
from indexes import durable
from retrieval.errors import BadRequest
from retrieval.exchange import cells
from retrieval.search.sample import Chosen

HEADER = ("image", "caption")


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
        rows.writerows([picture, cells.text(caption)] for caption in one.captions or ("",))
    durable.make_folder(file.parent)
    durable.write_bytes(file, text.getvalue().encode(cells.ENCODING))


def _path(path: str, folder: str) -> str:
    """As it is named from the folder of the table, unless they have nothing but the root of the disk in common."""
    try:
        if os.path.commonpath([path, folder]) == Path(folder).anchor:
            return path
    except ValueError:  # two drives
        return path
    return cells.path(Path(os.path.relpath(path, folder)).as_posix())
