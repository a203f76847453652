"""Generations: a run whose teacher is a run before it, of the same settings (born-again networks, Furlanello 2018).

    train(pairs, "runs/mine", replace(config, generations=2))

Each generation before the last has a folder in the run, `generation-1` and so on, and is an encoder like any other.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from retrieval.encoders.encoder import MANIFEST
from retrieval.errors import BadRequest
from retrieval.training import run_folder
from retrieval.training.config import TrainConfig
from retrieval.training.distributed import ranks
from retrieval.training.result import TrainResult


def in_turn(
    train_one: Callable[[Path, TrainConfig, bool], TrainResult], out: Path, config: TrainConfig, resume: bool
) -> TrainResult:
    """Train as many generations as the config says; the result is the last one's, or that of the one that was stopped.

    train_one(folder, config, resume) trains one. Stopped or killed anywhere, `resume` goes on with the generation that
    it was at. Raises what `train_one` does, and BadRequest for several generations in several processes.
    """
    if config.generations == 1:
        return train_one(out, config, resume)
    if ranks.processes() > 1:
        raise BadRequest("generations are for one process: train them one by one, with --set teacher=RUN")
    run_folder.check(out, resume)
    if not resume:
        run_folder.make(out, config)
    alone = dataclasses.replace(config, generations=1)
    for number in range(1, config.generations):
        folder = out / f"generation-{number}"
        if not (folder / MANIFEST).is_file():
            begun = (folder / "config.json").is_file()
            result = train_one(folder, alone, begun)
            if not result.finished:
                return result
        alone = dataclasses.replace(alone, teacher=str(folder))
    return train_one(out, alone, True)
