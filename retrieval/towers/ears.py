"""Ears: what an encoder that sees pictures hears with: a tower of sounds, and a linear map into the encoder's space."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.tower import ImageTower, Spec


class Ears(nn.Module):
    """Windows of sound to unit vectors of another encoder's space: it is found with that encoder's words.

    spec: {"tower": the spec of a tower that hears, "inner": numbers of its vectors}.
    """

    mean: Tensor
    weight: Tensor
    middle: Tensor

    def __init__(self, tower: ImageTower, inner: int, dim: int) -> None:
        super().__init__()
        self.spec: Spec = {"tower": tower.spec, "inner": inner}
        self.tower = tower
        self.register_buffer("mean", torch.zeros(inner))
        self.register_buffer("weight", torch.zeros(inner, dim))
        self.register_buffer("middle", torch.zeros(dim))

    def start(self, mean: Tensor, weight: Tensor, middle: Tensor) -> None:
        """Take a linear map: unit vectors (b, inner) about their mean, times weight (inner, dim), about the middle."""
        self.mean.copy_(mean)
        self.weight.copy_(weight)
        self.middle.copy_(middle)

    def forward(self, windows: Tensor) -> Tensor:
        """uint8 (b, s, s, 1), as `Preprocess.heard` gives them, to unit rows (b, dim)."""
        assert self.tower.mean and self.tower.std, "a tower that hears has them"
        pixels = (windows.float() / 255 - self.tower.mean[0]) / self.tower.std[0]
        rows = F.normalize(self.tower(pixels.permute(0, 3, 1, 2)), dim=-1)
        return F.normalize((rows - self.mean) @ self.weight + self.middle, dim=-1)


def build_ears(dim: int, spec: Spec, build: Callable[[int, Spec], ImageTower]) -> Ears:
    """Ears from their spec, for an encoder of `dim` numbers. build: makes the tower (inner, spec)."""
    return Ears(build(spec["inner"], spec["tower"]), spec["inner"], dim)
