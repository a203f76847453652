"""A small residual CNN."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.each_place import along
from retrieval.towers.layers import ACTIVATIONS, RowDropout, dtype_of, unusual
from retrieval.towers.projections import last_layer
from retrieval.towers.tower import ImageTower

_LEAST = 1e-4  # of a feature, where it is pooled: a root has no slope at zero
STAGES = (1, 3, 6, 8)  # channels of each, times those of the first


class _Conv(nn.Conv2d):
    """A convolution whose filters are standardised before use (weight standardization, Qiao 2019).

    With GroupNorm alone the CNN learned a third slower than with BatchNorm; with this it learns faster than either
    (docs/log.md). Standardised in float32, used in the type of the body.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.float() if self.weight.dtype == torch.bfloat16 else self.weight
        mean, fan_in = weight.mean((1, 2, 3), keepdim=True), weight[0].numel()
        variance = weight.var((1, 2, 3), keepdim=True, unbiased=False)
        standard = (weight - mean) * torch.rsqrt(variance + 1e-5) * fan_in**-0.5
        return F.conv2d(x, standard.to(x.dtype), None, self.stride, self.padding)


class _Residual(nn.Module):
    """Two 3x3 convolutions and a skip. GroupNorm, because a picture must not see the others of its batch."""

    def __init__(self, inside: int, outside: int, stride: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.first = _Conv(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = _norm(outside)
        self.second = _Conv(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = _norm(outside)
        self.skip: nn.Module = nn.Identity()
        if inside != outside or stride > 1:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.skip = nn.Sequential(pool, _Conv(inside, outside, 1, bias=False), _norm(outside))

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.first_norm(self.first(x)))
        return self.activation(self.second_norm(self.second(h)) + self.skip(x))


def _norm(channels: int) -> nn.GroupNorm:
    # 16 channels a group: fewer take PyTorch's slow path on the CPU (5 times slower in bfloat16).
    return nn.GroupNorm(max(1, channels // 16), channels)


class _Activation(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class ConvTower(ImageTower):
    """A small residual CNN on pixels (b, c, s, s): a patch stem, then stages at s/4, s/8 and s/16.

    spec: {"width": channels of the first stage, a multiple of 32; "blocks": blocks of each stage; "patch": 4, or 2
    for a stem that looks closer before the first stage; "channels"; "activation": one of POINTWISE; "projection"}.
    """

    body: nn.Sequential
    has_patches = True

    def __init__(
        self, dim: int, width: int = 48, blocks: tuple[int, ...] = (1, 2, 1), dropout: float = 0.0, patch: int = 4,
        channels: int = 3, activation: str = "relu", projection: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = {
            "type": "conv", "width": width, "blocks": list(blocks), "dropout": dropout, "patch": patch,
            **unusual(channels=(channels, 3), activation=(activation, "relu"), projection=(projection, "linear")),
        }  # fmt: skip
        activate = ACTIVATIONS[activation]
        inside = width if patch == 4 else width // 2
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(patch),
            _Conv(channels * patch**2, inside, 3, 1, 1, bias=False),
            _norm(inside),
            _Activation(activate),
        ]
        for stage, count in enumerate(blocks):
            outside = width * STAGES[stage]
            for block in range(count):
                shrinks = block == 0 and (stage > 0 or patch == 2)
                layers.append(_Residual(inside, outside, 2 if shrinks else 1, activate))
                inside = outside
        self.body = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.dropout = RowDropout(dropout)
        self.project = last_layer(inside, dim, projection, activation)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, c, s, s), normalized; s a multiple of 16. Returns (b, dim)."""
        return self.project(self.dropout(_generalized_mean(self._maps(pixels))))

    def patches(self, pixels: Tensor) -> Tensor:
        """pixels as for `forward`. What the body makes of each place, (b, places, channels), row by row."""
        return self._maps(pixels).flatten(2).transpose(1, 2)

    def places(self, pixels: Tensor) -> Tensor:
        """As of any image tower: the pooling of one place is what is there, less what is below zero."""
        return F.normalize(along(self.project, self._maps(pixels).clamp(min=_LEAST).permute(0, 2, 3, 1)), dim=-1)

    def _maps(self, pixels: Tensor) -> Tensor:
        maps = self.body(pixels.to(dtype_of(self.body)).contiguous(memory_format=torch.channels_last))
        return maps.to(dtype_of(self.project))


def _generalized_mean(maps: Tensor) -> Tensor:
    """(b, c, h, w) to (b, c): the cubic mean over places (GeM, Radenovic 2018), between the mean and the maximum.

    A thing that fills a corner counts for more than its share of the area. What an activation let through below zero
    counts as nothing.
    """
    return maps.clamp(min=_LEAST).pow(3).mean((2, 3)).pow(1 / 3)
