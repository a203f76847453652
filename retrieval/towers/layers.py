"""What several towers are made of: activations by name, dropout that replays, a transformer's block."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD = 0  # the token that fills a line; every text tower must not see it


# ---------------------------------------------------------------- activations


def swiglu(x: Tensor) -> Tensor:
    """(..., 2 w) to (..., w): one half lets the other through (Shazeer 2020)."""
    value, gate = x.chunk(2, dim=-1)
    return value * F.silu(gate)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "leaky_relu": F.leaky_relu, "silu": F.silu, "mish": F.mish, "gelu": F.gelu, "swiglu": swiglu,
}  # fmt: skip
POINTWISE = tuple(name for name in ACTIVATIONS if name != "swiglu")  # those that keep the width


def hidden_sizes(hidden: int, activation: str) -> tuple[int, int]:
    """(out of the layer before an activation, into the layer behind it) of a feed-forward layer of that width.

    swiglu has three matrices where the others have two, so its width is two thirds: as many weights (Shazeer 2020).
    """
    if activation != "swiglu":
        return hidden, hidden
    inner = max(8, round(hidden * 2 / 3 / 8) * 8)
    return 2 * inner, inner


class FeedForward(nn.Module):
    """Linear, activation, linear: (..., inside) to (..., outside)."""

    def __init__(self, inside: int, hidden: int, outside: int, activation: str) -> None:
        super().__init__()
        before, behind = hidden_sizes(hidden, activation)
        self.up, self.down = nn.Linear(inside, before), nn.Linear(behind, outside)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """x (..., inside)"""
        return self.down(self.activation(self.up(x)))


def dtype_of(module: nn.Module, default: torch.dtype = torch.float32) -> torch.dtype:
    """The type of a module's weights."""
    return next((weight.dtype for weight in module.parameters()), default)


def unusual(**settings: tuple[Any, Any]) -> dict[str, Any]:
    """The settings whose (value, usual value) differ: a spec names these alone, so that older runs keep theirs."""
    return {name: value for name, (value, usual) in settings.items() if value != usual}


# ---------------------------------------------------------------- dropout


class RowDropout(nn.Module):
    """Dropout of whole features of a row, drawn row by row from a stream of its own.

    A batch cut into micro-batches draws the very masks that it would draw whole, and drawing again after `reseed`
    (training/dropout.py) replays them: that is what makes `micro_batch_size` change nothing but memory.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.stream = torch.Generator()

    def draw(self, rows: int, width: int) -> Tensor | None:
        """Factors (rows, width), on the CPU: 0 for what is dropped. None where nothing is."""
        if not self.training or self.share == 0:
            return None
        keep = torch.rand(rows, width, generator=self.stream) >= self.share
        return keep / (1 - self.share)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, w)"""
        factors = self.draw(*x.shape)
        return x if factors is None else x * factors.to(x.device, x.dtype)


# ---------------------------------------------------------------- attention


def heads_of(width: int) -> int:
    """How many heads of about 64 numbers divide a width."""
    return next(count for count in range(max(1, width // 64), 0, -1) if width % count == 0)


def attend(qkv: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Self-attention of several heads, (b, l, 3 width) to (b, l, width); bias is added to the scores (b, heads, l, l).

    It is written out: its backward is 4 times faster than scaled_dot_product_attention's on the CPU at these lengths
    (docs/log.md).
    """
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    query, key, value = qkv.view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) * (width // heads) ** -0.5
    weights = (scores if bias is None else scores + bias).softmax(-1)
    return (weights @ value).transpose(1, 2).reshape(batch, length, width)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, activation: str = "gelu", hidden: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        before, behind = hidden_sizes(hidden or 2 * width, activation)
        self.up, self.down = nn.Linear(width, before), nn.Linear(behind, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (b, l, width); bias is added to the scores (b, heads, l, l)."""
        x = x + self.out(attend(self.qkv(self.norm1(x)), self.heads, bias))
        return x + self.down(self.activation(self.up(self.norm2(x))))
