"""Dropout that knows which rows of the batch it sees: cut into micro-batches or over processes, the masks are the same.

`place_dropout(model)` before training puts it in place of torch's and open_clip's own, which draw for whatever they are
shown; `reseed(model, seed, ...)` before a batch starts every stream again.
"""

import torch
from torch import Tensor, nn

from retrieval.errors import BadRequest
from retrieval.towers.layers import RowDropout


class PlacedDropout(RowDropout):
    """RowDropout whose next draw is for the rows after `before` others, which are drawn and let go."""

    before = 0

    def uniform(self, rows: int, width: int) -> Tensor:
        """Numbers in [0, 1), float32 (rows, width), on the CPU."""
        if self.before:
            torch.rand(self.before, width, generator=self.stream)
            self.before = 0
        return torch.rand(rows, width, generator=self.stream)

    def draw(self, rows: int, width: int) -> Tensor | None:
        """Factors (rows, width), on the CPU: 0 for what is dropped. None where nothing is."""
        if not self.training or self.share == 0:
            return None
        return (self.uniform(rows, width) >= self.share) / (1 - self.share)


class ElementDropout(PlacedDropout):
    """In place of nn.Dropout: single numbers of x (b, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (b, ...)"""
        factors = self.draw(len(x), x[0].numel())
        return x if factors is None else x * factors.view_as(x).to(x.device, x.dtype)


class PathDropout(PlacedDropout):
    """In place of timm's DropPath: whole rows of a residual branch."""

    def forward(self, x: Tensor) -> Tensor:
        """x (b, ...)"""
        factors = self.draw(len(x), 1)
        return x if factors is None else x * factors.view(-1, *[1] * (x.ndim - 1)).to(x.device, x.dtype)


class PatchDropout(PlacedDropout):
    """Leaves out a share of a picture's patches in training (FLIP, Li 2023): the tower's work shrinks by as much."""

    def __init__(self, share: float, first: int = 1) -> None:
        super().__init__(share)
        self.first = first  # tokens at the start that always stay: the class token

    def forward(self, x: Tensor) -> Tensor:
        """x (b, first + patches, d). Patches stay in their order."""
        if not self.training or self.share == 0:
            return x
        patches = x.shape[1] - self.first
        kept = max(1, round(patches * (1 - self.share)))
        places = self.uniform(len(x), patches).topk(kept, 1).indices.sort(1).values.to(x.device) + self.first
        rows = x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))
        return torch.cat([x[:, : self.first], rows], 1)


def place_dropout(model: nn.Module, patch_dropout: float = 0.0) -> None:
    """Change the dropouts of an encoder's towers to those of this file, which draw by rows.

    patch_dropout: the share of patches to leave out, in a picture tower that has a place for it. Raises BadRequest
    where it has none. Attention weights (nn.MultiheadAttention's own dropout) are the one thing not reached.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            other = _placed(child, name, patch_dropout)
            if other is not None:
                setattr(parent, name, other.train(child.training))
    if patch_dropout and not any(isinstance(m, PatchDropout) for m in model.modules()):
        raise BadRequest(
            "patch_dropout needs a picture tower of patches (a ViT of open_clip): leave out --set patch_dropout"
        )


def _placed(module: nn.Module, name: str, patch_dropout: float) -> PlacedDropout | None:
    kind = type(module).__name__
    if name == "patch_dropout":
        share = patch_dropout or getattr(module, "prob", getattr(module, "share", 0.0))
        return PatchDropout(share, 1 if getattr(module, "exclude_first_token", True) else 0) if share else None
    if type(module) is RowDropout:
        return PlacedDropout(module.share)
    if type(module) is nn.Dropout and module.p:
        return ElementDropout(module.p)
    if kind == "DropPath" and (share := getattr(module, "drop_prob", 0.0)):
        return PathDropout(share)
    return None


def reseed(model: nn.Module, seed: int, images_before: int = 0, texts_before: int = 0) -> None:
    """Start every stream again, each on its own. ..._before: rows of the batch that lie before those shown next."""
    number = 0
    for module in model.modules():
        if isinstance(module, RowDropout):
            module.stream.manual_seed(seed * 1009 + number)
            number += 1
    for side, before in (("image_tower", images_before), ("text_tower", texts_before)):
        for module in getattr(model, side).modules():
            if isinstance(module, PlacedDropout):
                module.before = before
