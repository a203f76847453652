"""Towers: an image tower and a text tower, each (batch) -> (batch, dim), not yet of unit length.

Every tower has a `body`, which may run in bfloat16, and ends in float32. What a tower needs to be built again is the
dict it was built from (`spec`), so that a run folder can hold it. docs/reference/towers.md has them in one table; a
TrainConfig's settings become specs in encoders/config.py. To add one, write such a module and name it in IMAGE_TOWERS
or TEXT_TOWERS.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from retrieval.towers.combined import EnsembleTower
from retrieval.towers.conv import ConvTower
from retrieval.towers.image import PixelMlp, VitTower
from retrieval.towers.open_clip_towers import image_side, text_side
from retrieval.towers.recurrent import RecurrentTower
from retrieval.towers.text import TextTransformer
from retrieval.towers.timm_tower import TimmTower

IMAGE_TOWERS: dict[str, Callable[..., nn.Module]] = {
    "conv": ConvTower, "vit": VitTower, "mlp": PixelMlp, "timm": TimmTower, "open_clip": image_side,
}  # fmt: skip
TEXT_TOWERS: dict[str, Callable[..., nn.Module]] = {
    "transformer": TextTransformer, "lstm": partial(RecurrentTower, cell="lstm"),
    "gru": partial(RecurrentTower, cell="gru"), "rnn": partial(RecurrentTower, cell="rnn"), "open_clip": text_side,
}  # fmt: skip


def build(towers: dict[str, Callable[..., nn.Module]], dim: int, spec: dict) -> nn.Module:
    """A tower from its spec: {"type": name in the dict, ...arguments}. Random weights come from torch's generator."""
    arguments = {
        key: tuple(value) if isinstance(value, list) else value for key, value in spec.items() if key != "type"
    }
    return towers[spec["type"]](dim, **arguments)


def _ensemble(
    towers: dict[str, Callable[..., nn.Module]], dim: int, parts: Sequence[dict], dims: Sequence[int],
    shares: Sequence[float],
) -> nn.Module:  # fmt: skip
    built = [build(towers, size, part) for size, part in zip(dims, parts, strict=True)]
    return EnsembleTower(built, dims, shares)


for _towers in (IMAGE_TOWERS, TEXT_TOWERS):
    _towers["ensemble"] = partial(_ensemble, _towers)
