"""The model itself in shards: each process holds its share of every weight and of all that training keeps beside it.

    torchrun --nproc-per-node 4 --no-python mmr train pairs.csv --out runs/mine --set shard=yes

It is PyTorch's FSDP2. A block's weights are brought together while the block works and let go after; gradients come
back as shares of their mean. What is made of a share is a share: masters, momenta, averages, what is frozen. What is
evaluated and saved is whole: an ordinary encoder, filled with everyone's shares, for which every process is needed.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn

from retrieval.encoders.encoder import DualEncoder
from retrieval.training.distributed.ranks import Ranks

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


class Mould:
    """An encoder without its weights, taken before it is cut up: filled, it is an ordinary one.

    empty: that encoder, its parameters on the device "meta".
    """

    def __init__(self, model: DualEncoder) -> None:
        known = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in model.parameters()}
        self.empty = copy.deepcopy(model, known | {id(model.tokenize): model.tokenize})

    def fill(self, model: DualEncoder, device: torch.device | str, keep: bool = True) -> DualEncoder | None:
        """The sharded model as an ordinary encoder on a device, in the types it has now; every process must call it.

        Where `keep` is False this process only takes part, and gets None.
        """
        tensors = whole(model.state_dict(), device, keep)
        if not keep:
            return None
        encoder = copy.deepcopy(self.empty, {id(self.empty.tokenize): self.empty.tokenize})
        encoder.load_state_dict(tensors, assign=True)
        for buffer, now in zip(encoder.buffers(), model.buffers(), strict=True):
            buffer.data = now.detach().to(device, copy=True)  # also those that no file holds
        return encoder.train(model.training)


def cut(model: DualEncoder, ranks: Ranks) -> None:
    """Leave this process its share of the towers' weights, on its device, and move there what is not cut up.

    The scale and the bias are single numbers, which stay whole, and so do statistics. Each block is a piece of its own;
    so are a tower's body and the rest of it, because the body may run in a lower precision. Every process must hold the
    same weights.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # FSDP takes no channels-last filters
    singles = set(model.parameters(recurse=False))
    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    # Gradients are summed in float32. Nothing stays whole between a forward and its backward.
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for piece in (*_pieces(model), model):
        fully_shard(piece, mesh=mesh, reshard_after_forward=True, mp_policy=policy, ignored_params=singles)
    model.to(ranks.device)


def _pieces(model: DualEncoder) -> Iterator[nn.Module]:
    """The parts that are brought together one at a time, those within others first."""
    for tower in (model.image_tower, model.text_tower):
        body = tower.get_submodule("body")
        yield from _blocks(body)
        if not isinstance(body, nn.ModuleList):  # a list has no forward to wait for
            yield body
        yield tower
    if model.frame_pool is not None:
        yield model.frame_pool


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The numbered parts below a module that have weights, but for those within others."""
    for child in module.children():
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            yield from _blocks(child)
        elif any(True for _ in child.parameters()):
            yield child


def is_share(tensor: Tensor) -> TypeGuard["DTensor"]:
    """Does this process hold a part of it only?"""
    return hasattr(tensor, "full_tensor")


def share_like(weight: Tensor, tensor: Tensor) -> Tensor:
    """What of a whole tensor goes with a weight: this process's share, where the weight is one."""
    if not is_share(weight) or is_share(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    where = weight.device_mesh
    return distribute_tensor(tensor.to(weight.device), where, weight.placements, src_data_rank=None)


@torch.no_grad()
def whole(tensors: Mapping[str, Tensor], device: torch.device | str, keep: bool = True) -> dict[str, Tensor]:
    """The tensors on a device, those in shares put together, one after the other.

    Every process must call it with the same names in the same order. Where `keep` is False this process only takes
    part, and gets none.
    """
    found = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if is_share(tensor) else tensor.detach()
        if keep:
            found[name] = full.to(device)
    return found
