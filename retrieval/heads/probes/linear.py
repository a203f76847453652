"""Heads on one vector: nothing is trained by steps, or little. Vectors in, logits out.

    HEADS[name](rows) -> (probe, before)

`probe` is fitted to all rows, `before` is the same without those held out, which were for choosing: how good and how
sure it is can be seen on them. Probes are `nn.Module`s with buffers, saved and loaded as fusions are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from indexes import exact, segments
from retrieval.heads.blocks import Criterion

LAMBDAS = torch.logspace(-6, 3, 10)  # of the ridge
SWEEP = 96  # steps between 1e-6 and 1e6 of the CLIP paper's search


@dataclass(frozen=True)
class Rows:
    """Rows to fit to, and rows to choose with. vectors (n, d), target int64 (n,), held-out ones; words: of the classes.

    words: unit vectors (classes, d) of the encoder's text tower, a row a class, where a head asks for them.
    """

    vectors: Tensor
    target: Tensor
    held: Tensor
    held_target: Tensor
    classes: int
    words: Tensor | None = None
    seed: int = 0

    def texts(self) -> Tensor:
        """The words of the classes, for a head that is one of WITH_WORDS."""
        assert self.words is not None
        return self.words

    def all(self) -> tuple[Tensor, Tensor]:
        """All rows: those to fit to and those held out."""
        return torch.cat([self.vectors, self.held]), torch.cat([self.target, self.held_target])

    def chooser(self) -> tuple[Tensor, Tensor]:
        """What a choice is made on: the rows held out, or where there are none the others."""
        return (self.held, self.held_target) if len(self.held) else (self.vectors, self.target)


class Linear(nn.Module):
    """x W + b with fixed weights: what ridge, logistic, prototypes and zero-shot end in."""

    weight: Tensor
    bias: Tensor

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, dim))
        self.register_buffer("bias", torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        """x (b, d) to logits (b, classes)."""
        return x @ self.weight.T + self.bias

    def set(self, weight: Tensor, bias: Tensor | float = 0.0) -> "Linear":
        """weight (classes, d), bias (classes,)."""
        self.weight.copy_(weight)
        self.bias.copy_(torch.as_tensor(bias).expand_as(self.bias))
        return self


def zero_shot(rows: Rows, scale: float = 100.0) -> tuple[Linear, Linear]:
    """Each class is the vector of its name in a sentence: no row is used. Logits are `scale` times the cosine."""
    probe = Linear(rows.texts().shape[1], rows.classes).set(scale * rows.texts())
    return probe, probe


def prototypes(rows: Rows) -> tuple[Linear, Linear]:
    """Each class is the mean of its rows, of unit length (Snell 2017 on the sphere)."""
    return _nearest_mean(*rows.all(), rows.classes), _nearest_mean(rows.vectors, rows.target, rows.classes)


def _nearest_mean(vectors: Tensor, target: Tensor, classes: int, scale: float = 20.0) -> Linear:
    means = F.normalize(_one_hot(target, classes).T @ vectors, dim=1)
    return Linear(vectors.shape[1], classes).set(scale * means)


def ridge(rows: Rows) -> tuple[Linear, Linear]:
    """Least squares on +1 and -1, the penalty chosen on rows held out; one eigendecomposition serves all of them."""
    held, held_target = rows.chooser()
    weights = [_linear(part, rows.classes) for part in ridge_path(rows.vectors, rows.target, rows.classes)]
    right = [int((probe(held).argmax(1) == held_target).sum()) for probe in weights]
    best = max(range(len(right)), key=lambda i: right[i])
    probe = _linear(ridge_path(*rows.all(), rows.classes, LAMBDAS[best : best + 1])[0], rows.classes)
    # As logits; how sure they are is fitted afterwards.
    return probe.set(10 * probe.weight, 10 * probe.bias), weights[best].set(
        10 * weights[best].weight, 10 * weights[best].bias
    )


def ridge_path(vectors: Tensor, target: Tensor, classes: int, lambdas: Tensor = LAMBDAS) -> list[tuple[Tensor, Tensor]]:
    """For every penalty l the (weight (c, d), bias (c,)) that minimises |X W' + b - Y|^2 + l n |W|^2; b is free.

    Y is 1 and -1 for classes (n,), or the target itself (n, c).
    """
    x, goal = vectors.double(), (2 * _one_hot(target, classes) - 1 if target.ndim == 1 else target).double()
    middle, mean = x.mean(0), goal.mean(0)
    x = x - middle
    values, axes = torch.linalg.eigh(x.T @ x / len(x))
    toward = axes.T @ (x.T @ (goal - mean)) / len(x)
    found = []
    for penalty in lambdas.double():
        weight = (axes @ (toward / (values.clamp(min=0) + penalty)[:, None])).T
        found.append((weight.float(), (mean - weight @ middle).float()))
    return found


def logistic(rows: Rows) -> tuple[Linear, Linear]:
    """Logistic regression by L-BFGS; the penalty by the CLIP paper's search (A.3), then fitted on all rows."""
    held, held_target = rows.chooser()
    kept: dict[int, float] = {}
    warm: dict[int, tuple[Tensor, Tensor]] = {}

    def right(step: int) -> float:
        if step not in kept:
            near = min(warm, key=lambda known: abs(known - step), default=None)
            start = warm[near] if near is not None else None
            warm[step] = lbfgs(rows.vectors, rows.target, rows.classes, penalty_of(step), start)
            logits = held @ warm[step][0].T + warm[step][1]
            kept[step] = float((logits.argmax(1) == held_target).float().mean())
        return kept[step]

    best = search(right)
    after = lbfgs(*rows.all(), rows.classes, penalty_of(best), warm[best], dtype=torch.float64)
    return _linear(after, rows.classes), _linear(warm[best], rows.classes)


def penalty_of(step: int) -> float:
    """The step-th of 96 penalties, evenly spaced on the logarithm from 1e-6 to 1e6."""
    return 10 ** (-6 + 12 * step / (SWEEP - 1))


def search(right: Callable[[int], float]) -> int:
    """Parametric binary search: seven points, then half the span around the best, down to one step of 96.

    right(step): how good a step is.
    """
    points = [round(i * (SWEEP - 1) / 6) for i in range(7)]
    best, span = max(points, key=right), (SWEEP - 1) / 6
    while span > 1:
        span /= 2
        near = [round(min(max(best + sign * span, 0), SWEEP - 1)) for sign in (-1, 1)]
        best = max([best, *near], key=right)
    return best


def lbfgs(
    vectors: Tensor, target: Tensor, classes: int, penalty: float, start: tuple[Tensor, Tensor] | None = None,
    iterations: int = 1000, criterion: Criterion = F.cross_entropy, dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(weight (c, d), bias (c,)) that minimises the summed cross-entropy + penalty / 2 |W|^2, as scikit-learn's does.

    Its C is 1 / penalty. criterion: another mean over rows instead. dtype: what is computed in; under a small penalty
    float32 stops where the loss is flat, which is enough to compare penalties and a row in two hundred off the minimum.
    """
    vectors = vectors.to(dtype)
    weight = vectors.new_zeros(classes, vectors.shape[1]) if start is None else start[0].to(dtype, copy=True)
    bias = vectors.new_zeros(classes) if start is None else start[1].to(dtype, copy=True)
    weight.requires_grad_(True), bias.requires_grad_(True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, tolerance_grad=1e-6, history_size=10,
                                  tolerance_change=1e-9, line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = criterion(vectors @ weight.T + bias, target) + penalty / 2 * weight.pow(2).sum() / len(vectors)
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach().float(), bias.detach().float()


class NearestRows(nn.Module):
    """The k nearest of the rows vote, each by exp(cosine / temperature); found as the index finds them."""

    vectors: Tensor
    target: Tensor
    k: Tensor

    def __init__(self, dim: int, classes: int, rows: int, k: int = 1, temperature: float = 0.07) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(rows, dim, dtype=torch.float16))
        self.register_buffer("target", torch.zeros(rows, dtype=torch.int64))
        self.register_buffer("k", torch.tensor(k))
        self.classes, self.temperature = classes, temperature

    def forward(self, x: Tensor) -> Tensor:
        """x (b, d) of unit length to logits (b, classes): the logarithm of each class's share of the votes."""
        k = min(int(self.k), len(self.vectors))
        segment = segments.Segment(0, self.vectors.numpy(), torch.empty(0, dtype=torch.int64).numpy(), {})
        found = exact.search([segment], x.contiguous().numpy(), k)
        scores = torch.from_numpy(found.scores.copy())
        votes = torch.zeros(len(x), self.classes)
        votes.scatter_add_(1, self.target[torch.from_numpy(found.rows.copy())], (scores / self.temperature).softmax(1))
        return votes.clamp(min=1e-4).log()


def knn(rows: Rows) -> tuple[NearestRows, NearestRows]:
    """How many neighbors vote is chosen on rows held out."""
    held, held_target = rows.chooser()
    right = {}
    for k in (1, 3, 5, 10, 20, 50):
        probe = filled(rows.vectors, rows.target, rows.classes, k)
        right[k] = int((probe(held).argmax(1) == held_target).sum()) if len(rows.held) else -k
    best = max(right, key=lambda k: right[k])
    return filled(*rows.all(), rows.classes, best), filled(rows.vectors, rows.target, rows.classes, best)


def filled(vectors: Tensor, target: Tensor, classes: int, k: int) -> NearestRows:
    """A vote of the k nearest of these rows: vectors (n, d), target int64 (n,)."""
    probe = NearestRows(vectors.shape[1], classes, len(vectors), k)
    probe.vectors.copy_(vectors)
    probe.target.copy_(target)
    return probe


def _linear(parts: tuple[Tensor, Tensor], classes: int) -> Linear:
    return Linear(parts[0].shape[1], classes).set(*parts)


def _one_hot(target: Tensor, classes: int) -> Tensor:
    return F.one_hot(target, classes).float()
