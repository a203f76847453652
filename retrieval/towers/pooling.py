"""A line of features to one: the mean, the maximum, the last one, or what attention takes; padding counts for nothing.

    POOLINGS[name](width, backward)(x, seen): x (b, l, width), seen (b, l) booleans -> (b, width)

A line that is all padding gives zeros. To add one, write such a module and name it in POOLINGS.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class MeanPool(nn.Module):
    """The mean over what is seen."""

    def __init__(self, width: int, backward: int = 0) -> None:
        super().__init__()

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x (b, l, w), seen (b, l). Returns (b, w)."""
        weight = seen.to(x.dtype)[..., None]
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


class MaxPool(nn.Module):
    """The largest value of each feature over what is seen."""

    def __init__(self, width: int, backward: int = 0) -> None:
        super().__init__()

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x (b, l, w), seen (b, l). Returns (b, w)."""
        return x.masked_fill(~seen[..., None], torch.finfo(x.dtype).min).amax(1) * _any(x, seen)


class LastPool(nn.Module):
    """What stands at the last word. The last `backward` features were read from the end, so theirs stands first."""

    def __init__(self, width: int, backward: int = 0) -> None:
        super().__init__()
        self.forward_part = width - backward

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x (b, l, w), seen (b, l) with padding at the end. Returns (b, w)."""
        last = (seen.sum(1) - 1).clamp(min=0)[:, None, None].expand(-1, 1, x.shape[-1])
        ends = x.gather(1, last)[:, 0, : self.forward_part]
        return torch.cat([ends, x[:, 0, self.forward_part :]], dim=1) * _any(x, seen)


class AttentionPool(nn.Module):
    """The mean weighted by a learned score of each word: a softmax over what is seen."""

    def __init__(self, width: int, backward: int = 0) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x (b, l, w), seen (b, l). Returns (b, w)."""
        scores = self.score(x).masked_fill(~seen[..., None], torch.finfo(x.dtype).min)
        return (x * scores.softmax(1)).sum(1) * _any(x, seen)


def _any(x: Tensor, seen: Tensor) -> Tensor:
    return seen.any(1, keepdim=True).to(x.dtype)


POOLINGS: dict[str, Callable[..., nn.Module]] = {
    "mean": MeanPool, "max": MaxPool, "last": LastPool, "attention": AttentionPool,
}  # fmt: skip
