"""Batch statistics taken out of foreign towers: a picture must not see the others of its batch.

With them a micro-batch would change the loss, a batch of one would have no vector, two cards would disagree, and the
loss could be lowered by reading the batch instead of the pictures.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def use_group_norm(body: nn.Module) -> nn.Module:
    """Each BatchNorm becomes a GroupNorm of about 16 channels a group, with its scale and shift: for random weights."""
    for module in list(body.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, _grouped(child))
    return body


def _grouped(norm: _BatchNorm) -> nn.Module:
    channels = norm.num_features
    groups = next(count for count in range(max(1, channels // 16), 0, -1) if channels % count == 0)
    group_norm = nn.GroupNorm(groups, channels, eps=norm.eps)
    with torch.no_grad():
        group_norm.weight.copy_(norm.weight)
        group_norm.bias.copy_(norm.bias)
    inside = [
        getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)
    ]  # timm's has its activation inside
    return nn.Sequential(group_norm, *inside) if inside else group_norm


def hold_statistics(body: nn.Module) -> None:
    """Keep the BatchNorms on the statistics they came with: for pretrained weights. Call it after each `train()`."""
    for module in body.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
