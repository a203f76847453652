"""fit(): the one loop of heads. Inputs and labels in, a module out, in seconds.

A share of the rows is held out to say when to stop and how sure to be (one temperature); then the head is fitted again
on all of them for as long. The same seed gives the same head.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from retrieval.callbacks import OnProgress, no_progress
from retrieval.errors import BadRequest
from retrieval.heads import balance, examples, fusions, probes
from retrieval.heads.batch import HeadBatch, batch_of, by_length, drop_modalities
from retrieval.heads.blocks import Fusion, Learner, Vectors
from retrieval.heads.config import HeadConfig
from retrieval.heads.fusions import concepts
from retrieval.heads.fusions.graph import Graph
from retrieval.heads.inputs import Inputs

Objective = Callable[[Vectors, Vectors, Tensor], Tensor]  # of vectors, present and target: what is made small


@dataclass(frozen=True)
class Fitted:
    """A module in eval mode, and how its fit went.

    temperature: what logits are divided by. epochs: how long it was fitted; 0 where nothing is stepped. score: on the
    rows held out, or None. center, spread: of the numbers that were learned (regression); what the module says is in
    these units.
    """

    module: nn.Module
    temperature: float
    epochs: int
    score: float | None
    center: float = 0.0
    spread: float = 1.0


def fit(
    inputs: Inputs, labels: Sequence, names: Sequence[str], task: str, config: HeadConfig,
    on_epoch: OnProgress = no_progress, words: np.ndarray | None = None,
) -> Fitted:  # fmt: skip
    """Fit what `config` names to rows; `train_head` is the door to it for those who have a source.

    Args:
        inputs: The rows' vectors, each with at least one modality.
        labels: One a row, as in Examples.
        names: The classes, `examples.classes_of(...)`; empty for numbers.
        task: Of examples.TASKS.
        config: What to fit, and how.
        on_epoch: Called with (done, total) epochs.
        words: Unit vectors of the names, float32 (classes, d), for the heads that compare with them.

    Returns:
        The module in eval mode, how good it was on rows held out, and how sure it may be.

    Raises:
        BadRequest: No such fusion or head, or settings that diverge.
    """
    target = examples.targets(labels, names, task)
    center, spread = (float(target.mean()), float(target.std()) or 1.0) if task == "number" else (0.0, 1.0)
    data = batch_of(inputs, (target - center) / spread if task == "number" else target)
    data = data if fusions.looks_inside(config.fusion) else data.pooled()
    outputs = len(names) or 1
    with torch.random.fork_rng(devices=[]):
        learn, held = (torch.from_numpy(rows) for rows in examples.split(labels, config.validation, config.seed))
        if config.head not in probes.TRAINED:
            return _probe(data[learn], data[held], inputs.dims, outputs, task, config, words)
        make = partial(_new, dims=inputs.dims, outputs=outputs, task=task, config=config, names=names)
        fitted = _fusion(data, learn, held, make, task, config, on_epoch)
        return dataclasses.replace(fitted, center=center, spread=spread)


def _fusion(
    data: HeadBatch, learn: Tensor, held: Tensor, make: Callable[[HeadBatch], tuple[Fusion, Objective]], task: str,
    config: HeadConfig, on_epoch: OnProgress,
) -> Fitted:  # fmt: skip
    """A fusion that is trained by steps: on `learn` until `held` says stop, then on all rows for as long."""
    module, objective = make(data[learn])
    if not len(held):
        steps(module, objective, data[learn], config, on_epoch)
        return Fitted(module.eval(), 1.0, config.epochs, None)
    best = Best(partial(_measure, data[held], task))
    steps(module, objective, data[learn], config, on_epoch, best)
    module.load_state_dict(best.state)
    heat = temperature(logits_of(module, data[held]), data[held].target) if task == "single" else 1.0
    if config.refit:
        module, objective = make(data)
        steps(module, objective, data, config, on_epoch, stop=best.epoch)
    return Fitted(module.eval(), heat, best.epoch, best.score)


def _probe(
    learn: HeadBatch, held: HeadBatch, dims: dict[str, int], outputs: int, task: str, config: HeadConfig,
    words: np.ndarray | None,
) -> Fitted:  # fmt: skip
    """A head on one vector. Its score and surety are those of the same head without the rows held out."""
    if task != "single":
        raise BadRequest(f"--head {config.head} knows one label a row: leave out --head")
    texts = None if words is None else torch.from_numpy(words)
    first, second = ((batch.vectors, batch.present, batch.target) for batch in (learn, held))
    module, before = probes.fit_probe(config, dims, first, second, outputs, texts)
    if not len(held):
        return Fitted(module, 1.0, 0, None)
    logits = logits_of(before, held)
    score = float((logits.argmax(1) == held.target).float().mean())
    return Fitted(module, temperature(logits, held.target), 0, score)


def _new(
    data: HeadBatch, dims: dict[str, int], outputs: int, task: str, config: HeadConfig, names: Sequence[str]
) -> tuple[Fusion, Objective]:
    torch.manual_seed(config.seed)
    module = fusions.build(config, dims, outputs)
    if config.concepts:
        assert isinstance(module, Graph)  # fusions.build refuses any other
        module.know(torch.from_numpy(concepts.relation(concepts.read(Path(config.concepts)), names)))
    module.fit_statistics(data.vectors, data.present)
    module.remember(data.vectors, data.present, data.target)
    criterion = balance.criterion(task, data.target, outputs, config)
    module.solve(data.vectors, data.present, data.target, criterion)
    return module, partial(module.objective, criterion=criterion)


def steps(
    module: Learner, objective: Objective, data: HeadBatch, config: HeadConfig, on_epoch: OnProgress,
    best: "Best | None" = None, stop: int = 0,
) -> None:  # fmt: skip
    """AdamW on an objective of the module, a cosine over the config's epochs.

    best: is shown the module after every epoch. stop: leave off after so many epochs; 0 is all of them.
    """
    if module.stepless:
        if best:
            best.see(module.eval(), 0)
        return
    optimizer = torch.optim.AdamW(
        [p for p in module.parameters() if p.requires_grad], config.lr * module.pace,
        weight_decay=config.weight_decay, fused=True,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(config.seed)
    draw = balance.sampler(data.target, config, generator)
    lengths, count = data.lengths(), math.ceil(len(data) / config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * count)
    for epoch in range(1, (stop or config.epochs) + 1):
        module.train()
        for rows in by_length(draw(), lengths, config.batch_size):
            part = data[rows].trimmed()
            present = drop_modalities(part.present, config.modality_dropout, generator)
            loss = objective(part.vectors, present, part.target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
            schedule.step()
        on_epoch(epoch, config.epochs)
        if best:
            best.see(module.eval(), epoch)


class Best:
    """The weights that did best on rows held out. measure: a module -> what to go by, and the score to tell."""

    def __init__(self, measure: Callable[[nn.Module], tuple[float, float]]) -> None:
        self._measure = measure
        self._value, self.score, self.epoch = -math.inf, 0.0, 0
        self.state: dict[str, Tensor] = {}

    def see(self, module: nn.Module, epoch: int) -> None:
        """Measure the module after an epoch, and keep its weights where it is the best so far."""
        value, score = self._measure(module)
        if not math.isfinite(value):
            raise BadRequest("the fit diverged: use a smaller --set lr=...")
        if value > self._value:
            self._value, self.score, self.epoch = value, score, epoch
            self.state = {name: tensor.clone() for name, tensor in module.state_dict().items()}


def _measure(held: HeadBatch, task: str, module: nn.Module) -> tuple[float, float]:
    logits = logits_of(module, held)
    if task == "single":
        return right(logits, held.target)
    loss = nn.functional.binary_cross_entropy_with_logits if task == "multiple" else nn.functional.mse_loss
    score = -float(loss(logits, held.target))
    return score, score


def right(logits: Tensor, target: Tensor) -> tuple[float, float]:
    """What to go by, right answers first and then surety; and the share of right answers."""
    score = float((logits.argmax(1) == target).float().mean())
    return score - 0.01 * float(nn.functional.cross_entropy(logits, target)), score


@torch.inference_mode()
def logits_of(module: nn.Module, data: HeadBatch) -> Tensor:
    """What a module says of all rows, (n, outputs)."""
    return module(data.vectors, data.present)


def temperature(logits: Tensor, target: Tensor) -> float:
    """What to divide logits (n, c) by so that they are as sure as they are right on these rows (Guo 2017).

    Golden-section search on the logarithm, between a tenth and ten.
    """
    low, high = math.log(0.1), math.log(10.0)
    ratio = (math.sqrt(5) - 1) / 2

    def loss(log: float) -> float:
        return float(nn.functional.cross_entropy(logits / math.exp(log), target))

    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)
