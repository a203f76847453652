"""Losses of a batch that lies in pieces on several processes: shards of captions go round, nobody holds them all.

The local loss is the mean over this process's rows and columns, so the mean over processes is the whole batch's. The
gradients are those of the sum over processes: averaging parameters afterwards gives the mean's. Memory is one tile of
TILE rows by one shard, and a shard with its sums in flight.
"""

from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from retrieval.datatypes import Features
from retrieval.errors import BadRequest
from retrieval.training.distributed.ranks import Ranks

TILE = 1024  # rows of logits at once


def spread(name: str, ranks: Ranks, label_smoothing: float = 0.0):  # noqa: ANN201 - a losses.Loss
    """The loss of that name over all processes, called with the local features alone: loss(local, local, 0)."""

    def info_nce(local: Features, world: Features, first_row: int = 0) -> Tensor:
        return _InfoNCE.apply(local.image, local.text, local.logit_scale, ranks, label_smoothing)

    def sigmoid(local: Features, world: Features, first_row: int = 0) -> Tensor:
        bias = local.bias if local.bias is not None else torch.zeros((), device=local.image.device)
        return _Sigmoid.apply(local.image, local.text, local.logit_scale, bias, ranks)

    known = {"info_nce": info_nce, "sigmoid": sigmoid}
    if name not in known:
        raise BadRequest(f"loss={name} runs in one process only: use one of {', '.join(known)}")
    return known[name]


def gathered(loss: Callable[..., Tensor], ranks: Ranks):  # noqa: ANN201 - a losses.Loss
    """A loss with options that the ring does not know: everyone's features are brought together for it.

    Called with the local features alone; ids, teacher and weights are of the whole batch.
    """

    def over_all(local: Features, world: Features, first_row: int = 0, **options: object) -> Tensor:
        everyone = local._replace(image=ranks.gather(local.image), text=ranks.gather(local.text))
        return loss(local, everyone, ranks.rank * len(local.image), **options)

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


def _tiles(rows: int) -> Iterator[slice]:
    yield from (slice(i, min(rows, i + TILE)) for i in range(0, rows, TILE))


class _InfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, image: Tensor, text: Tensor, scale: Tensor, ranks: Ranks, smoothing: float) -> Tensor:
        i, t, s = image.float(), text.float().contiguous(), scale.float()
        rows, world = len(i), len(i) * ranks.size
        row_lse = torch.full((rows,), -torch.inf, device=i.device)
        row_sum = torch.zeros_like(row_lse)
        columns = [row_lse.clone(), row_sum.clone()]  # of the captions of whoever has the shard
        for _, (shard,) in _round(ranks, [t], columns):
            for tile in _tiles(rows):
                logits = s * (i[tile] @ shard.T)
                row_lse[tile] = torch.logaddexp(row_lse[tile], logits.logsumexp(1))
                row_sum[tile] += logits.sum(1)
                columns[0] = torch.logaddexp(columns[0], logits.logsumexp(0))
                columns[1] = columns[1] + logits.sum(0)
        true = s * (i * t).sum(1)
        ctx.save_for_backward(image, text, scale, row_lse, columns[0])
        ctx.ranks, ctx.smoothing = ranks, smoothing
        spread_out = smoothing * (row_sum + columns[1]) / (2 * world)
        return ((row_lse + columns[0]) / 2 - (1 - smoothing) * true - spread_out).mean()

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, text, scale, row_lse, column_lse = ctx.saved_tensors
        i, t, s, ranks = image.float(), text.float().contiguous(), scale.float(), ctx.ranks
        rows, world = len(i), len(i) * ranks.size
        d_image, d_scale, carried = torch.zeros_like(i), torch.zeros_like(s), [torch.zeros_like(t)]
        for owner, (shard, lse) in _round(ranks, [t, column_lse.contiguous()], carried):
            for tile in _tiles(rows):
                cosines = i[tile] @ shard.T
                logits = s * cosines
                g = ((logits - row_lse[tile, None]).exp() + (logits - lse).exp()) / 2 - ctx.smoothing / world
                if owner == ranks.rank:
                    g.diagonal(tile.start).sub_(1 - ctx.smoothing)
                g *= grad / rows
                d_image[tile] += s * (g @ shard)
                carried[0] += s * (g.T @ i[tile])
                d_scale += (g * cosines).sum()
        return d_image.to(image.dtype), carried[0].to(text.dtype), d_scale.to(scale.dtype), None, None


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, ranks: Ranks) -> Tensor:
        i, t = image.float(), text.float().contiguous()
        total = torch.zeros((), device=i.device)
        for owner, (shard,) in _round(ranks, [t], []):
            for tile in _tiles(len(i)):
                signed = scale.float() * (i[tile] @ shard.T) + bias.float()
                _turn(signed, owner == ranks.rank, tile)
                total -= F.logsigmoid(signed).sum()
        ctx.save_for_backward(image, text, scale, bias)
        ctx.ranks = ranks
        return total / len(i)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, text, scale, bias = ctx.saved_tensors
        i, t, s, ranks = image.float(), text.float().contiguous(), scale.float(), ctx.ranks
        d_image, carried = torch.zeros_like(i), [torch.zeros_like(t)]
        d_scale, d_bias = torch.zeros_like(s), torch.zeros_like(bias)
        for owner, (shard,) in _round(ranks, [t], carried):
            for tile in _tiles(len(i)):
                cosines = i[tile] @ shard.T
                g = _turn(s * cosines + bias.float(), owner == ranks.rank, tile)
                g = _turn(-torch.sigmoid(-g), owner == ranks.rank, tile) * (grad / len(i))
                d_image[tile] += s * (g @ shard)
                carried[0] += s * (g.T @ i[tile])
                d_scale += (g * cosines).sum()
                d_bias += g.sum()
        return d_image.to(image.dtype), carried[0].to(text.dtype), d_scale.to(scale.dtype), d_bias, None


def _turn(values: Tensor, has_diagonal: bool, tile: slice) -> Tensor:
    """Times z, in place: 1 for true pairs, -1 for the others."""
    values.neg_()
    if has_diagonal:
        values.diagonal(tile.start).neg_()
    return values
