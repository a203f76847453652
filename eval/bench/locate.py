"""Is the place that words point to the right one? Drawn scenes of two things, and small towers trained on others.

    python -m eval.bench.locate                 # a CNN and a ViT, three seeds each: about half an hour on one core
    python -m eval.bench.locate --towers conv --seeds 1
    python -m eval.bench.locate --run RUN       # a run that is there, trained on `picturebook:...`

A tower learns from scenes of the book's train split, which are found by whole captions: no caption says where in the
picture a thing is, but for sides, and no place is ever shown as right. Asked is "a red dog" for each of the two things
of 300 scenes of the test split, whose pairs of thing and color no scene of the training has. Right is an answer whose
best place has its middle within the square that the thing is drawn in. `chance` is the mean area of those squares,
`other` the share of answers on the other thing, `plain` the same of the patches as they are pooled, without what
towers do for places (of a ViT: retrieval/towers/image.py), `box` the mean overlap (intersection over union) of the best
box with the square. One JSON line a tower. On stderr what the threshold of boxes was chosen by: the same overlap on
other scenes of the train split.
"""

import argparse
import dataclasses
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.bench import note, say
from retrieval.search.heat import THRESHOLD, Heat
from retrieval.sources.picturebook import Scene, Things

if TYPE_CHECKING:
    from retrieval.encoders.encoder import DualEncoder
    from retrieval.training.config import TrainConfig

SCENES, SIDE = 300, 192
LEARNED, BOOK = 14_000, 100  # scenes that are learned; the book of a seed is BOOK + seed
THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8)
# Beside recipes.demo_from_scratch; chosen on scenes of the train split.
TOWERS: dict[str, dict[str, Any]] = {
    "conv": {"image_width": 32, "image_size": 112},
    "vit": {
        "image_tower": "vit", "image_width": 128, "image_layers": 2, "image_patch": 16, "image_size": 112,
        "lr": 1.5e-3, "crop": 0.6, "epochs": 5.0,
    },
}  # fmt: skip


def config_of(tower: str, seed: int) -> "TrainConfig":
    """How a tower is trained."""
    from retrieval.training import recipes

    return dataclasses.replace(recipes.demo_from_scratch(), seed=seed, **TOWERS[tower])


def learned(tower: str, seed: int, scenes: int = LEARNED) -> "DualEncoder":
    """An encoder that was trained on drawn scenes."""
    from retrieval import open_pairs
    from retrieval.training.loop import train

    config = config_of(tower, seed)
    pairs = open_pairs(f"picturebook:{scenes}?seed={BOOK + seed}&size={config.image_size}")
    with tempfile.TemporaryDirectory() as folder:
        return train(pairs, Path(folder) / "run", config).encoder


def scenes_of_two(count: int, split: str, seed: int = 0) -> list[Scene]:
    """The first scenes of a split that show two things, one of each."""
    found: list[Scene] = []
    number = 0
    while len(found) < count:
        scene = Scene.make(number, split, seed)
        number += 1
        if len(scene.groups) == 2 and all(len(group.places) == 1 for group in scene.groups):
            found.append(scene)
    return found


def asked(scenes: Sequence[Scene]) -> Iterator[tuple[int, str, Things, Things]]:
    """(scene, words, the thing they name, the other one)."""
    for number, scene in enumerate(scenes):
        one, two = scene.groups
        for thing, other in ((one, two), (two, one)):
            yield number, thing.words(random.Random(0), 1), thing, other


def measure(
    encoder: "DualEncoder", scenes: Sequence[Scene], look: "Callable[[list[np.ndarray]], np.ndarray] | None" = None
) -> dict[str, float]:
    """Of all questions: the share that is right, that is on the other thing, and the overlap of boxes by threshold."""
    pictures = [encoder.preprocess(scene.draw(SIDE)) for scene in scenes]
    places = (look or encoder.encode_places)(pictures)
    questions = list(asked(scenes))
    vectors = encoder.encode_texts([words for _, words, _, _ in questions])
    right, other, chance = [], [], []
    overlaps: dict[float, list[float]] = {one: [] for one in {*THRESHOLDS, THRESHOLD}}
    for (number, _, thing, rest), vector in zip(questions, vectors, strict=True):
        heat = Heat(places[number] @ vector, SIDE, SIDE)
        y, x = np.unravel_index(heat.scores.argmax(), heat.scores.shape)
        at = ((x + 0.5) / heat.scores.shape[1], (y + 0.5) / heat.scores.shape[0])
        right.append(_holds(thing, at))
        other.append(_holds(rest, at) and not right[-1])
        chance.append(4 * thing.half**2)
        for threshold, found in overlaps.items():
            box = heat.boxes(threshold)[0]
            sides = (box.left, box.top, box.left + box.width, box.top + box.height)
            found.append(overlap(tuple(side / SIDE for side in sides), square(thing)))
    told = {"right": float(np.mean(right)), "other": float(np.mean(other)), "chance": float(np.mean(chance))}
    return told | {f"box {threshold:g}": float(np.mean(found)) for threshold, found in sorted(overlaps.items())}


def plain(encoder: "DualEncoder") -> "Callable[[list[np.ndarray]], np.ndarray]":
    """The patches as they are pooled, through the last layer: (n, rows, columns, dim) of unit length."""

    def look(pictures: list[np.ndarray]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            project: Any = encoder.image_tower.project
            vectors = project(torch.from_numpy(encoder.encode_patches(pictures)))
            rows = torch.nn.functional.normalize(vectors, dim=-1).numpy()
        side = round(rows.shape[1] ** 0.5)
        return rows.reshape(len(rows), side, side, -1)

    return look


def square(thing: Things) -> tuple[float, float, float, float]:
    """Where a single thing is drawn: left, top, right and bottom in shares of the picture."""
    ((x, y),) = thing.places
    return x - thing.half, y - thing.half, x + thing.half, y + thing.half


def _holds(thing: Things, at: tuple[float, float]) -> bool:
    left, top, right, bottom = square(thing)
    return left <= at[0] <= right and top <= at[1] <= bottom


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes: left, top, right, bottom."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, across) * max(0.0, down)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])  # noqa: E731
    return both / (area(one) + area(other) - both)


def _tell(name: str, found: Sequence[dict[str, float]], bare: Sequence[dict[str, float]]) -> None:
    median = lambda key, of=found: round(statistics.median(one[key] for one in of), 3)  # noqa: E731
    line = {"name": f"the right place of two things, {name}", "right": median("right"), "chance": median("chance")}
    line |= {"seeds": [round(one["right"], 3) for one in found], "other": median("other"), "goal": 0.9}
    say(json.dumps(line | {"plain": median("right", bare), "box": median(f"box {THRESHOLD:g}")}))


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--towers", nargs="*", default=list(TOWERS), choices=list(TOWERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--run", default="")
    given = parser.parse_args()
    held, chosen_by = scenes_of_two(SCENES, "test"), scenes_of_two(SCENES, "train")
    for name in [given.run] if given.run else given.towers:
        found, bare = [], []
        for seed in range(1 if given.run else given.seeds):
            from retrieval import load_encoder

            encoder = load_encoder(given.run) if given.run else learned(name, seed)
            found.append(measure(encoder, held))
            bare.append(measure(encoder, held, plain(encoder)))
            note(f"{name}, seed {seed}: {found[-1]}")
            note(f"{name}, seed {seed}, scenes of the train split: {measure(encoder, chosen_by)}")
        _tell(name, found, bare)


if __name__ == "__main__":
    main()
