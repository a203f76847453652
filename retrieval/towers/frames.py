"""The frames of a clip, as unit vectors, to one vector: a learned pooling beside the plain mean.

A clip on which nothing moves has the vector of its picture, whichever pooling: frames may be repeated.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.layers import Block, heads_of
from retrieval.towers.tower import FramePool, Spec

FRAME_POOLINGS = ("mean", "attention", "transformer")


class AttentionFrames(FramePool):
    """A weighted mean: a softmax of a learned score of each frame. Their order does not matter."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.spec = {"type": "attention"}
        self.score = nn.Linear(dim, 1)
        nn.init.zeros_(self.score.weight)

    def forward(self, frames: Tensor) -> Tensor:
        """frames (b, f, dim) of unit length. Returns (b, dim) of unit length."""
        scores = self.score(frames) * math.sqrt(frames.shape[-1])  # unit rows have small products
        return F.normalize((frames * scores.softmax(1)).sum(1), dim=-1)


class TransformerFrames(FramePool):
    """The mean, and what a small transformer adds for the frames' order: zero where nothing moves, and at the start.

    It reads the frames with their times, and once more their mean in place of each; the difference is what was seen to
    move. Any number of frames may come.
    """

    def __init__(self, dim: int, layers: int = 1) -> None:
        super().__init__()
        self.spec = {"type": "transformer", "layers": layers}
        self.body = nn.ModuleList(Block(dim, heads_of(dim)) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, dim)
        nn.init.zeros_(self.project.weight)

    def forward(self, frames: Tensor) -> Tensor:
        """frames (b, f, dim) of unit length, in the order of their time. Returns (b, dim) of unit length."""
        mean = frames.mean(1, keepdim=True)
        moved = self._read(frames) - self._read(mean.expand_as(frames))
        return F.normalize(mean[:, 0] + moved, dim=-1)

    def _read(self, frames: Tensor) -> Tensor:
        count, dim = frames.shape[1:]
        # Unit rows have entries of about 1 / sqrt(dim): scaled up, they stand beside the times as equals.
        x = frames * math.sqrt(dim) + _times(count, dim, frames)
        for block in self.body:
            x = block(x)
        return self.project(self.norm(x).mean(1))


def _times(count: int, dim: int, like: Tensor) -> Tensor:
    """(count, dim): waves of each frame's time, which runs from 0 to 1 over a clip."""
    time = (torch.arange(count, device=like.device) + 0.5) / count
    phase = time[:, None] * math.pi * torch.arange(1, (dim + 1) // 2 + 1, device=like.device).clamp(max=16)
    return torch.cat([phase.cos(), phase.sin()], dim=1)[:, :dim].to(like.dtype)


def build_frames(dim: int, spec: Spec) -> FramePool:
    """A frame pooling from its spec."""
    kinds: dict[str, Callable[..., FramePool]] = {"attention": AttentionFrames, "transformer": TransformerFrames}
    return kinds[spec["type"]](dim, **{key: value for key, value in spec.items() if key != "type"})
