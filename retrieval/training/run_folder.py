"""The folder of a run before it begins: may it be written, what was it started with, is it the same data."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexes import durable, typed
from retrieval.datatypes import Pair
from retrieval.errors import BadRequest
from retrieval.settings import from_json
from retrieval.training.config import TrainConfig


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


def make(out: Path, config: TrainConfig) -> None:
    """A new run folder: it holds the configuration."""
    out.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(out / "config.json", json.dumps(dataclasses.asdict(config), indent=2).encode())


def digest(pairs: Sequence[Pair]) -> str:
    """16 hex digits of the pairs: which pictures with which captions, in their order."""
    hashed = hashlib.sha256()
    for pair in pairs:
        hashed.update(f"{pair.item.id}\0{pair.caption}\0".encode())
    return hashed.hexdigest()[:16]
