"""Pictures a second of a training step: of a large tower, whose share of the peak counts, and of a whole small run."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from eval.bench.gpu import device, towers
from eval.bench.gpu.place import Figure, Place
from retrieval import engine
from retrieval.datatypes import Pair
from retrieval.encoders.encoder import DualEncoder
from retrieval.losses.contrastive import info_nce
from retrieval.training import recipes
from retrieval.training.config import TrainConfig
from retrieval.training.dataset import Batch
from retrieval.training.loop import train
from retrieval.training.optimizer import Optimizer
from retrieval.training.step import backward


def figures(place: Place) -> Iterator[Figure]:
    """Steps of ViT-B/16, then a run of the recipe from_scratch from its first picture on."""
    batch = place.sized(256, 8)
    step = stepper(place, towers.large(place), batch)
    with FlopCounterMode(display=False) as counted:
        step(0)
    seconds = place.seconds(lambda: step(0))
    yield Figure(f"ViT-B/16, bfloat16, batch {batch}", batch / seconds, "pictures/s")
    yield from device.shares(place, counted.get_total_flops() / seconds / 1e12)
    if place.device == "cuda":
        yield Figure("memory", torch.cuda.max_memory_allocated() / 2**20, "MiB")
    step = stepper(place, towers.large(place), 4 * batch)
    seconds = place.seconds(lambda: step(batch), 1)
    yield Figure(f"the same, batch {4 * batch}, {batch} in memory", 4 * batch / seconds, "pictures/s")
    yield Figure("a run of from_scratch", _run(place), "pictures/s", "the second half of its steps, with its pictures")


def stepper(place: Place, encoder: DualEncoder, count: int, compiler: str = "") -> Callable[[int], None]:
    """What does a training step when it is called with a micro-batch size, of an encoder that is moved to the device.

    compiler: of the towers' bodies, as in TrainConfig.compile.
    """
    config = TrainConfig(batch_size=count, lr=1e-4)
    encoder = encoder.to(place.device).train()
    for tower in (encoder.image_tower, encoder.text_tower):
        tower.get_submodule("body").to(torch.bfloat16)
        engine.compile_body(tower.get_submodule("body"), compiler, torch.device(place.device))
    optimizer = Optimizer(encoder, config, 1000)
    images = torch.from_numpy(towers.noise(count, encoder.preprocess.size)).to(place.device).float()
    captions = [towers.CAPTIONS[i % len(towers.CAPTIONS)] for i in range(count)]
    tokens = torch.from_numpy(encoder.tokenize(captions)).to(place.device)[:, None]
    batch = Batch(images, tokens, np.arange(count))

    def step(pieces: int) -> None:
        backward(encoder, batch, info_nce, pieces, collect=optimizer.collect)
        optimizer.step(1)

    return step


def _run(place: Place) -> float:
    """Pictures a second of `train` itself: drawing of batches, crops, steps."""
    batch, size = place.sized((1024, 160), (8, 32))
    config = dataclasses.replace(
        recipes.from_scratch(10_000), batch_size=batch, epochs=place.sized(20, 4), image_size=size, small_share=0.0,
        train_size=place.sized(128, 32), checkpoints=0, device=place.device,
    )  # fmt: skip
    items = towers.items(2 * batch, size + 32)
    pairs = [Pair(item, towers.CAPTIONS[i % len(towers.CAPTIONS)]) for i, item in enumerate(items)]
    marks: list[float] = []
    train(pairs, place.folder / "run", config, on_step=lambda progress: marks.append(time.perf_counter()))
    half = len(marks) // 2
    return (len(marks) - 1 - half) * batch / (marks[-1] - marks[half])
