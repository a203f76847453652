"""Files and folders that a person names for mmr to write: what may be written over, and where nothing may be put.

A file that is there already is written over only where mmr wrote it, which its mark says, or with --force. Nothing is
ever put inside an index, a run or a head, whose files are theirs alone.
"""

import os
import stat
from pathlib import Path

from retrieval.errors import BadRequest

MARK = "written by mmr"  # stands in a file's metadata, near its beginning or its end
_LOOKED_AT = 4096  # bytes at each end
_LONGEST = 255 - len(".partial")  # bytes of a name: it is written beside under a longer one
# A folder with these files is one of ours.
_OWN = (
    (("mmr.db",), "the index"), (("shards.json",), "the shards"), (("encoder.json",), "the run"),
    (("config.json", "log.jsonl"), "the run"), (("head.json",), "the head"),
)  # fmt: skip


def check(path: Path, option: str, force: bool = False) -> None:
    """Raise BadRequest where that file must not be written. force: it may replace a file that mmr did not write."""
    check_place(path, option)
    try:
        kind = path.stat().st_mode
    except OSError:  # nothing is there; what else may be wrong, writing says
        return
    if stat.S_ISDIR(kind):
        raise BadRequest(f"{path} is a folder: name a file in it, as in {option} {path / 'FILE'}")
    if not stat.S_ISREG(kind):
        raise BadRequest(f"{path} is no plain file: give another name for {option}")
    if not (force or _is_marked(path)):
        raise BadRequest(f"{path} is there already, and mmr did not write it: give another name, or add --force")


def check_place(path: Path, option: str) -> None:
    """Raise BadRequest where nothing may be put: inside an index, a run or a head, or below what is no folder."""
    if len(os.fsencode(path.name)) > _LONGEST:
        raise BadRequest(f"the name of {option} is too long: give one of at most {_LONGEST} bytes")
    for folder in path.absolute().parents:
        if folder.exists() and not folder.is_dir():
            raise BadRequest(f"{folder} is no folder: give another name for {option}")
    for folder in path.absolute().parent.resolve().joinpath(path.name).parents:
        if what := _whose(folder):
            raise BadRequest(f"{path} lies inside {what} {folder}, which is kept as it is: give another {option}")


def _whose(folder: Path) -> str | None:
    return next((what for names, what in _OWN if all((folder / name).is_file() for name in names)), None)


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        begin = file.read(_LOOKED_AT)
        file.seek(max(0, path.stat().st_size - _LOOKED_AT))
        return MARK.encode() in begin or MARK.encode() in file.read(_LOOKED_AT)
