"""The folder of a run before it begins: may it be written, what was it started with, is it the same data."""

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexes import durable, typed
from retrieval.datatypes import Pair
from retrieval.encoders import presets
from retrieval.errors import BadRequest, MissingModel
from retrieval.settings import from_json
from retrieval.training.config import TrainConfig

PLACES = ("encoder", "teacher")  # settings that name encoders, which may have been moved


def check(out: Path, resume: bool) -> None:
    """An existing run is only touched to resume it, and nothing else is ever written over. Raises BadRequest."""
    is_run = (out / "config.json").is_file()
    if out.exists() and not out.is_dir():
        raise BadRequest(f"{out} is a file: give another --out")
    if resume and not is_run:
        raise BadRequest(f"{out} holds no run to resume: leave out --resume")
    if not resume and is_run:
        raise BadRequest(f"{out} holds a run already: go on with --resume, or give another --out")
    if not resume and out.is_dir() and any(out.iterdir()):
        raise BadRequest(f"{out} is not empty: give another --out")


def config_of(run: Path | str) -> TrainConfig:
    """Read the settings that a run was started with.

    Args:
        run: A run folder, finished or not.

    Returns:
        What its config.json holds; settings that are younger than the run have their defaults.

    Raises:
        BadRequest: The folder holds no run, or its config.json cannot be used.
    """
    try:
        return from_json(TrainConfig, typed.read(Path(run) / "config.json", dict[str, Any]))
    except FileNotFoundError:
        raise BadRequest(f"{run} holds no run to resume: leave out --resume") from None
    except (ValueError, TypeError) as error:
        raise BadRequest(f"{run}/config.json cannot be used ({error}): give another --out") from error


def require_places(out: Path, config: TrainConfig) -> None:
    """Raise MissingModel where an encoder that the run began with, or is taught by, is not where it was."""
    for option, names in (("--model RUN", [config.encoder]), ("--set teacher=RUN", config.teacher.split(","))):
        for name in filter(None, names):
            if presets.is_gone(name):
                command = f"mmr train SOURCE --out {shlex.quote(str(out))} --resume {option}"
                raise MissingModel(f"{out} was begun with {name}, which is gone: say where it is now with `{command}`")


def remember_places(out: Path, config: TrainConfig) -> None:
    """Write down where the encoders of a run are now; the other settings are as they were when it began."""
    before = config_of(out)
    named = [name for name in PLACES if getattr(before, name)]
    if before.generations > 1:  # its later ones are taught by those before, which lie in the run's folder
        named = [name for name in named if name != "teacher"]
    now = dataclasses.replace(before, **{name: getattr(config, name) for name in named})
    if now != before:
        make(out, now)


def make(out: Path, config: TrainConfig) -> None:
    """Write the configuration of a run; its folder is made where it is new."""
    out.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(out / "config.json", json.dumps(dataclasses.asdict(config), indent=2).encode())


def digest(pairs: Sequence[Pair]) -> str:
    """16 hex digits of the pairs: which pictures with which captions, in their order."""
    hashed = hashlib.sha256()
    for pair in pairs:
        hashed.update(f"{pair.item.id}\0{pair.caption}\0".encode())
    return hashed.hexdigest()[:16]
