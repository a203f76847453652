"""Rows of a head as tensors: pooled once, cut to what is there, put together by length."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retrieval.heads.blocks import Vectors, pooled
from retrieval.heads.inputs import Inputs


@dataclass(frozen=True)
class HeadBatch:
    """Rows as tensors. target: int64 (n,) of classes, or float32 (n, outputs)."""

    vectors: Vectors
    present: Vectors
    target: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: Tensor | slice) -> "HeadBatch":
        return HeadBatch(
            {k: v[rows] for k, v in self.vectors.items()}, {k: v[rows] for k, v in self.present.items()},
            self.target[rows],
        )  # fmt: skip

    def pooled(self) -> "HeadBatch":
        """Each sequence as the mean of what is there of it."""
        parts = {name: pooled(self.vectors[name], self.present[name]) for name in self.vectors}
        return HeadBatch({k: x for k, (x, _) in parts.items()}, {k: m for k, (_, m) in parts.items()}, self.target)

    def trimmed(self) -> "HeadBatch":
        """Sequences as long as the longest of these rows: no fusion sees what lies behind."""
        lengths = {k: _longest(mask) if mask.ndim == 2 else None for k, mask in self.present.items()}
        return HeadBatch({k: v[:, : lengths[k]] if v.ndim == 3 else v for k, v in self.vectors.items()},
                     {k: v[:, : lengths[k]] if v.ndim == 2 else v for k, v in self.present.items()},
                     self.target)  # fmt: skip

    def lengths(self) -> Tensor:
        """Elements in a row, int64 (n,)."""
        return torch.stack([mask.reshape(len(mask), -1).sum(1) for mask in self.present.values()]).sum(0)


def _longest(mask: Tensor) -> int:
    there = mask.any(0).nonzero()
    return int(there[-1]) + 1 if len(there) else 1


def batch_of(inputs: Inputs, target: np.ndarray) -> HeadBatch:
    """Inputs and targets (examples.targets) as tensors."""
    vectors = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in inputs.vectors.items()}
    present = {name: torch.from_numpy(np.ascontiguousarray(p)) for name, p in inputs.present.items()}
    return HeadBatch(vectors, present, torch.from_numpy(target))


def by_length(order: Tensor, lengths: Tensor, batch_size: int) -> list[Tensor]:
    """Batches in which rows are about as long, so that little is padding: each window of eight is sorted by length."""
    if len(lengths.unique()) == 1:
        return list(order.split(batch_size))
    windows = [window[lengths[window].argsort(stable=True)] for window in order.split(8 * batch_size)]
    batches = [batch for window in windows for batch in window.split(batch_size)]
    return [batches[i] for i in order.argsort()[: len(batches)].argsort()]


def drop_modalities(present: Vectors, share: float, generator: torch.Generator) -> Vectors:
    """Each modality of a row is taken away with chance `share`, but never the last that is there."""
    if not share:
        return present
    there = torch.stack([mask.reshape(len(mask), -1).any(1) for mask in present.values()], 1)
    draws = torch.rand(there.shape, generator=generator)
    kept = there & (draws >= share)
    luckiest = draws.masked_fill(~there, -1).argmax(1)
    kept[torch.arange(len(kept)), luckiest] |= there[torch.arange(len(kept)), luckiest]
    return {
        name: mask & kept[:, i].reshape(-1, *[1] * (mask.ndim - 1)) for i, (name, mask) in enumerate(present.items())
    }
