"""Stacking (Wolpert 1992): what each modality says of rows that it was not fitted on, and a regression on top of it."""

import torch
from torch import Tensor, nn

from retrieval.heads.blocks import Criterion, Fusion, Vectors, pooled
from retrieval.heads.probes.linear import LAMBDAS, lbfgs, ridge_path

_FOLDS = 5
_PENALTIES = (0.3, 3.0, 30.0)  # of the regression on top
_STEPS = 60  # of L-BFGS


class Stacking(Fusion):
    """A ridge probe for each modality and one for all side by side; a logistic regression of what they say.

    The regression learns from out-of-fold answers: each row is answered by probes that have not seen it, so that it
    learns how far each can be trusted on new rows. All of it is solved, nothing is stepped. A sequence is its mean.
    """

    stepless = True

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__(dims, outputs, 1, 0.0)
        del self.project
        self.sizes = [*dims.values(), *([sum(dims.values())] if len(dims) > 1 else [])]
        for number, size in enumerate(self.sizes):
            self.register_buffer(f"weight_{number}", torch.zeros(outputs, size))
            self.register_buffer(f"bias_{number}", torch.zeros(outputs))
        self.top = nn.Linear(len(self.sizes) * outputs + len(dims), outputs)

    def parts(self, vectors: Vectors, present: Vectors) -> tuple[list[Tensor], Tensor]:
        """What each probe sees: (b, d) each, zeros where a modality is missing; and who can be asked: bool (b, m)."""
        pairs = [pooled(*self.raw(vectors, present, name)) for name in self.names]
        mask = torch.stack([there for _, there in pairs], 1)
        alone = [x for x, _ in pairs]
        together = [torch.cat(alone, 1)] if len(alone) > 1 else []
        return alone + together, torch.cat([mask, mask.any(1, keepdim=True)][: 1 + len(together)], 1)

    def answers(self, parts: list[Tensor], asked: Tensor) -> Tensor:
        """What all probes say, zeros of those that cannot be asked, and which modalities are there: (b, n)."""
        said = [
            (x @ getattr(self, f"weight_{i}").T + getattr(self, f"bias_{i}")) * asked[:, i : i + 1]
            for i, x in enumerate(parts)
        ]
        return torch.cat([*said, asked[:, : len(self.names)].float()], 1)

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        return self.top(self.answers(*self.parts(vectors, present)))

    def solve(self, vectors: Vectors, present: Vectors, target: Tensor, criterion: Criterion) -> None:
        """The probes, their penalties by the folds, and the regression on what was said of each fold from outside."""
        parts, asked = self.parts(vectors, present)
        folds = torch.arange(len(target))[torch.randperm(len(target))] % min(_FOLDS, len(target))
        outside = [self._probe(i, x, target, asked[:, i], folds) for i, x in enumerate(parts)]
        said = torch.cat([*outside, asked[:, : len(self.names)].float()], 1)
        penalty = min(_PENALTIES, key=lambda tried: self._loss(said, target, folds, tried, criterion))
        weight, bias = lbfgs(said, target, self.outputs, penalty, iterations=_STEPS, criterion=criterion)
        with torch.no_grad():
            self.top.weight.copy_(weight)
            self.top.bias.copy_(bias)

    def _probe(self, number: int, x: Tensor, target: Tensor, asked: Tensor, folds: Tensor) -> Tensor:
        """Keep the probe of all rows that have something; what those of the other folds say of each: (n, outputs)."""
        said = torch.zeros(len(LAMBDAS), len(target), self.outputs)
        for fold in folds.unique():
            learn, held = asked & (folds != fold), asked & (folds == fold)
            if learn.any():
                for tried, (weight, bias) in enumerate(ridge_path(x[learn], target[learn], self.outputs)):
                    said[tried, held] = x[held] @ weight.T + bias
        if not asked.any():
            return said[0]
        best = max(range(len(LAMBDAS)), key=lambda tried: _right(said[tried][asked], target[asked]))
        weight, bias = ridge_path(x[asked], target[asked], self.outputs, LAMBDAS[best : best + 1])[0]
        getattr(self, f"weight_{number}").copy_(weight)
        getattr(self, f"bias_{number}").copy_(bias)
        return said[best]

    def _loss(self, said: Tensor, target: Tensor, folds: Tensor, penalty: float, criterion: Criterion) -> float:
        """The regression's loss on the rows of one fold, fitted to the others; 0 where there is one fold only."""
        held = folds == 0
        if held.all():
            return 0.0
        weight, bias = lbfgs(said[~held], target[~held], self.outputs, penalty, None, _STEPS, criterion)
        return float(criterion(said[held] @ weight.T + bias, target[held]))


def _right(said: Tensor, target: Tensor) -> float:
    if target.ndim == 1:
        return float((said.argmax(1) == target).float().mean())
    return -float((said - target).pow(2).mean())
