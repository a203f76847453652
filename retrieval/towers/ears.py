"""Ears: what an encoder that sees pictures hears with: a tower of sounds, and a map into the encoder's space."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.tower import ImageTower, Spec


class Ears(nn.Module):
    """Windows of sound to unit vectors of another encoder's space: it is found with that encoder's words.

    spec: {"tower": the spec of a tower that hears, "inner": numbers of its vectors}. The buffers are the numbers of
    retrieval/training/sound_map.py, which says what they mean.
    """

    mean: Tensor
    weight: Tensor
    sharp: Tensor
    middle: Tensor
    constant: Tensor
    silent: Tensor
    level: Tensor

    def __init__(self, tower: ImageTower, inner: int, dim: int) -> None:
        super().__init__()
        self.spec: Spec = {"tower": tower.spec, "inner": inner}
        self.tower = tower
        self.register_buffer("mean", torch.zeros(inner))
        for name in ("weight", "sharp"):
            self.register_buffer(name, torch.zeros(inner, dim))
        for name in ("middle", "constant", "silent"):
            self.register_buffer(name, torch.zeros(dim))
        self.register_buffer("level", torch.zeros(()))

    def start(self, **numbers: Tensor) -> None:
        """Take a map: its numbers by their names."""
        for name, value in numbers.items():
            self.get_buffer(name).copy_(value)

    def forward(self, windows: Tensor) -> Tensor:
        """uint8 (b, s, s, 1), as `Preprocess.heard` gives them, to unit rows (b, dim)."""
        assert self.tower.mean and self.tower.std, "a tower that hears has them"
        pixels = (windows.float() / 255 - self.tower.mean[0]) / self.tower.std[0]
        rows = F.normalize(self.tower(pixels.permute(0, 3, 1, 2)), dim=-1) - self.mean
        expected, sharp = rows @ self.weight, rows @ self.sharp
        level = self.level - sharp @ self.middle - (sharp * expected).sum(-1) / 2
        heard = sharp + level[:, None] * self.constant
        left = (1 - heard.square().sum(-1, keepdim=True)).clamp(min=0).sqrt()
        return F.normalize(heard + left * self.silent, dim=-1)


def build_ears(dim: int, spec: Spec, build: Callable[[int, Spec], ImageTower]) -> Ears:
    """Ears from their spec, for an encoder of `dim` numbers. build: makes the tower (inner, spec)."""
    return Ears(build(spec["inner"], spec["tower"]), spec["inner"], dim)
