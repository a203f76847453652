"""What every fusion shares: modalities in, with what is missing shut out, brought to one width; logits out.

A fusion is an `nn.Module` with `forward(vectors, present) -> (b, outputs)`:

    vectors   name -> float (b, d), or (b, l, d) for a sequence (words, patches, frames)
    present   name -> bool (b,), or (b, l)

Whatever stands where `present` is false, NaN included, cannot reach the answer; nor can another row of the batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Vectors = dict[str, Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]


class Standardize(nn.Module):
    """Vectors of an encoder lie in a narrow cone: take off their mean, then one scale for all numbers.

    The statistics are those of the rows that were fitted on, kept as buffers; at first it changes nothing.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, rows: Tensor) -> None:
        """Take the statistics of rows (n, d)."""
        self.mean.copy_(rows.mean(0))
        self.scale.copy_((rows - self.mean).pow(2).mean().sqrt().clamp(min=1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d)"""
        return (x - self.mean) / self.scale


class Learner(nn.Module):
    """What is trained by steps (fit.steps).

    pace: what the rate of learning is multiplied by. stepless: `solve` finds all there is to find.
    """

    pace: float = 1.0
    stepless: bool = False


class Fusion(Learner):
    """The base: `tokens` gives each modality as one vector of `width`, `sequence` every element of every modality.

    dims: numbers in a vector of each modality, in the order in which they are stacked. project: False keeps vectors as
    they are (all must then agree in width).

    looks_inside: are the elements of a sequence told apart? Where not, fit() takes their mean once, before any step.
    narrow: `build` divides the width by it, for those that see many rows of it.
    """

    looks_inside: bool = False
    narrow: int = 1

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0,
                 project: bool = True) -> None:  # fmt: skip
        super().__init__()
        if not project and len(set(dims.values())) > 1:
            raise ValueError("vectors of different widths need a projection")
        self.names, self.outputs = tuple(dims), outputs
        self.width = width if project else next(iter(dims.values()))
        self.standardize = nn.ModuleDict({name: Standardize(dim) for name, dim in dims.items()})
        self.project = nn.ModuleDict(
            {name: nn.Linear(dim, width) if project else nn.Identity() for name, dim in dims.items()}
        )
        self.dropout = nn.Dropout(dropout)

    def fit_statistics(self, vectors: Vectors, present: Vectors) -> None:
        """Standardize by these rows, those that are there."""
        for name, standardize in self.standardize.items():
            assert isinstance(standardize, Standardize)
            if present[name].any():
                standardize.fit(vectors[name][present[name]])

    def remember(self, vectors: Vectors, present: Vectors, target: Tensor) -> None:
        """Keep what is needed of the rows that are fitted to: nothing, for most."""

    def solve(self, vectors: Vectors, present: Vectors, target: Tensor, criterion: Criterion) -> None:
        """Find in closed form what can be, before the first step: nothing, for most."""

    def like(self, tensors: dict[str, Tensor]) -> None:
        """Make room for tensors whose shape the config does not tell: none, for most."""

    def objective(self, vectors: Vectors, present: Vectors, target: Tensor, criterion: Criterion) -> Tensor:
        """What is made small in training: the criterion of the answer, unless a fusion asks for more."""
        return criterion(self(vectors, present), target)

    def raw(self, vectors: Vectors, present: Vectors, name: str) -> tuple[Tensor, Tensor]:
        """A modality, standardized, as a sequence: (b, l, d) with zeros where nothing is, and bool (b, l)."""
        x, mask = vectors[name], present[name]
        if x.ndim == 2:
            x, mask = x[:, None], mask[:, None]
        return torch.where(mask[..., None], self.standardize[name](x), 0.0), mask

    def elements(self, vectors: Vectors, present: Vectors, name: str) -> tuple[Tensor, Tensor]:
        """A modality as a sequence of `width`: (b, l, w) with zeros where nothing is, and bool (b, l).

        Dropout takes the same numbers of every element: drawing them for each would cost more than the layer itself.
        """
        x, mask = self.raw(vectors, present, name)
        kept = self.dropout(x.new_ones(len(x), 1, x.shape[-1]))
        return torch.where(mask[..., None], self.project[name](x * kept), 0.0), mask

    def tokens(self, vectors: Vectors, present: Vectors) -> tuple[Tensor, Tensor]:
        """Every modality as one vector, a sequence by its mean: (b, m, w) with zeros where missing, bool (b, m)."""
        pairs = [self._token(vectors, present, name) for name in self.names]
        return torch.stack([x for x, _ in pairs], 1), torch.stack([mask for _, mask in pairs], 1)

    def _token(self, vectors: Vectors, present: Vectors, name: str) -> tuple[Tensor, Tensor]:
        # The mean of projections is the projection of the mean, which costs one row instead of one for each element.
        x, mask = masked_mean(*self.raw(vectors, present, name))
        return torch.where(mask[:, None], self.project[name](self.dropout(x)), 0.0), mask

    def sequence(self, vectors: Vectors, present: Vectors) -> tuple[Tensor, Tensor, Tensor]:
        """Every element of every modality: (b, l, w), bool (b, l), and which modality each is of: int64 (l,)."""
        pairs = [self.elements(vectors, present, name) for name in self.names]
        kinds = torch.cat([torch.full((x.shape[1],), i, device=x.device) for i, (x, _) in enumerate(pairs)])
        return torch.cat([x for x, _ in pairs], 1), torch.cat([mask for _, mask in pairs], 1), kinds


def pooled(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A vector (b, d), or a sequence (b, l, d) as its mean: (b, d) with zeros where nothing is, and bool (b,)."""
    x = torch.where(mask[..., None], x, 0.0)
    return (x, mask) if x.ndim == 2 else masked_mean(x, mask)


def masked_mean(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(b, l, w), bool (b, l) to the mean over what is there (b, w), zeros where nothing is, and bool (b,)."""
    count = mask.sum(1, keepdim=True).clamp(min=1)
    return (x * mask[..., None]).sum(1) / count, mask.any(1)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis of what is there; exactly 0 elsewhere, and everywhere where nothing is."""
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.where(mask, scores.softmax(-1), 0.0)


def mlp(inside: int, outside: int, width: int, dropout: float = 0.0) -> nn.Sequential:
    """Two layers with a ReLU and dropout between."""
    return nn.Sequential(nn.Linear(inside, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, outside))
