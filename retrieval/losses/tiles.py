"""A batch's logits, a tile at a time: what every loss on them needs.

A `Problem` is x (n, d) against y (m, d). Its logits (n, m) are never whole in memory unless they are asked to be kept;
a tile of them is made, used and forgotten, and made again for the gradients. `RunningSoftmax` is what is known of each
row, or of each column, after some of the tiles. The losses on top follow the protocol in operator.py.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = -1e30  # a logit that is left out: finite, so that a tile of nothing else makes no nan
# Rows and columns of a tile; the workspace is three or four tiles of four bytes an entry.
TILES = {"cpu": (512, 512), "cuda": (4096, 2048)}


class Problem(NamedTuple):
    """Rows against columns, and which of them belong together.

    Row i belongs to column first + i (which may lie outside: then it has no partner here), or, with ids, to each column
    of its id. masked: to column first + i alone, and the others of its id are left out. weights: of each row's loss,
    and of each column's (None: rows are asked alone). smoothing and teacher_share: of the targets, the share spread
    evenly and the share that the teacher gives. hardest: how many wrong answers to write down. keep: the logits, too.

    The fields are the operators' arguments: operator.py reads names, order and types from here.
    """

    x: Tensor
    y: Tensor
    scale: Tensor
    row_weights: Tensor
    bias: Tensor | None = None
    column_weights: Tensor | None = None
    row_ids: Tensor | None = None
    column_ids: Tensor | None = None
    first: int = 0
    masked: bool = False
    smoothing: float = 0.0
    teacher_x: Tensor | None = None
    teacher_y: Tensor | None = None
    teacher_scale: Tensor | None = None
    teacher_bias: Tensor | None = None
    teacher_share: float = 0.0
    hardest: int = 0
    keep: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The type that sums are made in: float32, or float64 where the features are."""
        return torch.float64 if self.x.dtype == torch.float64 else torch.float32

    def row_spans(self) -> Iterator[slice]:
        """The rows in pieces of a tile's height."""
        return _spans(len(self.x), TILES.get(self.x.device.type, TILES["cpu"])[0])

    def column_spans(self) -> Iterator[slice]:
        """The columns in pieces of a tile's width."""
        return _spans(len(self.y), TILES.get(self.x.device.type, TILES["cpu"])[1])

    def logits(self, rows: slice, columns: slice) -> Tensor:
        """A tile, with what is left out at FLOOR."""
        return self._without(product(self.x[rows], self.y[columns], self.scale, self.dtype), rows, columns)

    def teacher_logits(self, rows: slice, columns: slice) -> Tensor | None:
        """The same tile of the teacher's, or None."""
        if self.teacher_x is None:
            return None
        assert self.teacher_y is not None and self.teacher_scale is not None  # a teacher comes whole
        tile = product(self.teacher_x[rows], self.teacher_y[columns], self.teacher_scale, self.dtype)
        if self.teacher_bias is not None:
            tile += self.teacher_bias
        return self._without(tile, rows, columns)

    def left_out(self, rows: slice, columns: slice) -> Tensor | None:
        """Which entries of a tile take no part, or None where all do."""
        if not self.masked:
            return None
        same = self._alike(rows, columns)
        self.diagonal(same, rows, columns)[0].fill_(False)
        return same

    @property
    def by_id(self) -> bool:
        """Whether ids say which pairs are true; else the diagonal does."""
        return self.row_ids is not None and not self.masked

    def belongs(self, rows: slice, columns: slice) -> Tensor:
        """Which entries of a tile are true pairs."""
        if self.by_id:
            return self._alike(rows, columns)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        pairs = torch.zeros(shape, dtype=torch.bool, device=self.x.device)
        self.diagonal(pairs, rows, columns)[0].fill_(True)
        return pairs

    def diagonal(self, tile: Tensor, rows: slice, columns: slice) -> tuple[Tensor, slice, slice]:
        """The entries (i, first + i) of a tile, as a view, and which rows and columns they are."""
        offset = self.first + rows.start - columns.start
        view = tile.diagonal(offset)
        row = rows.start + max(0, -offset)
        return view, slice(row, row + len(view)), slice(row + self.first, row + self.first + len(view))

    def _alike(self, rows: slice, columns: slice) -> Tensor:
        assert self.row_ids is not None and self.column_ids is not None  # both sides have them, or neither
        return self.row_ids[rows, None] == self.column_ids[columns]

    def _without(self, tile: Tensor, rows: slice, columns: slice) -> Tensor:
        out = self.left_out(rows, columns)
        return tile if out is None else tile.masked_fill_(out, FLOOR)


def _spans(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def product(x: Tensor, y: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """scale x y', added up in `dtype`: a GPU multiplies half precision as it is."""
    if x.is_cuda and x.dtype == y.dtype and x.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(x, y.T, out_dtype=dtype).mul_(scale)
    return (x.to(dtype) * scale.to(dtype)) @ y.to(dtype).T


def add_product(out: Tensor, tile: Tensor, rows: Tensor) -> None:
    """out += tile @ rows, added up in out's type. Slopes are rounded to bfloat16, never to float16: it has no 1e-9."""
    if rows.is_cuda and rows.dtype == torch.bfloat16:
        out += torch.mm(tile.to(rows.dtype), rows, out_dtype=out.dtype)
    else:
        out.addmm_(tile, rows.to(out.dtype))


class RunningSoftmax:
    """The softmax of each row: its top, its sum, and what the targets ask of it, after some of the tiles.

    Top and sum are two numbers, never one log-sum-exp: 95 + 1e-6 is 95 in float32, and a converged batch lives on the
    1e-6. For columns, hand in everything transposed.

    A view of `numbers`, (4, n) or with a teacher (7, n), which `start` makes: a tensor, so that it can be given to the
    backward pass, or sent to the process that goes on with it. true, spread: the sums of the true pairs' logits and of
    all logits. cross: of e^(teacher - its top) (logit - top).
    """

    def __init__(self, numbers: Tensor) -> None:
        self.top, self.sum, self.true, self.spread = numbers[:4]
        if len(numbers) > 4:
            self.teacher_top, self.teacher_sum, self.cross = numbers[4:]

    @staticmethod
    def start(p: Problem, count: int) -> Tensor:
        """The numbers of `count` rows before the first tile."""
        numbers = p.x.new_zeros((4 if p.teacher_x is None else 7, count), dtype=p.dtype)
        numbers[::4] = FLOOR  # both tops
        return numbers

    def see(self, where: slice, tile: Tensor, teacher: Tensor | None) -> None:
        """Take in a tile's rows; the teacher's share of them, too."""
        old = self.top[where].clone()
        top = torch.maximum(old, tile.amax(1))
        tile = tile - top[:, None]
        if teacher is not None:
            self._hear(where, tile, teacher, old - top)
        self.top[where] = top
        self.sum[where] = self.sum[where] * (old - top).exp() + tile.exp_().sum(1)

    def _hear(self, where: slice, below: Tensor, teacher: Tensor, moved: Tensor) -> None:
        old = self.teacher_top[where].clone()  # both tops may move
        top = torch.maximum(old, teacher.amax(1))
        share, shrink = (teacher - top[:, None]).exp_(), (old - top).exp()
        self.cross[where] = (self.cross[where] + self.teacher_sum[where] * moved) * shrink + (share * below).sum(1)
        self.teacher_sum[where] = self.teacher_sum[where] * shrink + share.sum(1)
        self.teacher_top[where] = top


class Hardest:
    """Of each row: the best logit among its true pairs, and the best few among all others, with their columns."""

    def __init__(self, count: int, like: Tensor, dtype: torch.dtype, few: int) -> None:
        self.few = few
        self.true = like.new_full((count,), FLOOR, dtype=dtype)
        self.best = like.new_full((count, few), FLOOR, dtype=dtype)
        self.columns = like.new_full((count, few), -1, dtype=torch.int64)

    def see(self, where: slice, tile: Tensor, pairs: Tensor, first_column: int) -> None:
        """Take in a tile's rows."""
        self.true[where] = torch.maximum(self.true[where], tile.masked_fill(~pairs, FLOOR).amax(1))
        best, columns = tile.masked_fill(pairs, FLOOR).topk(min(self.few, tile.shape[1]), 1)
        columns = (columns + first_column).masked_fill_(best <= FLOOR, -1)
        best, columns = torch.cat([self.best[where], best], 1), torch.cat([self.columns[where], columns], 1)
        self.best[where], order = best.topk(self.few, 1)
        self.columns[where] = columns.gather(1, order)
