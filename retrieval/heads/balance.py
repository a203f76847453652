"""Skewed labels: class weights, balanced sampling, focal loss; and the criterion of each kind of label."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from retrieval.heads.blocks import Criterion
from retrieval.heads.config import HeadConfig


def criterion(task: str, target: Tensor, outputs: int, config: HeadConfig) -> Criterion:
    """f(logits, target) -> scalar for this kind of label, with what the config says of rare classes."""
    if task == "number":
        return F.mse_loss
    if task == "multiple":
        rarity = _rarity_of_labels(target) if config.balance == "weights" else None
        return lambda logits, wanted: F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=rarity)
    weight = class_weights(target, outputs) if config.balance == "weights" else None
    if config.focal:
        return lambda logits, wanted: focal_loss(logits, wanted, config.focal, weight)
    return lambda logits, wanted: F.cross_entropy(logits, wanted, weight=weight, label_smoothing=config.label_smoothing)


def class_weights(target: Tensor, classes: int) -> Tensor:
    """(classes,): each class counts as much as any other, and a mean row counts 1. A class without rows weighs 0."""
    counts = torch.bincount(target, minlength=classes).float()
    return torch.where(counts > 0, len(target) / (counts.clamp(min=1) * (counts > 0).sum()), 0.0)


def _rarity_of_labels(target: Tensor) -> Tensor:
    there = target.sum(0)
    return ((len(target) - there) / there.clamp(min=1)).clamp(1, 100)


def focal_loss(logits: Tensor, target: Tensor, gamma: float, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy times (1 - p)^gamma, the mean over rows (Lin 2017): what is known already counts for little."""
    log_p = F.log_softmax(logits, -1).gather(1, target[:, None])[:, 0]
    loss = -((1 - log_p.exp()).clamp(min=0) ** gamma) * log_p
    if weight is None:
        return loss.mean()
    return (loss * weight[target]).sum() / weight[target].sum()


def sampler(target: Tensor, config: HeadConfig, generator: torch.Generator) -> Callable[[], Tensor]:
    """Gives the rows of an epoch: each once in random order, or, with balance "sampling", every class as often."""
    if config.balance == "sampling" and target.ndim == 1 and not target.is_floating_point():
        weight = class_weights(target, int(target.max()) + 1)[target]
        return lambda: torch.multinomial(weight, len(target), replacement=True, generator=generator)
    return lambda: torch.randperm(len(target), generator=generator)
