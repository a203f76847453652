"""The answers as files of a folder, `001_name.jpg` in the order of their ranks: made whole or not at all."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cli.output.hits import file_of
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest


def check(folder: Path) -> None:
    """Raise BadRequest where the folder cannot be made: nothing is ever overwritten."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise BadRequest(f"{folder} is there already: give a folder that is new or empty")
    if not folder.absolute().parent.is_dir():
        raise BadRequest(f"no folder {folder.absolute().parent}: make it first")


def make(folder: Path, found: Sequence[Hit], link: bool) -> None:
    """Copy the files of the hits, or link to them. Raises BadRequest for one that is gone, OSError from the disk."""
    check(folder)
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".mmr-") as beside:
        made = Path(beside, "made")
        made.mkdir()
        for hit in found:
            source = Path(file_of(hit))
            if not source.is_file():
                raise BadRequest(f"{source} is gone: run `mmr index` again, then search again")
            target = made / f"{hit.rank:0{max(3, len(str(len(found))))}d}_{source.name}"
            target.symlink_to(source.absolute()) if link else shutil.copy2(source, target)
        made.rename(folder)
