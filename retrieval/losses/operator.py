"""What the losses in tiles share: four products and a fixed workspace, whatever the batch.

One pass over the tiles makes the loss and the little that is needed of each row and column; a second makes the tiles
again and both gradients from them (three products where the problem's `keep` holds the logits instead). `register`
makes operators of such passes: torch.compile takes each as one step, and autograd the one as the other's gradient.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from retrieval.losses.tiles import Hardest, Problem, add_product

_PROBLEM = (
    "Tensor x, Tensor y, Tensor scale, Tensor? bias, Tensor row_weights, Tensor? column_weights, Tensor? row_ids, "
    "Tensor? column_ids, SymInt first, bool masked, float smoothing, Tensor? teacher_x, Tensor? teacher_y, "
    "Tensor? teacher_scale, Tensor? teacher_bias, float teacher_share, int hardest, bool keep"
)
_GRADIENTS = "(Tensor, Tensor, Tensor, Tensor)"
_MADE = "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]
Slope = Callable[[slice, slice, Tensor], Tensor]


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


class TileWatch:
    """What a first pass writes down beside the loss: the logits, the hardest others."""

    def __init__(self, p: Problem) -> None:
        n, m = len(p.x), len(p.y)
        self._few = p.hardest
        self._logits = p.x.new_empty((n, m) if p.keep else (0, 0), dtype=p.dtype)
        self._rows = Hardest(n if p.hardest else 0, p.x, p.dtype, p.hardest)
        self._columns = Hardest(m if p.hardest else 0, p.x, p.dtype, p.hardest)

    def see(self, p: Problem, rows: slice, columns: slice, tile: Tensor) -> None:
        """Take in a tile of logits."""
        if p.keep:
            self._logits[rows, columns] = tile
        if self._few:
            pairs = p.belongs(rows, columns)
            self._rows.see(rows, tile, pairs, columns.start)
            self._columns.see(columns, tile.T, pairs.T, rows.start)

    def made(self, loss: Tensor, rows: Tensor, columns: Tensor) -> Made:
        """All of it, with the loss and the softmax of rows and columns."""
        seen = (h for side in (self._rows, self._columns) for h in (side.true, side.best, side.columns))
        return Made(loss, rows, columns, self._logits, *seen)


def gradients(p: Problem, logits: Tensor, upstream: Tensor, slope: Slope) -> Gradients:
    """Of x, y, scale and bias, from `slope(rows, columns, tile)`: d loss / d logit of a tile (left as it is)."""
    dx, dy = torch.empty_like(p.x), p.y.new_zeros(p.y.shape, dtype=p.dtype)
    dscale, dbias = p.x.new_zeros(2, dtype=p.dtype)
    factor = p.scale.to(p.dtype) * upstream.to(p.dtype)
    for rows in p.row_spans():
        piece = p.x.new_zeros(p.x[rows].shape, dtype=p.dtype)
        for columns in p.column_spans():
            tile = slope(rows, columns, logits[rows, columns] if p.keep else p.logits(rows, columns))
            add_product(piece, tile, p.y[columns])
            add_product(dy[columns], tile.T, p.x[rows])
            if p.bias is not None:
                dbias += tile.sum()
        dscale += (piece * p.x[rows]).sum()  # <dx, x> / scale: no pass of its own
        dx[rows] = piece.mul_(factor)
    dscale, dbias = (dscale * upstream).to(p.scale.dtype), (dbias * upstream).to(p.scale.dtype)
    return dx, dy.mul_(factor).to(p.y.dtype), dscale, dbias


def exact(p: Problem) -> torch.autocast:
    """Autocast would multiply float32 in bfloat16."""
    return torch.autocast(p.x.device.type, enabled=False)


def nothing(p: Problem) -> Tensor:
    """The softmax of no row."""
    return p.x.new_empty((4, 0), dtype=p.dtype)


def register(
    name: str, forward: Callable[..., Made], backward: Callable[..., Gradients], softmax: bool
) -> Callable[..., tuple]:
    """`mmr::name` and its gradient `mmr::name_grad`, with their shapes for the compiler.

    forward takes a Problem's fields; backward these, the forward's rows, columns and logits, and what comes from above.
    softmax: whether the forward leaves that of rows and columns.
    """
    operator = torch.library.custom_op(f"mmr::{name}", forward, mutates_args=(), schema=f"({_PROBLEM}) -> {_MADE}")
    schema = f"({_PROBLEM}, Tensor rows, Tensor columns, Tensor logits, Tensor upstream) -> {_GRADIENTS}"
    gradient = torch.library.custom_op(f"mmr::{name}_grad", backward, mutates_args=(), schema=schema)

    @operator.register_fake
    def _(*args: object) -> Made:
        p = Problem(*args)
        counts = (len(p.x) if softmax else 0, len(p.y) if softmax and p.column_weights is not None else 0)
        states = (p.x.new_empty((4, count), dtype=p.dtype) for count in counts)
        return TileWatch(p).made(p.x.new_empty((), dtype=p.dtype), *states)

    @gradient.register_fake
    def _(*args: object) -> Gradients:
        p = Problem(*args[:-4])
        dy = torch.empty_like(p.y, memory_format=torch.contiguous_format)
        return torch.empty_like(p.x), dy, torch.empty_like(p.scale), torch.empty_like(p.scale)

    operator.register_autograd(_differentiate(gradient), setup_context=_remember)
    return operator


def _remember(ctx: object, inputs: tuple, output: tuple) -> None:
    made = Made(*output)
    ctx.fields = [None if isinstance(value, Tensor) else (value,) for value in inputs]
    tensors = (value for value in inputs if isinstance(value, Tensor))
    ctx.save_for_backward(*tensors, made.rows, made.columns, made.logits)


def _differentiate(gradient: Callable) -> Callable:
    def differentiate(ctx: object, upstream: Tensor, *_: object) -> Problem:
        *tensors, rows, columns, logits = ctx.saved_tensors
        left = iter(tensors)
        p = Problem(*(next(left) if field is None else field[0] for field in ctx.fields))
        dx, dy, dscale, dbias = gradient(*p, rows, columns, logits, upstream)
        return Problem(dx, dy, dscale, None if p.bias is None else dbias, *[None] * (len(p) - 4))

    return differentiate
