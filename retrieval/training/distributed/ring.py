"""Losses of a batch that lies in pieces on several processes: shards of captions go round, nobody holds them all.

The local loss is the mean over this process's rows and columns, so the mean over processes is the whole batch's. The
gradients are those of the sum over processes: averaging parameters afterwards gives the mean's. Each shard makes the
same passes as a batch of one process (losses/operator.py); what they know of its columns travels with it. Memory is a
few tiles, and a shard with its sums in flight.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from retrieval.datatypes import Features
from retrieval.errors import BadRequest
from retrieval.losses.contrastive import Loss, two_sides
from retrieval.losses.operator import TiledLoss, add_slopes, exact, see_tiles
from retrieval.losses.sigmoid import SIGMOID
from retrieval.losses.softmax import INFO_NCE
from retrieval.losses.tiles import Problem
from retrieval.training.distributed.ranks import Ranks


def spread(name: str, ranks: Ranks, label_smoothing: float = 0.0) -> Loss:
    """The loss of that name over all processes, called with the local features alone: loss(local, local, 0).

    Raises BadRequest for a name that the ring does not know.
    """

    def info_nce(local: Features, world: Features, first_row: int = 0) -> Tensor:
        image, text = two_sides(local).values()
        return _OverShards.apply(image, text, local.logit_scale, None, INFO_NCE, ranks, label_smoothing)

    def sigmoid(local: Features, world: Features, first_row: int = 0) -> Tensor:
        image, text = two_sides(local).values()
        return _OverShards.apply(image, text, local.logit_scale, local.bias, SIGMOID, ranks, 0.0)

    known: dict[str, Loss] = {"info_nce": info_nce, "sigmoid": sigmoid}
    if name not in known:
        raise BadRequest(f"loss={name} runs in one process only: use one of {', '.join(known)}")
    return known[name]


def gathered(loss: Callable[..., Tensor], ranks: Ranks) -> Loss:
    """A loss with options that the ring does not know: everyone's features are brought together for it.

    Called with the local features alone; ids, teacher and weights are of the whole batch.
    """

    def over_all(local: Features, world: Features, first_row: int = 0, **options: object) -> Tensor:
        image, text = two_sides(local).values()
        everyone = local._replace(image=ranks.gather(image), text=ranks.gather(text))
        return loss(local, everyone, ranks.rank * len(image), **options)

    return over_all


def _round(ranks: Ranks, fixed: list[Tensor], carried: list[Tensor]) -> Iterator[tuple[int, list[Tensor]]]:
    """Every shard once: (whose it is, its tensors). What is `carried` is added to on the way and ends at home.

    The next shard is on its way while this one is worked on.
    """
    for hop in range(ranks.size):
        last = hop == ranks.size - 1
        coming, works = ([], []) if last else _exchange(ranks, fixed, 0)
        yield (ranks.rank - hop) % ranks.size, fixed
        arrived, works_of_carried = _exchange(ranks, carried, 100)
        for work in (*works, *works_of_carried):
            work.wait()
        fixed, carried[:] = coming, arrived


def _exchange(ranks: Ranks, tensors: list[Tensor], tag: int) -> tuple[list[Tensor], list]:
    onward, back = (ranks.rank + 1) % ranks.size, (ranks.rank - 1) % ranks.size
    arriving = [torch.empty_like(tensor) for tensor in tensors]
    operations = []
    for number, (going, coming) in enumerate(zip(tensors, arriving, strict=True)):
        operations.append(dist.P2POp(dist.isend, going, onward, tag=tag + number))
        operations.append(dist.P2POp(dist.irecv, coming, back, tag=tag + number))
    return arriving, dist.batch_isend_irecv(operations) if operations else []


# ctx is torch's, which lets anything be set on it: Any, for FunctionCtx does not say so.
class _OverShards(torch.autograd.Function):
    """A tiled loss of my pictures against each shard of captions, and of my captions against everyone's pictures."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor | None, loss: TiledLoss, ranks: Ranks,
        smoothing: float,
    ) -> Tensor:  # fmt: skip
        p = _problem(loss, image, text, scale, bias, smoothing)
        mine, *carried = loss.start(p)  # carried: what is known of the columns of whoever has the shard
        with exact(p):
            for owner, (shard,) in _round(ranks, [p.y], carried):
                see_tiles(loss, _against(p, shard, owner, ranks), [mine, *carried])
            value = loss.value(p, [mine, *carried], ranks.size)
        ctx.save_for_backward(image, text, scale, bias, mine, *carried)
        ctx.loss, ctx.ranks, ctx.smoothing = loss, ranks, smoothing
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        image, text, scale, bias, mine, *theirs = ctx.saved_tensors
        p = _problem(ctx.loss, image, text, scale, bias, ctx.smoothing, upstream)
        dx, carried, dbias = torch.zeros_like(p.x), [torch.zeros_like(p.y)], p.x.new_zeros(())
        with exact(p):
            for owner, (shard, *columns) in _round(ctx.ranks, [p.y, *theirs], carried):
                block = _against(p, shard, owner, ctx.ranks)
                slope = ctx.loss.slope(block, [mine, *columns], ctx.ranks.size)
                for rows in block.row_spans():
                    add_slopes(block, rows, slope, dx[rows], carried[0], dbias)
        dscale = (dx * p.x).sum().to(scale.dtype)
        dx, dy = dx.mul_(p.scale).to(image.dtype), carried[0].mul_(p.scale).to(text.dtype)
        return dx, dy, dscale, None if bias is None else dbias.to(bias.dtype), None, None, None


def _problem(
    loss: TiledLoss, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor | None, smoothing: float,
    upstream: Tensor | float = 1.0,
) -> Problem:  # fmt: skip
    """My pictures against my captions, in float32 or float64; upstream: d everything / d this loss."""
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    x, y = image.to(dtype), text.to(dtype).contiguous()
    weights = x.new_full((len(x),), (0.5 if loss.symmetric else 1.0) / len(x)) * upstream
    return Problem(
        x=x, y=y, scale=scale.to(dtype), bias=None if bias is None else bias.to(dtype), row_weights=weights,
        column_weights=weights if loss.symmetric else None, smoothing=smoothing,
    )  # fmt: skip


def _against(p: Problem, shard: Tensor, owner: int, ranks: Ranks) -> Problem:
    """The same with another's captions, none of which is a partner of mine."""
    return p._replace(y=shard, first=(ranks.rank - owner) * len(shard))
