"""The answers as files of a folder, `001_name.jpg` in the order of their ranks: made whole or not at all."""

import os
import shutil
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from cli.output import target
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest, ImageError
from retrieval.sources.allowed import Allowed

_NAME_MAX = 255  # bytes of a name, where the file system does not say
_ENDING = 16  # bytes of what counts as a name's ending
_JOINER = "\N{ZERO WIDTH JOINER}"


def check(folder: Path, option: str) -> None:
    """Raise BadRequest where the folder cannot be made: nothing is ever overwritten."""
    target.check_place(folder, option)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise BadRequest(f"{folder} is there already: give a folder that is new or empty")
    if not folder.absolute().parent.is_dir():
        raise BadRequest(f"no folder {folder.absolute().parent}: make it first")


def make(folder: Path, found: Sequence[Hit], allowed: Allowed, link: bool) -> list[tuple[str, str]]:
    """Copy the files of the hits, or link to them; (uri, reason) of those that cannot be.

    Where that is all of them, no folder is made. Raises OSError from the disk.
    """
    left: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".mmr-") as beside:
        made = Path(beside, "made")
        made.mkdir()
        for hit in found:
            try:
                source = allowed.file(hit)
            except ImageError as error:
                left.append((hit.uri, str(error)))
                continue
            place = made / fitted(f"{hit.rank:0{max(3, len(str(len(found))))}d}_", Path(hit.uri).name, name_max(made))
            place.symlink_to(source) if link else shutil.copy2(source, place)
        if len(left) < len(found):
            made.rename(folder)
    return left


def name_max(folder: Path) -> int:
    """Bytes that a name in that folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows, a file system that does not say
        return _NAME_MAX


def fitted(before: str, name: str, most: int) -> str:
    """A name with something before it, cut to that many bytes between two characters; its ending is kept."""
    stem, ending = Path(name).stem, Path(name).suffix
    if _bytes(ending) > _ENDING:
        stem, ending = name, ""
    cut = stem
    while cut and _bytes(before + cut + ending) > most:
        cut = cut[:-1]
    while cut and len(cut) < len(stem) and _belongs(stem[len(cut)], cut[-1]):
        cut = cut[:-1]
    return before + cut + ending


def _belongs(letter: str, before: str) -> bool:
    """Is a code point part of the character before it?"""
    return bool(unicodedata.category(letter).startswith("M")) or _JOINER in (letter, before)


def _bytes(name: str) -> int:
    return len(os.fsencode(name))
