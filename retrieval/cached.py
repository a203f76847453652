"""What the user's cache holds: encoders exported for queries (runtime.py), and the weights of presets.

All of it may be removed at any time: it is made again, or downloaded again, when it is next needed.
"""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieval import confidence, runtime
from retrieval.presets import PRESETS

DAY = 86_400.0  # seconds


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


def downloads() -> dict[str, int]:
    """Preset -> bytes of its weights in the model hub's cache, for those that are there."""
    import huggingface_hub

    try:
        found = {repository.repo_id: repository for repository in huggingface_hub.scan_cache_dir().repos}
    except huggingface_hub.errors.CacheNotFound:
        return {}
    return {name: found[preset.hub].size_on_disk for name, preset in PRESETS.items() if preset.hub in found}


def _exported() -> Iterator[Cached]:
    place = runtime.cache_folder()
    for folder in filter(Path.is_dir, place.iterdir() if place.is_dir() else ()):
        files = [file.stat() for file in folder.rglob("*") if file.is_file()]
        used = max((status.st_mtime for status in files), default=folder.stat().st_mtime)
        yield Cached(folder, _name(folder), sum(status.st_size for status in files), used)


def _name(folder: Path) -> str | None:
    """The name in an exported encoder's manifest; None for what is half made or damaged."""
    if folder.name.startswith(runtime.PARTIAL):
        return None
    try:
        return json.loads((folder / runtime.MANIFEST).read_text())["name"] or "unnamed"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measured() -> Iterator[Cached]:
    """What the prompts of confidence.py get from an index, a file for each state of it."""
    for file in confidence.folder().glob("*.npy"):
        status = file.stat()
        yield Cached(file, None, status.st_size, max(status.st_mtime, status.st_atime))
