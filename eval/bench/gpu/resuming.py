"""A run that is stopped half way and goes on, beside one that was not stopped, and beside that one again.

On a CPU all three are the same bit for bit. On a GPU some sums are added in any order, so two runs may differ without
any stop: what a stop adds is judged by that.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from eval.bench.gpu import towers
from eval.bench.gpu.place import Figure, Place, distance
from retrieval.datatypes import Pair
from retrieval.training import recipes
from retrieval.training.config import TrainConfig
from retrieval.training.loop import train

Weights = dict[str, Tensor]


def figures(place: Place) -> Iterator[Figure]:
    """In float32, then with bfloat16 towers."""
    steps = place.sized(20, 4)
    for precision in ("fp32", "bf16"):
        config = dataclasses.replace(
            place.sized(recipes.demo, recipes.smoke)(), batch_size=16, epochs=steps / 2, image_size=32, crop=0.5,
            ema=0.9, word_dropout=0.2, checkpoints=0, device=place.device, precision=precision,
        )  # fmt: skip
        once, again = (_weights(place.folder / f"{precision}-{name}", config, steps) for name in ("once", "again"))
        stopped = _weights(place.folder / f"{precision}-stopped", config, steps, stop_at=steps // 2)
        usual = _distance(again, once)
        yield Figure(f"{precision}: the same run twice", usual, "relative", _said(again, once))
        yield Figure(f"{precision}: stopped half way", _distance(stopped, once), "relative", _said(stopped, once),
                     most=10 * usual)  # fmt: skip


def _weights(out: Path, config: TrainConfig, steps: int, stop_at: int = 0) -> Weights:
    """The weights of a run of so many steps; with `stop_at`, of one that was stopped there and then went on."""
    pairs = [Pair(item, towers.CAPTIONS[i]) for i, item in enumerate(towers.items(32, 48))]
    if stop_at:
        done = iter(range(1, steps + 1))
        part = train(pairs, out, config, should_stop=lambda: next(done) == stop_at)
        assert (part.finished, part.steps) == (False, stop_at)
    result = train(pairs, out, config, resume=bool(stop_at))
    assert (result.finished, result.steps) == (True, steps)
    return {name: tensor.detach().cpu() for name, tensor in result.encoder.state_dict().items()}


def _distance(found: Weights, right: Weights) -> float:
    return max(distance(found[name], tensor) for name, tensor in right.items())


def _said(found: Weights, right: Weights) -> str:
    same = sum(torch.equal(found[name], tensor) for name, tensor in right.items())
    return f"{same} of {len(right)} tensors are the same bit for bit"
