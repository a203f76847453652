"""Fusions that combine models rather than vectors: common space, alignment, ensembles, experts."""

import math
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.datatypes import Features
from retrieval.heads.blocks import Criterion, Fusion, Vectors, masked_softmax, mlp
from retrieval.heads.fusions.pooled import Concat, Only
from retrieval.losses.contrastive import info_nce


class CommonSpace(Fusion):
    """Each modality through layers of its own into one space, where one classifier serves them all.

    It is trained on each modality alone as well as on their mean, so it works from any one of them. Without the ReLU
    the two layers of a modality would be one.
    """

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__(dims, outputs, width, dropout)
        self.into = nn.ModuleDict(
            {name: nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)) for name in dims}
        )
        self.classify = nn.Linear(width, outputs)

    def common(self, vectors: Vectors, present: Vectors) -> tuple[Tensor, Tensor]:
        """Every modality in the common space: (b, m, w), zeros where missing, and bool (b, m)."""
        tokens, mask = self.tokens(vectors, present)
        inside = torch.stack([self.into[name](tokens[:, i]) for i, name in enumerate(self.names)], 1)
        return torch.where(mask[..., None], inside, 0.0), mask

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        inside, mask = self.common(vectors, present)
        return self.classify(inside.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))

    def objective(self, vectors: Vectors, present: Vectors, target: Tensor, criterion: Criterion) -> Tensor:
        """The answer from all together, and from each modality where it is there."""
        inside, mask = self.common(vectors, present)
        together = criterion(self.classify(inside.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)), target)
        alone = [criterion(self.classify(inside[seen, i]), target[seen]) for i, seen in enumerate(mask.T) if seen.any()]
        return together + sum(alone) / max(1, len(alone))


class Align(Concat):
    """Align, then fuse: InfoNCE between the projections of two modalities, and the task, under one optimiser."""

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0,
                 share: float = 0.1) -> None:  # fmt: skip
        super().__init__(dims, outputs, width, dropout)
        self.share = share
        self.log_logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def objective(self, vectors: Vectors, present: Vectors, target: Tensor, criterion: Criterion) -> Tensor:
        """The task's criterion and `share` of the alignment."""
        task = super().objective(vectors, present, target, criterion)
        return task + self.share * self.alignment(vectors, present)

    def alignment(self, vectors: Vectors, present: Vectors) -> Tensor:
        """The mean InfoNCE over pairs of modalities, of the rows that have both."""
        tokens, mask = self.tokens(vectors, present)
        losses = [self._pair(tokens, mask, i, j) for i in range(len(self.names)) for j in range(i)]
        return torch.stack(losses).mean() if losses else 0 * self.log_logit_scale

    def _pair(self, tokens: Tensor, mask: Tensor, i: int, j: int) -> Tensor:
        both = mask[:, i] & mask[:, j]
        if not both.any():
            return 0 * self.log_logit_scale
        first, second = (F.normalize(tokens[both, k], dim=-1) for k in (i, j))
        features = Features(first, second, self.log_logit_scale.clamp(max=math.log(100)).exp())
        return info_nce(features, features)


class Ensemble(Fusion):
    """A head for each modality and one for all, each trained by itself; the mean of their logits answers.

    A head whose modality is missing is not asked.
    """

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__(dims, outputs, 1, 0.0)
        del self.project, self.standardize  # the members have their own
        alone: list[Fusion] = [Only(dims, outputs, name, width, dropout) for name in dims]
        self.members = nn.ModuleList([*alone, *([Concat(dims, outputs, width, dropout)] if len(dims) > 1 else [])])

    def fit_statistics(self, vectors: Vectors, present: Vectors) -> None:
        """Take the statistics of every member."""
        for member in self.models:
            member.fit_statistics(vectors, present)

    @property
    def models(self) -> list[Fusion]:
        """The members, as the fusions that they are."""
        return [member for member in self.members if isinstance(member, Fusion)]

    def answers(self, vectors: Vectors, present: Vectors) -> tuple[Tensor, Tensor]:
        """What each member says (b, members, outputs), and who is asked: bool (b, members)."""
        logits = torch.stack([member(vectors, present) for member in self.members], 1)
        there = [present[name].reshape(len(logits), -1).any(1) for name in self.names]
        everyone = torch.ones_like(there[0])
        return logits, torch.stack([*there, *[everyone] * (len(self.members) - len(there))], 1)

    def weights(self, vectors: Vectors, asked: Tensor) -> Tensor:
        """How much each member counts: (b, members), each row sums to 1."""
        return masked_softmax(torch.zeros(asked.shape, device=asked.device), asked)

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        logits, asked = self.answers(vectors, present)
        return (self.weights(vectors, asked)[..., None] * logits).sum(1)

    def objective(self, vectors: Vectors, present: Vectors, target: Tensor, criterion: Criterion) -> Tensor:
        """The sum of the members' own: none hears of the others."""
        return reduce(torch.add, [member.objective(vectors, present, target, criterion) for member in self.models])


class Experts(Ensemble):
    """A mixture of experts: an ensemble whose weights a gate gives, row by row, from all modalities."""

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__(dims, outputs, width, dropout)
        self.gate = mlp(sum(dims.values()) + len(dims), len(self.members), max(8, width // 4), dropout)

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        logits, asked = self.answers(vectors, present)
        return (self.gated(vectors, present, asked)[..., None] * logits).sum(1)

    def gated(self, vectors: Vectors, present: Vectors, asked: Tensor) -> Tensor:
        """The gate's weights (b, members): 0 for an expert whose modality is missing."""
        whole = self.models[-1]
        seen = []
        for name in self.names:
            x, mask = whole.raw(vectors, present, name)
            seen += [x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1), mask.any(1, keepdim=True).to(x.dtype)]
        return masked_softmax(self.gate(torch.cat(seen, 1)), asked)

    def objective(self, vectors: Vectors, present: Vectors, target: Tensor, criterion: Criterion) -> Tensor:
        """The mixture's criterion, and the members' own so that none of them starves."""
        logits, asked = self.answers(vectors, present)  # asked once for both
        mixed = (self.gated(vectors, present, asked)[..., None] * logits).sum(1)
        return criterion(mixed, target) + sum(criterion(said, target) for said in logits.unbind(1))
