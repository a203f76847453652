"""A tower's last layer: from what its body says to its vector. PROJECTIONS names them, `last_layer` makes them."""

import math

import torch
from torch import Tensor, nn

from retrieval.towers.layers import FeedForward, RowDropout

PROJECTIONS = ("linear", "mlp", "bridge", "anchors")
HIDDEN = 1024  # numbers in the middle of a bridge
HIDDEN_DROPOUT = 0.5
ANCHORS_KEPT, ANCHORS_POWER = 0.13, 8  # of ASIF: its paper keeps 200 of 1,500, and this power


def last_layer(
    width: int, dim: int, projection: str = "linear", activation: str = "gelu", rooted: bool = False
) -> nn.Module:
    """A tower's last layer, (b, width) to (b, dim). Its output has no activation: cosines may be negative.

    rooted: a bridge takes the root of each feature, which evens out the tails of a picture's.
    """
    if projection == "bridge":
        return Bridge(width, dim, rooted)
    if projection == "anchors":
        return Anchors(width, dim)
    return nn.Linear(width, dim) if projection == "linear" else FeedForward(width, width, dim, activation)


class Bridge(nn.Module):
    """A linear map beside an MLP of the same features, both about their mean: (b, width) to (b, dim).

    The linear map may be a closed form (training/closed_forms.py), and the MLP begins at zero: before the first step it
    is that closed form.
    """

    mean: Tensor

    def __init__(self, width: int, dim: int, rooted: bool = False) -> None:
        super().__init__()
        self.rooted = rooted
        self.register_buffer("mean", torch.zeros(width))
        self.skip = nn.Parameter(torch.randn(width, dim) / math.sqrt(width))
        self.inner = nn.Parameter(torch.randn(width, HIDDEN) / math.sqrt(width))
        self.bias, self.outer = nn.Parameter(torch.zeros(HIDDEN)), nn.Parameter(torch.zeros(HIDDEN, dim))
        self.activation, self.dropout = nn.GELU(), RowDropout(HIDDEN_DROPOUT)

    def forward(self, features: Tensor) -> Tensor:
        """features (b, width)"""
        x = self.taken(features) - self.mean
        return x @ self.skip + self.dropout(self.activation(x @ self.inner + self.bias)) @ self.outer

    def taken(self, features: Tensor) -> Tensor:
        """Features (..., width) as they are mapped."""
        return features.sign() * features.abs().sqrt() if self.rooted else features

    @torch.no_grad()
    def start(self, mean: Tensor, skip: Tensor, white: Tensor, sample: Tensor) -> None:
        """Begin at a linear map, with the MLP's first layer spread over what is there.

        mean (width,), skip (width, dim'), dim' at most dim; white (width, width) makes the features' directions alike;
        sample (n, width) of features as they are `taken`.
        """
        about = sample - mean
        inner = white @ torch.randn(self.inner.shape).to(white)
        self.mean.copy_(mean)
        self.skip.zero_()[:, : skip.shape[1]] = skip / (about @ skip).norm(dim=1).mean().clamp(min=1e-6)
        self.inner.copy_(inner / (about @ inner).std(0).clamp(min=1e-6))

    def rates(self) -> dict[str, float]:
        """The share of the rate that each weight is trained with: Adam moves each by its rate, whatever its size."""
        return {
            "skip": _size(self.skip), "inner": _size(self.inner), "outer": 1 / math.sqrt(len(self.outer)), "bias": 1.0,
        }  # fmt: skip


def _size(weight: Tensor) -> float:
    return weight.detach().square().mean().sqrt().item()


class Anchors(nn.Module):
    """Features as their likeness to those of known pairs, (b, width) to (b, dim): ASIF (Norelli 2023).

    A pair has one place in the vectors of both towers. Of each vector the largest are kept, raised to a power.
    """

    anchors: Tensor
    mean: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.zeros(dim, width))
        self.register_buffer("mean", torch.zeros(width))
        self.kept = max(1, round(dim * ANCHORS_KEPT))

    def forward(self, features: Tensor) -> Tensor:
        """features (b, width)"""
        x = nn.functional.normalize(features - self.mean, dim=-1)
        alike = (x @ self.anchors.T).clamp(min=0)
        least = alike.topk(self.kept, dim=-1).values[:, -1:]
        return torch.where(alike >= least, alike, 0.0) ** ANCHORS_POWER

    @torch.no_grad()
    def start(self, features: Tensor) -> None:
        """Take the features of pairs (n, width) for anchors, the first `dim` of them."""
        self.mean.copy_(features.mean(0))
        chosen = nn.functional.normalize(features - self.mean, dim=-1)[: len(self.anchors)]
        self.anchors.zero_()[: len(chosen)] = chosen
