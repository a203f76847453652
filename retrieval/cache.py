"""The user's cache folder: where it is, what lies there, and making room in it.

    query/FINGERPRINT/       an encoder exported for queries (encoders/query_encoder.py)
    background/STATE.npy     what the bank of prompts gets from an index (search/confidence.py)
    heads/KEY.safetensors    vectors of labelled rows (heads/inputs.py)
    features/KEY.safetensors what frozen towers make of pairs (training/features.py)
    matplotlib/              its list of this machine's fonts

All of it may be removed at any time: it is made again when it is next needed.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexes import typed
from indexes.typed import Malformed
from retrieval.errors import BadRequest

QUERY, BACKGROUND, HEADS, FEATURES = "query", "background", "heads", "features"  # its parts
MANIFEST = "manifest.json"  # of an exported encoder, written last
PARTIAL = ".partial-"  # how the names of folders in the making start
DAY = 86_400.0  # seconds


def home() -> Path:
    """The user's home folder: $HOME where that is an absolute path, else what the system says. Raises BadRequest."""
    if sys.platform == "win32":
        return Path.home()
    said = Path(os.environ.get("HOME", ""))
    if said.is_absolute():
        return said
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise BadRequest("no home folder is known of this user: set HOME, or MMR_CACHE and MMR_CONFIG") from None


def base(variable: str, otherwise: str) -> Path:
    """A folder of the XDG standard: what the variable says, if that is an absolute path, else that one in the home."""
    said = Path(os.environ.get(variable, ""))
    return said if said.is_absolute() else home() / otherwise


def folder(part: str = "") -> Path:
    """A part of the cache, or all of it: $MMR_CACHE, else `mmr` in $XDG_CACHE_HOME or ~/.cache. It may not be there."""
    given = os.environ.get("MMR_CACHE")
    return (Path(given) if given else base("XDG_CACHE_HOME", ".cache") / "mmr") / part


def keep_matplotlib() -> None:
    """Have matplotlib, where it is not imported yet, keep its list of fonts here (MPLCONFIGDIR, if nobody set it)."""
    if "matplotlib" in sys.modules or os.environ.get("MPLCONFIGDIR"):
        return
    with suppress(BadRequest):  # no home: a temporary folder, which matplotlib makes
        os.environ["MPLCONFIGDIR"] = str(folder("matplotlib").absolute())


@dataclass(frozen=True, slots=True)
class Cached:
    """A part of the cache. name: of the encoder; None for what is none.

    size: bytes on disk. used: the last time, seconds since 1970.
    """

    path: Path
    name: str | None
    size: int
    used: float


def encoders() -> list[Cached]:
    """The encoders exported for queries, the last used first."""
    return sorted((one for one in _exported() if one.name is not None), key=lambda one: -one.used)


def prune(days: float) -> list[Cached]:
    """Remove what was not used for that many days, and what was left half made; what was removed.

    Something half made may be in the making: it is left for a day.
    """
    now = time.time()
    old = [
        one for one in (*_exported(), *_measured())
        if now - one.used >= DAY * (days if one.name is not None or one.path.is_file() else 1)
    ]  # fmt: skip
    for one in old:
        if one.path.is_dir():
            shutil.rmtree(one.path)
        else:
            one.path.unlink()
    return old


def _exported() -> Iterator[Cached]:
    place = folder(QUERY)
    try:
        there = [one for one in place.iterdir() if one.is_dir()]
    except OSError:  # there is none, or it is another user's
        return
    for one in there:
        files = [file.stat() for file in one.rglob("*") if file.is_file()]
        used = max((status.st_mtime for status in files), default=one.stat().st_mtime)
        yield Cached(one, _name(one), sum(status.st_size for status in files), used)


def _name(exported: Path) -> str | None:
    """The name in an exported encoder's manifest; None for what is half made or damaged."""
    if exported.name.startswith(PARTIAL):
        return None
    try:
        said = typed.read(exported / MANIFEST, dict[str, Any])
        return str(said["name"]) or "unnamed"
    except (OSError, Malformed, KeyError):
        return None


def _measured() -> Iterator[Cached]:
    """What the bank of prompts gets from an index, a file for each state of it."""
    for file in folder(BACKGROUND).glob("*.npy"):
        status = file.stat()
        yield Cached(file, None, status.st_size, max(status.st_mtime, status.st_atime))
