"""LoRA (Hu 2021) through peft: small matrices beside frozen ones, merged into them at the end.

open_clip's attentions are opened for it: nn.MultiheadAttention hides its matrices, and peft's own way round that
subtracts what it added after every call, so that the frozen weights drift by rounding.
"""

from collections.abc import Callable
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from indexes import distribution
from retrieval.errors import BadRequest
from retrieval.towers.tower import Tower

_IN_PROJ = (("weight", "in_proj_weight"), ("bias", "in_proj_bias"))  # names of a layer, and of an attention
_UNREACHED = ("attnpool",)  # reads its matrices' weights without calling them


class _OpenAttention(nn.Module):
    """nn.MultiheadAttention with its matrices as layers of their own."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.closed = [attention]  # in a list: no part of this module
        width = attention.embed_dim
        self.heads = attention.num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=attention.in_proj_bias is not None)
        self.out = nn.Linear(width, width, bias=attention.out_proj.bias is not None)
        # The attention lets go of them, or it would hold them whole where the layers are sharded.
        for inner, outer in _IN_PROJ:
            _move(attention, outer, self.qkv, inner)
        for name in ("weight", "bias"):
            _move(attention.out_proj, name, self.out, name)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """query, key and value are one (b, l, d); attn_mask is added to the scores."""
        q, k, v = self.qkv(query).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out(mixed.transpose(1, 2).flatten(2)), None

    def close(self) -> nn.MultiheadAttention:
        """The attention it was, with the weights it has now."""
        attention = self.closed[0]
        for inner, outer in _IN_PROJ:
            _move(self.qkv, inner, attention, outer)
        for name in ("weight", "bias"):
            _move(self.out, name, attention.out_proj, name)
        return attention


def _move(owner: nn.Module, name: str, taker: nn.Module, its_name: str) -> None:
    """Give a parameter of one module, None among them, to another that has a place for it."""
    taker.register_parameter(its_name, dict(owner.named_parameters(recurse=False)).get(name))
    owner.register_parameter(name, None)


def add(tower: Tower, rank: int, alpha: float) -> None:
    """Freeze a tower of an encoder and put trained matrices of that rank beside all its linear layers.

    What they add is scaled by alpha / rank, and is nothing at first. Raises BadRequest where peft is not installed or
    the tower has no linear layer within its body.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise BadRequest(f"lora needs peft: {distribution.install('lora')}") from None
    for parameter in tower.parameters():
        parameter.requires_grad_(False)
    _replace(tower, lambda m: _OpenAttention(m) if _can_open(m) else None)
    names = [name for name, module in tower.named_modules() if type(module) is nn.Linear and not _hidden(name)]
    names = [name for name in names if not name.startswith(tower.still_parts)]
    if not names:
        raise BadRequest("lora found no linear layers in a tower: freeze it with --set freeze=image or text")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names), tower)


def _can_open(module: nn.Module) -> TypeGuard[nn.MultiheadAttention]:
    return type(module) is nn.MultiheadAttention and module.batch_first and module.in_proj_weight is not None


def _hidden(name: str) -> bool:
    return any(part in name for part in _UNREACHED)


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Add what was learned to the frozen matrices; the model is again what it was built as."""
    if not any(hasattr(module, "lora_A") for module in model.modules()):
        return
    from peft.tuners.lora import LoraLayer

    def merged(module: nn.Module) -> nn.Module | None:
        if isinstance(module, LoraLayer):
            module.merge()
            return module.get_base_layer()
        return None

    _replace(model, merged)
    _replace(model, lambda m: m.close() if isinstance(m, _OpenAttention) else None)


def _replace(module: nn.Module, change: Callable[[nn.Module], nn.Module | None]) -> None:
    """Every part below a module for which `change` gives another."""
    for name, child in list(module.named_children()):
        other = change(child)
        if other is None:
            _replace(child, change)
        else:
            setattr(module, name, other)
