"""The sigmoid loss in tiles: every entry of the logits is a yes or no of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor

from retrieval.losses.operator import Gradients, Made, TileWatch, exact, gradients, nothing, register
from retrieval.losses.tiles import Problem


def tiled_sigmoid(problem: Problem) -> Made:
    """The weighted sum over rows of -log sigmoid(+-logit) over columns; gradients to x, y, scale and bias."""
    return Made(*_OPERATOR(*problem))


def _turn(p: Problem, rows: slice, columns: slice, tile: Tensor) -> Tensor:
    """The sign of each true pair turned, in place."""
    if p.row_ids is not None and not p.masked:
        return tile.mul_(1 - 2 * p.belongs(rows, columns).to(p.dtype))
    p.diagonal(tile, rows, columns)[0].neg_()
    return tile


def _sigmoid(*args: object) -> Made:
    p = Problem(*args)
    watch, loss = TileWatch(p), p.x.new_zeros((), dtype=p.dtype)
    with exact(p):
        for rows in p.row_spans():
            for columns in p.column_spans():
                tile = p.logits(rows, columns)
                watch.see(p, rows, columns, tile)
                loss += p.row_weights[rows].to(p.dtype) @ _surprise(p, rows, columns, tile).sum(1)
    return watch.made(loss, nothing(p), nothing(p))


def _surprise(p: Problem, rows: slice, columns: slice, tile: Tensor) -> Tensor:
    """-log of the probability of what is so, entry by entry."""
    tile = tile + p.bias if p.bias is not None else tile
    teacher = p.teacher_logits(rows, columns)
    if teacher is None:
        return _softplus(_turn(p, rows, columns, tile))
    soft = torch.lerp(_softplus(tile), _softplus(-tile), teacher.sigmoid_())
    return torch.lerp(_softplus(_turn(p, rows, columns, tile)), soft, p.teacher_share)


def _softplus(tile: Tensor) -> Tensor:
    return F.softplus(tile, threshold=40.0)


def _sigmoid_grad(*args: object) -> Gradients:
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

    with exact(p):
        return gradients(p, logits, upstream, slope)


_OPERATOR = register("sigmoid", _sigmoid, _sigmoid_grad, softmax=False)
