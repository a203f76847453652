"""What the losses in tiles share: four products and a fixed workspace, whatever the batch.

One pass over the tiles makes the loss and the little that is needed of each row and column; a second makes the tiles
again and both gradients from them (three products where the problem's `keep` holds the logits instead). What differs
between losses is a `TiledLoss`. `register` makes an operator of one: torch.compile takes each pass as one step, and
autograd the second as the first one's gradient. A batch that lies on several processes makes the same passes, shard by
shard (training/distributed/ring.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, get_type_hints

import torch
from torch import Tensor
from torch.library import CustomOpDef

from retrieval.losses.tiles import Hardest, Problem, add_product

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]  # of x, y, scale and bias
Slope = Callable[[slice, slice, Tensor], Tensor]
_TYPES = {Tensor: "Tensor", Tensor | None: "Tensor?", int: "SymInt", float: "float", bool: "bool"}


class TiledLoss(Protocol):
    """A loss of logits that come a tile at a time.

    `sides` are the numbers it keeps of rows (k, n) and, where columns are asked too, of columns (k, m).
    """

    symmetric: bool  # whether a pair's loss is half its row's and half its column's

    def start(self, p: Problem) -> list[Tensor]:
        """The sides before the first tile."""
        ...

    def see(self, p: Problem, sides: list[Tensor], rows: slice, columns: slice, tile: Tensor) -> None:
        """Take in a tile of logits; it may be overwritten."""
        ...

    def value(self, p: Problem, sides: list[Tensor], shards: int = 1) -> Tensor:
        """The loss, after all tiles. shards: how many blocks as large as this one the rows and columns have met."""
        ...

    def slope(self, p: Problem, sides: list[Tensor], shards: int = 1) -> Slope:
        """(rows, columns, tile) -> d loss / d logit, with the tile left as it is."""
        ...


class ForwardOutput(NamedTuple):
    """What the first pass leaves. Where nothing was asked for, a tensor is empty.

    rows (k, n), columns (k, m): the loss's sides. logits (n, m). Of rows and of columns: the best true logit, the
    hardest others (n, h) and where they are.
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


class ByProducts:
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

    def output(self, p: Problem, loss: Tensor, sides: list[Tensor]) -> ForwardOutput:
        """All of it, with the loss and its sides."""
        rows, columns = sides if len(sides) == 2 else (*sides, p.x.new_empty((0, 0), dtype=p.dtype))
        seen = (h for side in (self._rows, self._columns) for h in (side.true, side.best, side.columns))
        return ForwardOutput(loss, rows, columns, self._logits, *seen)


def see_tiles(loss: TiledLoss, p: Problem, sides: list[Tensor], beside: ByProducts | None = None) -> None:
    """The first pass: every tile of the problem, added to the sides."""
    for rows in p.row_spans():
        for columns in p.column_spans():
            tile = p.logits(rows, columns)
            if beside is not None:
                beside.see(p, rows, columns, tile)
            loss.see(p, sides, rows, columns, tile)


def add_slopes(
    p: Problem, rows: slice, slope: Slope, dx: Tensor, dy: Tensor, dbias: Tensor, logits: Tensor | None = None
) -> None:
    """The second pass of a tile's height of rows. logits: those that were kept, or None.

    Adds slope @ y to these rows' dx, slope.T @ x to dy (m, d) and the slopes to dbias: gradients but for the scale.
    """
    for columns in p.column_spans():
        tile = slope(rows, columns, p.logits(rows, columns) if logits is None else logits[rows, columns])
        add_product(dx, tile, p.y[columns])
        add_product(dy[columns], tile.T, p.x[rows])
        if p.bias is not None:
            dbias += tile.sum()


def gradients(p: Problem, logits: Tensor, upstream: Tensor, slope: Slope) -> Gradients:
    """The second pass. No more than a tile's height of dx is ever wider than x itself."""
    dx, dy = torch.empty_like(p.x), p.y.new_zeros(p.y.shape, dtype=p.dtype)
    dscale, dbias = p.x.new_zeros(2, dtype=p.dtype)
    factor = p.scale.to(p.dtype) * upstream.to(p.dtype)
    for rows in p.row_spans():
        piece = p.x.new_zeros(p.x[rows].shape, dtype=p.dtype)
        add_slopes(p, rows, slope, piece, dy, dbias, logits if p.keep else None)
        dscale += (piece * p.x[rows]).sum()  # <dx, x> / scale: no pass of its own
        dx[rows] = piece.mul_(factor)
    dscale, dbias = (dscale * upstream).to(p.scale.dtype), (dbias * upstream).to(p.scale.dtype)
    return dx, dy.mul_(factor).to(p.y.dtype), dscale, dbias


def exact(p: Problem) -> torch.autocast:
    """Autocast would multiply float32 in bfloat16."""
    return torch.autocast(p.x.device.type, enabled=False)


# ---------------------------------------------------------------- as operators


class _Saved(NamedTuple):
    """What the gradient takes beside the problem: what the forward left, and what comes from above."""

    rows: Tensor
    columns: Tensor
    logits: Tensor
    upstream: Tensor


def register(name: str, loss: TiledLoss) -> CustomOpDef:
    """`mmr::name` and its gradient `mmr::name_grad`, with their shapes for the compiler.

    Call it with a Problem's fields by name; it gives a ForwardOutput's. A kernel gets them in the schema's order, which
    is Problem's own.
    """

    def forward(*fields: Any) -> ForwardOutput:
        p = Problem(*fields)
        sides, beside = loss.start(p), ByProducts(p)
        with exact(p):
            see_tiles(loss, p, sides, beside)
            return beside.output(p, loss.value(p, sides), sides)

    def backward(*fields: Any) -> Gradients:
        count = len(Problem._fields)
        p, saved = Problem(*fields[:count]), _Saved(*fields[count:])
        with exact(p):
            sides = [saved.rows] if p.column_weights is None else [saved.rows, saved.columns]
            return gradients(p, saved.logits, saved.upstream, loss.slope(p, sides))

    problem, outputs = arguments(Problem), ", ".join(["Tensor"] * len(ForwardOutput._fields))
    operator = torch.library.custom_op(f"mmr::{name}", forward, mutates_args=(), schema=f"({problem}) -> ({outputs})")
    schema = f"({problem}, {arguments(_Saved)}) -> (Tensor, Tensor, Tensor, Tensor)"
    gradient = torch.library.custom_op(f"mmr::{name}_grad", backward, mutates_args=(), schema=schema)
    operator.register_fake(_shapes(loss))
    gradient.register_fake(_gradient_shapes)
    operator.register_autograd(_differentiate(gradient), setup_context=_remember)
    return operator


def arguments(fields: type) -> str:
    """A NamedTuple's fields as a schema's arguments: "Tensor x, Tensor? bias, SymInt first"."""
    return ", ".join(f"{_TYPES[kind]} {name}" for name, kind in get_type_hints(fields).items())


def _shapes(loss: TiledLoss) -> Callable[..., ForwardOutput]:
    def shapes(*fields: Any) -> ForwardOutput:
        p = Problem(*fields)
        return ByProducts(p).output(p, p.x.new_empty((), dtype=p.dtype), loss.start(p))

    return shapes


def _gradient_shapes(*fields: Any) -> Gradients:
    p = Problem(*fields[: len(Problem._fields)])
    dy = torch.empty_like(p.y, memory_format=torch.contiguous_format)
    return torch.empty_like(p.x), dy, torch.empty_like(p.scale), torch.empty_like(p.scale)


# ctx is torch's, which lets anything be set on it: Any, for FunctionCtx does not say so.
def _remember(ctx: Any, inputs: tuple, output: tuple) -> None:
    left = ForwardOutput(*output)
    ctx.fields = [None if isinstance(value, Tensor) else (value,) for value in inputs]
    tensors = (value for value in inputs if isinstance(value, Tensor))
    ctx.save_for_backward(*tensors, left.rows, left.columns, left.logits)


def _differentiate(gradient: CustomOpDef) -> Callable[..., tuple[Tensor | None, ...]]:
    def differentiate(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, rows, columns, logits = ctx.saved_tensors
        left = iter(tensors)
        p = Problem(*(next(left) if field is None else field[0] for field in ctx.fields))
        saved = _Saved(rows, columns, logits, upstream)
        dx, dy, dscale, dbias = gradient(**p._asdict(), **saved._asdict())
        grads = {"x": dx, "y": dy, "scale": dscale, "bias": None if p.bias is None else dbias}
        return tuple(grads.get(name) for name in Problem._fields)

    return differentiate
