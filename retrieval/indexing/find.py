"""The folder of an index, found from where one stands. Costs no NumPy."""

from pathlib import Path

from indexes import NotAnIndex

FOLDER = ".mmr"


def find_index(start: Path | str = ".") -> Path:
    """Find the index of a folder as git finds a repository: its `.mmr`, or that of the nearest parent that has one.

    Args:
        start: The folder to begin with.

    Returns:
        The absolute path of the `.mmr`.

    Raises:
        NotAnIndex: Neither the folder nor any of its parents has one.
    """
    start = Path(start).absolute()
    for folder in (start, *start.parents):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    raise NotAnIndex(f"no {FOLDER} in {start} or its parents: make one with `mmr index`, or give --index")
