"""Which files an encoder's name stands for: while they are as they were, its fingerprint is known without loading.

source.json, in the folder of an exported encoder, has what it was loaded of, the last time at the end: a list of
{"architecture", "stamps": {file: its stamp}, "version": of this program}. The same files are the same encoder, whatever
it is called.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from indexes import distribution, durable, typed
from indexes.typed import Malformed
from retrieval import cache, hub
from retrieval.encoders import builtin
from retrieval.encoders.presets import PRESETS

FILE = "source.json"
MOST = 8  # places that are remembered: a run may have been copied


@dataclass(frozen=True, slots=True)
class _Source:
    architecture: str
    stamps: dict[str, str]
    version: str


def fingerprint(name: str) -> str | None:
    """That of the encoder of a name, where it is known without loading it."""
    if name == builtin.NAME:
        return builtin.fingerprint()
    wanted = _source(name)
    if wanted is None:
        return None
    for file in sorted(cache.folder(cache.QUERY).glob(f"*/{FILE}")):
        if wanted in _read(file):
            return file.parent.name
    return None


def remember(name: str, folder: Path) -> None:
    """Write down of what the encoder in an exported folder was loaded. Raises OSError."""
    if source := _source(name):
        known = [*(one for one in _read(folder / FILE) if one != source), source][-MOST:]
        durable.write_bytes(folder / FILE, json.dumps([asdict(one) for one in known]).encode())


def _read(file: Path) -> list[_Source]:
    try:
        return typed.read(file, list[_Source])
    except (OSError, Malformed):
        return []


def _source(name: str) -> _Source | None:
    """None where it is not known which files it has, or one of them is gone."""
    architecture, files = _files(name)
    try:
        stamps = {file.name: _stamp(file) for file in files}
    except OSError:
        return None
    return _Source(architecture, stamps, distribution.version()) if stamps else None


def _files(name: str) -> tuple[str, list[Path]]:
    """What is built, "" where the files say it, and the files."""
    if Path(name).is_dir():
        return "", [file for file in sorted(Path(name).iterdir()) if _is_of_encoder(file)]
    preset = PRESETS.get(name) or next((one for one in PRESETS.values() if one.model == name), None)
    if preset:
        return preset.model, hub.cached(preset.hub, hub.OPEN_CLIP)
    scheme, _, rest = name.partition(":")
    architecture, _, file = rest.partition("/")
    return architecture, [Path(file)] if scheme == "open_clip" and Path(file).is_file() else []


def _is_of_encoder(file: Path) -> bool:
    """Is it what a run's encoder is read from?"""
    return file.name.startswith(("encoder.", "tokenizer"))


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"
