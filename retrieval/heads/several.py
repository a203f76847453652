"""Several labels of one source, fitted together on one body; each comes out as a head of its own.

A row without one of the labels still teaches the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from retrieval.callbacks import OnProgress, no_progress
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest
from retrieval.heads import balance, fusions
from retrieval.heads import examples as labeled
from retrieval.heads.batch import HeadBatch, batch_of
from retrieval.heads.blocks import Vectors
from retrieval.heads.config import HeadConfig
from retrieval.heads.fit import Best, right, steps, temperature
from retrieval.heads.fusions.multitask import MultiTask
from retrieval.heads.head import Head
from retrieval.heads.prepare import PreparedRows, encoded, whereabouts
from retrieval.settings import listed

ALONE = ("graph", "stacking")  # what they keep of the rows is of one label


@dataclass(frozen=True)
class Several:
    """Rows with at least one of the labels. labels: column -> one a row, None where it is missing."""

    prepared: PreparedRows
    labels: dict[str, list[str | None]]


def columns_of(label: str) -> list[str]:
    """The columns of `--label a,b`. Raises BadRequest where there is none, or one of them cannot be a folder's name."""
    columns = listed(label)
    if not columns:
        raise BadRequest("--label is empty: name the column that holds the answer")
    for column in columns if len(columns) > 1 else []:
        if Path(column).name != column or column in (".", ".."):
            raise BadRequest(f"`{column}` cannot name a folder: train that --label alone")
    return columns


def check(config: HeadConfig, columns: Sequence[str]) -> None:
    """Raise BadRequest where a config cannot serve these several labels, or has not one weight for each."""
    weights = config.fixed_task_weights
    if weights is not None and len(weights) != len(columns):
        raise BadRequest(f"one weight for each of {', '.join(columns)}: write, say, --set task_weights=1,0.5")
    if config.head != "fusion" or config.fusion in ALONE:
        what = f"--head {config.head}" if config.head != "fusion" else f"--fusion {config.fusion}"
        raise BadRequest(f"{what} knows one label: give one --label, or another --fusion")


def prepare_several(
    source: str, columns: Sequence[str], encoder: Encoder, vectors: dict[str, Path] | None = None,
    on_progress: OnProgress = no_progress, inputs: str = "",
) -> Several:  # fmt: skip
    """The rows of a source that have any of the labels, encoded once. Raises BadRequest as `prepare` does."""
    parts = [labeled.open_examples(source, column) for column in columns]
    for part in parts:
        labeled.classes_of(part)
    known = [dict(zip(part.rows.tolist(), part.labels, strict=True)) for part in parts]
    items = {row: item for part in parts for row, item in zip(part.rows.tolist(), part.items, strict=True)}
    rows = np.array(sorted(items), np.int64)
    every = replace(
        parts[0], items=[items[row] for row in rows], labels=[known[0].get(row, "") for row in rows], rows=rows,
        column=",".join(columns), unlabeled=parts[0].total - len(rows),
    )  # fmt: skip
    prepared = encoded(every, encoder, vectors, on_progress, inputs)
    kept = prepared.examples.rows.tolist()
    return Several(prepared, {c: [of.get(row) for row in kept] for c, of in zip(columns, known, strict=True)})


def train_several(
    several: Several, encoder: Encoder, config: HeadConfig,
    on_epoch: OnProgress = no_progress,
) -> list[tuple[Head, float | None]]:  # fmt: skip
    """A head for each label, all on one body, and each one's score on rows held out meanwhile.

    Raises BadRequest where the config cannot serve several labels, or has not one weight for each.
    """
    check(config, list(several.labels))
    config = replace(config, shared=config.shared or config.width)
    inputs = several.prepared.inputs.there()
    names = {column: sorted({label for label in of if label}) for column, of in several.labels.items()}
    numbers = [labeled.targets(of, names[column], "single") for column, of in several.labels.items()]
    data = batch_of(inputs, np.stack(numbers, 1))
    data = data if fusions.looks_inside(config.fusion) else data.pooled()
    with torch.random.fork_rng(devices=[]):
        module, heats, scores = _fitted(data, several.prepared.examples.labels, names, inputs.dims, config, on_epoch)
    return [
        (Head(part.eval(), config, names[column], "single", column, inputs.dims, whereabouts(encoder),
              encoder.fingerprint, heats[i]), scores[i])
        for i, (column, part) in enumerate(zip(names, module.parts().values(), strict=True))
    ]  # fmt: skip


class _Tasks(MultiTask):
    """Tasks whose targets are the columns of one matrix, -1 where a label is missing."""

    def __init__(self, data: HeadBatch, dims: dict[str, int], names: dict[str, list[str]], config: HeadConfig) -> None:
        body = fusions.build(config, dims, config.shared)
        weights = config.fixed_task_weights
        # Their own names may hold what a module's cannot: a dot.
        super().__init__(body, {f"task_{i}": len(of) for i, of in enumerate(names.values())}, weights)
        body.fit_statistics(data.vectors, data.present)
        known = [column[column >= 0] for column in data.target.T]
        self.criteria = {
            name: balance.criterion("single", known[i], len(of), config)
            for i, (name, of) in enumerate(zip(self.heads, names.values(), strict=True))
        }

    def objective(self, vectors: Vectors, present: Vectors, target: Tensor) -> Tensor:
        """The weighed sum of the tasks' losses, each by its own criterion."""
        targets = {name: target[:, i] for i, name in enumerate(self.heads)}
        return self.joint_loss(vectors, present, targets, self.criteria)


def _fitted(
    data: HeadBatch, strata: Sequence[str], names: dict[str, list[str]], dims: dict[str, int], config: HeadConfig,
    on_epoch: OnProgress,
) -> tuple[_Tasks, list[float], list[float | None]]:  # fmt: skip
    """As fit() does it: rows held out say when to stop and how sure each task may be, then all rows are learned."""
    learn, held = (torch.from_numpy(rows) for rows in labeled.split(strata, config.validation, config.seed))
    module = _made(data[learn], dims, names, config)
    if not len(held):
        steps(module, module.objective, data[learn], config, on_epoch)
        return module.eval(), [1.0] * len(names), [None] * len(names)
    best = Best(partial(_mean_score, data[held]))
    steps(module, module.objective, data[learn], config, on_epoch, best)
    module.load_state_dict(best.state)
    said = _said(module, data[held])
    heats = [temperature(*pair) for pair in said]
    scores: list[float | None] = [right(*pair)[1] for pair in said]
    if config.refit:
        module = _made(data, dims, names, config)
        steps(module, module.objective, data, config, on_epoch, stop=best.epoch)
    return module.eval(), heats, scores


def _made(data: HeadBatch, dims: dict[str, int], names: dict[str, list[str]], config: HeadConfig) -> _Tasks:
    torch.manual_seed(config.seed)
    return _Tasks(data, dims, names, config)


@torch.inference_mode()
def _said(module: _Tasks, held: HeadBatch) -> list[tuple[Tensor, Tensor]]:
    """Logits and targets of each task, of the rows that have its label."""
    logits = module(held.vectors, held.present)
    pairs = []
    for i, name in enumerate(module.heads):
        known = held.target[:, i] >= 0
        pairs.append((logits[name][known], held.target[known, i]))
    return [pair if len(pair[1]) else (pair[0].new_zeros(1, pair[0].shape[1]), pair[1].new_zeros(1)) for pair in pairs]


def _mean_score(held: HeadBatch, module: _Tasks) -> tuple[float, float]:
    merits, shares = zip(*(right(*pair) for pair in _said(module, held)), strict=True)
    return float(np.mean(merits)), float(np.mean(shares))
