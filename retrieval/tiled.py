"""InfoNCE and the sigmoid loss in tiles: four products and a fixed workspace, whatever the batch.

One pass over the tiles makes the loss and the softmax of each row and column; a second makes the tiles again and both
gradients from them (three products where the problem's `keep` holds the logits instead). They are operators of their
own, so that torch.compile takes each as one step, and are autograd functions through `register_autograd`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from retrieval.tiles import Hardest, Problem, Side, add_product

_PROBLEM = (
    "Tensor x, Tensor y, Tensor scale, Tensor? bias, Tensor row_weights, Tensor? column_weights, Tensor? row_ids, "
    "Tensor? column_ids, SymInt first, bool masked, float smoothing, Tensor? teacher_x, Tensor? teacher_y, "
    "Tensor? teacher_scale, float teacher_share, int hardest, bool keep"
)
_GRADIENTS = "(Tensor, Tensor, Tensor, Tensor)"
_MADE = "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"


class Made(NamedTuple):
    """What the first pass leaves. Where nothing was asked for, a tensor is empty.

    rows (4, n), columns (4, m): their softmax (tiles.Side). logits (n, m). Of rows and of columns: the best true logit,
    the hardest others (n, k) and where they are.
    """

    loss: Tensor
    rows: Tensor
    columns: Tensor
    logits: Tensor
    row_true: Tensor
    row_hardest: Tensor
    row_at: Tensor
    column_true: Tensor
    column_hardest: Tensor
    column_at: Tensor


def info_nce(problem: Problem) -> Made:
    """The weighted sum of each row's (and each column's) cross-entropy; gradients to x, y and scale."""
    return Made(*torch.ops.mmr.info_nce(*problem._replace(bias=None)))  # a softmax takes no notice of it


def sigmoid(problem: Problem) -> Made:
    """The weighted sum over rows of -log sigmoid(+-logit) over columns; gradients to x, y, scale and bias."""
    return Made(*torch.ops.mmr.sigmoid(*problem))


# ---------------------------------------------------------------- both


class _Watch:
    """What a first pass writes down beside the loss: the logits, the hardest others."""

    def __init__(self, p: Problem) -> None:
        n, m = len(p.x), len(p.y)
        self.few = p.hardest
        self.logits = p.x.new_empty((n, m) if p.keep else (0, 0), dtype=p.dtype)
        self.rows = Hardest(n if self.few else 0, p.x, p.dtype, self.few)
        self.columns = Hardest(m if self.few else 0, p.x, p.dtype, self.few)

    def see(self, p: Problem, rows: slice, columns: slice, tile: Tensor) -> None:
        if p.keep:
            self.logits[rows, columns] = tile
        if self.few:
            pairs = p.belongs(rows, columns)
            self.rows.see(rows, tile, pairs, columns.start)
            self.columns.see(columns, tile.T, pairs.T, rows.start)

    def made(self, loss: Tensor, rows: Tensor, columns: Tensor) -> Made:
        seen = (h for side in (self.rows, self.columns) for h in (side.true, side.best, side.columns))
        return Made(loss.float() if loss.dtype != torch.float64 else loss, rows, columns, self.logits, *seen)


Slope = Callable[[slice, slice, Tensor], Tensor]


def _gradients(p: Problem, logits: Tensor, upstream: Tensor, slope: Slope) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of x, y, scale and bias, from `slope(rows, columns, tile)`: d loss / d logit of a tile."""
    dx, dy = torch.empty_like(p.x), p.y.new_zeros(p.y.shape, dtype=p.dtype)
    dscale, dbias = p.x.new_zeros(2, dtype=p.dtype)
    factor = p.scale.to(p.dtype) * upstream.to(p.dtype)
    for rows in p.spans(len(p.x)):
        piece = p.x.new_zeros(p.x[rows].shape, dtype=p.dtype)
        for columns in p.spans(len(p.y)):
            tile = slope(rows, columns, logits[rows, columns] if p.keep else p.logits(rows, columns))
            add_product(piece, tile, p.y[columns])
            add_product(dy[columns], tile.T, p.x[rows])
            if p.bias is not None:
                dbias += tile.sum()
        dscale += (piece * p.x[rows]).sum()
        dx[rows] = piece.mul_(factor)
    dscale, dbias = (dscale * upstream).to(p.scale.dtype), (dbias * upstream).to(p.scale.dtype)
    return dx, dy.mul_(factor).to(p.y.dtype), dscale, dbias


def _exact(p: Problem) -> torch.autocast:
    """Autocast would multiply float32 in bfloat16."""
    return torch.autocast(p.x.device.type, enabled=False)


# ---------------------------------------------------------------- InfoNCE


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
    if ids is not None:
        ordered = others.sort()[0]
        same = torch.searchsorted(ordered, ids, right=True) - torch.searchsorted(ordered, ids)
        if p.masked:
            columns = columns + 1 - same
        else:
            pairs = same.clamp(min=1).to(p.dtype)
    ours = weight * (1 - p.teacher_share)
    return _Target(weight, ours * (1 - p.smoothing), ours * p.smoothing, weight * p.teacher_share, pairs, columns)


def _targets(p: Problem) -> list[_Target]:
    rows = _target(p, p.row_weights, p.row_ids, p.column_ids, len(p.y))
    if p.column_weights is None:
        return [rows]
    return [rows, _target(p, p.column_weights, p.column_ids, p.row_ids, len(p.x))]


def _see_targets(p: Problem, sides: list[Side], rows: slice, columns: slice, tile: Tensor) -> None:
    if p.row_ids is not None and not p.masked:
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


def _info_nce(*args: object) -> Made:
    p = Problem(*args)
    sides = [Side(len(p.x), p.x, p.dtype)]
    if p.column_weights is not None:
        sides.append(Side(len(p.y), p.x, p.dtype))
    watch = _Watch(p)
    with _exact(p):
        for rows in p.spans(len(p.x)):
            for columns in p.spans(len(p.y)):
                tile, teacher = p.logits(rows, columns), p.teacher_logits(rows, columns)
                watch.see(p, rows, columns, tile)
                _see_targets(p, sides, rows, columns, tile)
                sides[0].see(rows, tile, teacher)
                if len(sides) == 2:
                    sides[1].see(columns, tile.T, None if teacher is None else teacher.T)
        loss = sum(_cross_entropy(p, side, target) for side, target in zip(sides, _targets(p), strict=True))
    return watch.made(loss, *[side.state() for side in sides], *[_empty(p)] * (2 - len(sides)))


def _cross_entropy(p: Problem, side: Side, target: _Target) -> Tensor:
    """Each part is top - what the target asks, which is near zero where the batch has converged."""
    rows = target.weight * side.sum.log() + target.hard * (side.top - side.true / target.pairs)
    if p.smoothing:
        rows += target.even * (side.top - side.spread / target.columns)
    if p.teacher_x is not None:
        rows -= target.teacher * side.cross / side.teacher_sum
    return rows.sum()


def _info_nce_grad(*args: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    p, (rows, columns, logits, upstream) = Problem(*args[:-4]), args[-4:]
    states, targets = (rows, columns), _targets(p)

    def slope(rows: slice, columns: slice, tile: Tensor) -> Tensor:
        teacher = p.teacher_logits(rows, columns)
        out = _pull(p, states[0][:, rows], _part(targets[0], rows), tile, teacher)
        if len(targets) == 2:
            teacher = None if teacher is None else teacher.T
            out += _pull(p, states[1][:, columns], _part(targets[1], columns), tile.T, teacher).T
        left_out = p.left_out(rows, columns)
        if left_out is not None:
            out.masked_fill_(left_out, 0)
        return _minus_hard(p, targets, rows, columns, out)

    with _exact(p):
        return _gradients(p, logits, upstream, slope)


def _part(target: _Target, where: slice) -> _Target:
    return _Target(*(vector[where] for vector in target))


def _pull(p: Problem, state: Tensor, target: _Target, tile: Tensor, teacher: Tensor | None) -> Tensor:
    """Weighted softmax of each row, less the soft part of its target."""
    top, total, teacher_top, teacher_total = state[..., None]
    out = (tile - top).exp_().mul_(target.weight[:, None] / total)
    if p.smoothing:
        out -= (target.even / target.columns)[:, None]
    if teacher is not None:
        out -= (teacher - teacher_top).exp_().mul_(target.teacher[:, None] / teacher_total)
    return out


def _minus_hard(p: Problem, targets: list[_Target], rows: slice, columns: slice, tile: Tensor) -> Tensor:
    """The true pairs' share of the target, taken off in place."""
    shares = [target.hard / target.pairs for target in targets]
    if p.row_ids is not None and not p.masked:
        asked = shares[0][rows, None] + (shares[1][columns] if len(shares) == 2 else 0)
        return tile.sub_(p.belongs(rows, columns) * asked)
    values, *spans = p.diagonal(tile, rows, columns)
    for share, where in zip(shares, spans, strict=False):
        values -= share[where]
    return tile


# ---------------------------------------------------------------- sigmoid


def _turn(p: Problem, rows: slice, columns: slice, tile: Tensor) -> Tensor:
    """The sign of each true pair turned, in place."""
    if p.row_ids is not None and not p.masked:
        return tile.mul_(1 - 2 * p.belongs(rows, columns).to(p.dtype))
    p.diagonal(tile, rows, columns)[0].neg_()
    return tile


def _sigmoid(*args: object) -> Made:
    p = Problem(*args)
    watch, loss = _Watch(p), p.x.new_zeros((), dtype=p.dtype)
    with _exact(p):
        for rows in p.spans(len(p.x)):
            for columns in p.spans(len(p.y)):
                tile = p.logits(rows, columns)
                watch.see(p, rows, columns, tile)
                loss += p.row_weights[rows].to(p.dtype) @ _surprise(p, rows, columns, tile).sum(1)
    return watch.made(loss, _empty(p), _empty(p))


def _surprise(p: Problem, rows: slice, columns: slice, tile: Tensor) -> Tensor:
    """-log of the probability of what is so, entry by entry."""
    tile = tile + p.bias if p.bias is not None else tile
    teacher = p.teacher_logits(rows, columns)
    if teacher is None:
        return _softplus(_turn(p, rows, columns, tile))
    yes, no = _softplus(-tile), _softplus(tile)
    soft = no + teacher.sigmoid_() * (yes - no)
    return torch.lerp(_softplus(_turn(p, rows, columns, tile)), soft, p.teacher_share)


def _softplus(tile: Tensor) -> Tensor:
    return F.softplus(tile, threshold=40.0)


def _sigmoid_grad(*args: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    p, (_, _, logits, upstream) = Problem(*args[:-4]), args[-4:]

    def slope(rows: slice, columns: slice, tile: Tensor) -> Tensor:
        tile = tile + (p.bias if p.bias is not None else 0)
        teacher = p.teacher_logits(rows, columns)
        soft = None if teacher is None else tile.sigmoid() - teacher.sigmoid_()
        # sigmoid(z) - 1 is -sigmoid(-z), without the difference
        out = _turn(p, rows, columns, _turn(p, rows, columns, tile).sigmoid_())
        if soft is not None:
            out.lerp_(soft, p.teacher_share)
        return out.mul_(p.row_weights[rows, None].to(p.dtype))

    with _exact(p):
        return _gradients(p, logits, upstream, slope)


# ---------------------------------------------------------------- operators


def _empty(p: Problem) -> Tensor:
    return p.x.new_empty((4, 0), dtype=p.dtype)


def _register(name: str, forward: Callable, backward: Callable, softmax: bool) -> None:
    """`mmr::name` and `mmr::name_grad`, with their shapes for the compiler and the one as the other's gradient."""
    operator = torch.library.custom_op(f"mmr::{name}", forward, mutates_args=(), schema=f"({_PROBLEM}) -> {_MADE}")
    schema = f"({_PROBLEM}, Tensor rows, Tensor columns, Tensor logits, Tensor upstream) -> {_GRADIENTS}"
    gradient = torch.library.custom_op(f"mmr::{name}_grad", backward, mutates_args=(), schema=schema)

    @operator.register_fake
    def _(*args: object) -> Made:
        p = Problem(*args)
        n, m = len(p.x), len(p.y)
        watch = _Watch(p)
        states = (n if softmax else 0, m if softmax and p.column_weights is not None else 0)
        return watch.made(p.x.new_empty((), dtype=p.dtype), *(p.x.new_empty((4, k), dtype=p.dtype) for k in states))

    @gradient.register_fake
    def _(*args: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        p = Problem(*args[:-4])
        return torch.empty_like(p.x), torch.empty_like(p.y), torch.empty_like(p.scale), torch.empty_like(p.scale)

    def remember(ctx: object, inputs: tuple, output: tuple) -> None:
        made, tensors = Made(*output), [value for value in inputs if isinstance(value, Tensor)]
        ctx.problem = [None if isinstance(value, Tensor) else (value,) for value in inputs]
        ctx.save_for_backward(*tensors, made.rows, made.columns, made.logits)

    def differentiate(ctx: object, upstream: Tensor, *_: object) -> tuple:
        *tensors, rows, columns, logits = ctx.saved_tensors
        left = iter(tensors)
        problem = Problem(*(next(left) if value is None else value[0] for value in ctx.problem))
        dx, dy, dscale, dbias = gradient(*problem, rows, columns, logits, upstream)
        bias = dbias if problem.bias is not None else None
        return Problem(dx, dy, dscale, bias, *[None] * (len(Problem._fields) - 4))

    operator.register_autograd(differentiate, setup_context=remember)


_register("info_nce", _info_nce, _info_nce_grad, softmax=True)
_register("sigmoid", _sigmoid, _sigmoid_grad, softmax=False)
