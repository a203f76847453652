"""InfoNCE in tiles: the cross-entropy of each row, and of each column, of the logits."""

from typing import NamedTuple

import torch
from torch import Tensor

from retrieval.losses.operator import ForwardOutput, Slope, register
from retrieval.losses.tiles import Problem, RunningSoftmax


class TiledInfoNCE:
    """The weighted sum of each row's (and each column's) cross-entropy. Its sides are `RunningSoftmax`es' numbers."""

    symmetric = True

    def start(self, p: Problem) -> list[Tensor]:
        """The running numbers before the first tile: of rows, and of columns where those have weights."""
        counts = [len(p.x)] if p.column_weights is None else [len(p.x), len(p.y)]
        return [RunningSoftmax.start(p, count) for count in counts]

    def see(self, p: Problem, sides: list[Tensor], rows: slice, columns: slice, tile: Tensor) -> None:
        """Take in a tile of logits, and the teacher's of the same place."""
        teacher, running = p.teacher_logits(rows, columns), [RunningSoftmax(side) for side in sides]
        _see_targets(p, running, rows, columns, tile)
        running[0].see(rows, tile, teacher)
        if len(running) == 2:
            running[1].see(columns, tile.T, None if teacher is None else teacher.T)

    def value(self, p: Problem, sides: list[Tensor], shards: int = 1) -> Tensor:
        """The loss, after all tiles."""
        targets = _targets(p, shards)
        each = [_cross_entropy(p, RunningSoftmax(side), t) for side, t in zip(sides, targets, strict=True)]
        return torch.stack(each).sum()

    def slope(self, p: Problem, sides: list[Tensor], shards: int = 1) -> Slope:
        """Each side's softmax less its target, weighted."""
        targets = _targets(p, shards)

        def slope(rows: slice, columns: slice, tile: Tensor) -> Tensor:
            teacher = p.teacher_logits(rows, columns)
            out = _pull(p, sides[0][:, rows], _part(targets[0], rows), tile, teacher)
            _minus_hard(p, targets[0], 0, rows, columns, out)
            if len(targets) == 2:
                # Each side's difference is taken before they are added: a converged batch is made of such differences.
                teacher = None if teacher is None else teacher.T
                other = _pull(p, sides[1][:, columns], _part(targets[1], columns), tile.T, teacher).T
                _minus_hard(p, targets[1], 1, rows, columns, other)
                out += other
            left_out = p.left_out(rows, columns)
            return out if left_out is None else out.masked_fill_(left_out, 0)

        return slope


INFO_NCE = TiledInfoNCE()
OPERATOR = register("info_nce", INFO_NCE)


def tiled_info_nce(problem: Problem) -> ForwardOutput:
    """The loss of a problem; gradients to x, y and scale. A softmax takes no notice of the bias."""
    return ForwardOutput(*OPERATOR(**problem._replace(bias=None)._asdict()))


class _Target(NamedTuple):
    """What the targets of a side are made of, each (n,).

    hard, even and teacher: how much of the weight is spread over the true pairs, over all columns and as the teacher
    says. pairs, columns: over how many.
    """

    weight: Tensor
    hard: Tensor
    even: Tensor
    teacher: Tensor
    pairs: Tensor
    columns: Tensor


def _target(p: Problem, weight: Tensor, ids: Tensor | None, others: Tensor | None, count: int) -> _Target:
    weight = weight.to(p.dtype)
    pairs, columns = torch.ones_like(weight), torch.full_like(weight, count)
    if ids is not None and others is not None:
        ids, ordered = ids.contiguous(), others.sort()[0]
        same = torch.searchsorted(ordered, ids, right=True) - torch.searchsorted(ordered, ids)
        if p.masked:
            columns = columns + 1 - same
        else:
            pairs = same.clamp(min=1).to(p.dtype)
    ours = weight * (1 - p.teacher_share)
    return _Target(weight, ours * (1 - p.smoothing), ours * p.smoothing, weight * p.teacher_share, pairs, columns)


def _targets(p: Problem, shards: int) -> list[_Target]:
    rows = _target(p, p.row_weights, p.row_ids, p.column_ids, len(p.y) * shards)
    if p.column_weights is None:
        return [rows]
    return [rows, _target(p, p.column_weights, p.column_ids, p.row_ids, len(p.x) * shards)]


def _see_targets(p: Problem, sides: list[RunningSoftmax], rows: slice, columns: slice, tile: Tensor) -> None:
    if p.by_id:
        true = tile * p.belongs(rows, columns)
        for side, where, part in zip(sides, (rows, columns), (true, true.T), strict=False):
            side.true[where] += part.sum(1)
    else:
        values, of_rows, of_columns = p.diagonal(tile, rows, columns)
        for side, where in zip(sides, (of_rows, of_columns), strict=False):
            side.true[where] = values
    if p.smoothing:
        out = p.left_out(rows, columns)
        taken = tile if out is None else tile.masked_fill(out, 0)
        for side, where, part in zip(sides, (rows, columns), (taken, taken.T), strict=False):
            side.spread[where] += part.sum(1)


def _cross_entropy(p: Problem, side: RunningSoftmax, target: _Target) -> Tensor:
    """Each part is top - what the target asks, which is near zero where the batch has converged."""
    rows = target.weight * side.sum.log() + target.hard * (side.top - side.true / target.pairs)
    if p.smoothing:
        rows += target.even * (side.top - side.spread / target.columns)
    if p.teacher_x is not None:
        rows -= target.teacher * side.cross / side.teacher_sum
    return rows.sum()


def _part(target: _Target, where: slice) -> _Target:
    return _Target(*(vector[where] for vector in target))


def _pull(p: Problem, numbers: Tensor, target: _Target, tile: Tensor, teacher: Tensor | None) -> Tensor:
    """Weighted softmax of each row, less the soft part of its target."""
    side = RunningSoftmax(numbers[..., None])
    out = (tile - side.top).exp_().mul_(target.weight[:, None] / side.sum)
    if p.smoothing:
        out -= (target.even / target.columns)[:, None]
    if teacher is not None:
        out -= (teacher - side.teacher_top).exp_().mul_(target.teacher[:, None] / side.teacher_sum)
    return out


def _minus_hard(p: Problem, target: _Target, side: int, rows: slice, columns: slice, tile: Tensor) -> None:
    """The true pairs' share of the target taken off, in place; side: 0 where the target is of rows, 1 of columns."""
    share = target.hard / target.pairs
    if p.by_id:
        tile -= p.belongs(rows, columns) * (share[columns] if side else share[rows, None])
    else:
        values, *spans = p.diagonal(tile, rows, columns)
        values -= share[spans[side]]
