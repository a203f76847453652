"""Many processes, one batch: what `torchrun` starts share every step and end with the same weights.

    torchrun --nproc-per-node 4 --no-python mmr train pairs.csv --out runs/mine

Each process holds its rows of the batch and the whole model, or its share of it (sharding.py). The loss is that of the
whole batch: shards of captions go round a ring (ring.py), or, for what the ring does not know, everything is gathered.
Gradients are averaged after each backward. Every process reads the same pictures and the same run folder; only the
first one writes and speaks.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx

from retrieval import engine
from retrieval.errors import BadRequest, RetrievalError

PATIENCE = timedelta(hours=2)  # the others wait while the first one evaluates
_BUCKET = 8 * 2**20  # numbers averaged together
T = TypeVar("T")


def is_first() -> bool:
    """Is this the process that writes and speaks? The only one is."""
    return int(os.environ.get("RANK", 0)) == 0


def processes() -> int:
    """How many there are, as torchrun says."""
    return int(os.environ.get("WORLD_SIZE", 1))


@dataclass(frozen=True)
class Ranks:
    """This process among `size`."""

    rank: int
    size: int
    device: torch.device

    def part(self, rows: int) -> slice:
        """The rows of a batch that are this process's. Raises BadRequest where they cannot be shared out evenly."""
        if rows % self.size:
            raise BadRequest(
                f"batches of {rows} cannot be shared by {self.size} processes: "
                f"--set batch_size={rows // self.size * self.size or self.size}"
            )
        each = rows // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def from_first(self, do: Callable[[], T]) -> T:
        """What `do` gives in the first process; its errors are everyone's, so that nobody waits for ever."""
        if self.size == 1:
            return do()
        said: list[Any] = [None, None]
        if self.rank == 0:
            try:
                said[0] = do()
            except (RetrievalError, OSError) as error:
                said[1] = error
        dist.broadcast_object_list(said, 0)
        if said[1] is not None:
            self.mean(0.0)  # nobody leaves, which cuts the connections, before all have heard it
            raise said[1]
        return said[0]

    def any(self, flag: bool) -> bool:
        """True everywhere where it is true anywhere."""
        return self.mean(float(flag)) > 0

    def mean(self, value: float) -> float:
        """The mean over the processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.item() / self.size

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor the mean of everyone's, in place."""
        if self.size == 1:
            return
        for bucket in _buckets([tensor for tensor in tensors if tensor.is_floating_point()]):
            flat = torch.cat([tensor.detach().flatten().float() for tensor in bucket])
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, mean in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.detach().copy_(mean.view_as(tensor))

    def same_start(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor the first process's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)

    def gather(self, rows: Tensor) -> Tensor:
        """Everyone's rows (b, ...) as (size b, ...), with gradient: each gets the sum of what all made of its own."""
        return _Gather.apply(rows, self)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


class _GatherContext(FunctionCtx):
    ranks: Ranks


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _GatherContext, rows: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        parts = [torch.empty_like(rows) for _ in range(ranks.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: _GatherContext, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(ctx.ranks.size)[ctx.ranks.rank], None


@contextmanager
def join(device: str = "auto") -> Iterator[Ranks]:
    """The processes that torchrun started, or this one alone. device: as engine.resolve_device takes it.

    Where they are connected already, as for several runs one after the other, they stay so.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    where = engine.resolve_device(device)
    if size == 1:
        yield Ranks(0, 1, where)
        return
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(where)
    if dist.is_initialized():
        yield Ranks(dist.get_rank(), size, where)
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), size, where)
    finally:
        dist.destroy_process_group()


ALONE = Ranks(0, 1, torch.device("cpu"))
