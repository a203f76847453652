"""The sigmoid loss in tiles: every entry of the logits is a yes or no of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor

from retrieval.losses.operator import ForwardOutput, Slope, register
from retrieval.losses.tiles import Problem


class TiledSigmoid:
    """The weighted sum over rows of -log sigmoid(+-logit) over columns. Its side is that sum of each row, (1, n)."""

    symmetric = False

    def start(self, p: Problem) -> list[Tensor]:
        """A sum of 0 for each row; columns have none."""
        return [p.x.new_zeros((1, len(p.x)), dtype=p.dtype)]

    def see(self, p: Problem, sides: list[Tensor], rows: slice, columns: slice, tile: Tensor) -> None:
        """Add a tile to the sums of its rows."""
        sides[0][0, rows] += _surprise(p, rows, columns, tile).sum(1)

    def value(self, p: Problem, sides: list[Tensor], shards: int = 1) -> Tensor:
        """The loss, after all tiles; `shards` changes nothing, as each entry is an answer of its own."""
        return p.row_weights.to(p.dtype) @ sides[0][0]

    def slope(self, p: Problem, sides: list[Tensor], shards: int = 1) -> Slope:
        """The probability less the answer, weighted."""

        def slope(rows: slice, columns: slice, tile: Tensor) -> Tensor:
            tile = tile + (p.bias if p.bias is not None else 0)
            teacher = p.teacher_logits(rows, columns)
            soft = None if teacher is None else tile.sigmoid() - teacher.sigmoid_()
            # sigmoid(z) - 1 is -sigmoid(-z), without the difference
            out = _turn(p, rows, columns, _turn(p, rows, columns, tile).sigmoid_())
            if soft is not None:
                out.lerp_(soft, p.teacher_share)
            return out.mul_(p.row_weights[rows, None].to(p.dtype))

        return slope


SIGMOID = TiledSigmoid()
OPERATOR = register("sigmoid", SIGMOID)


def tiled_sigmoid(problem: Problem) -> ForwardOutput:
    """The loss of a problem; gradients to x, y, scale and bias."""
    return ForwardOutput(*OPERATOR(**problem._asdict()))


def _turn(p: Problem, rows: slice, columns: slice, tile: Tensor) -> Tensor:
    """The sign of each true pair turned, in place."""
    if p.by_id:
        return tile.mul_(1 - 2 * p.belongs(rows, columns).to(p.dtype))
    p.diagonal(tile, rows, columns)[0].neg_()
    return tile


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
