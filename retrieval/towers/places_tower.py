"""`image_tower=products`: what stands at each place of a picture, by EfficientNet-Lite2, and the products of it.

Pooled features have forgotten what was where. The network's stages up to a stride of 16, which are the larger part of
its work but not of its knowledge of classes, still have it: a picture of 128 pixels is 8 x 8 places.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers import norms
from retrieval.towers.efficientnet_lite import ARCHITECTURE, weights_of_package
from retrieval.towers.layers import RowDropout, dtype_of
from retrieval.towers.products import PRODUCTS, QUALITIES, THINGS, Parts
from retrieval.towers.timm_tower import fit, timm_model
from retrieval.towers.tower import ImageTower

STRIDE = 16
STAGES = 5  # of the network's seven
_READ = {1: 24, 3: 88, 4: 120}  # channels of the stages that are read: the first one for colors
COLORS = 3  # of the pixels themselves
CHANNELS = COLORS + sum(_READ.values())
_HIDDEN, _QUALITY_HIDDEN, _POOLED, _REST_HIDDEN = 256, 64, 128, 512


class PlacesTower(ImageTower):
    """Pixels (b, 3, s, s) to (b, dim), by the products of what stands at each place.

    spec: {"size"}: of the pictures, a multiple of 16; others are resized. pretrained: "yes" for the package's weights,
    "no" for random ones, which a run's take the place of. Raises MissingModel where the package is gone or altered.
    """

    body: nn.Sequential
    has_features = True
    new_parts = ("project",)
    own_size = 128

    def __init__(self, dim: int, size: int = own_size, dropout: float = 0.0, pretrained: str = "no") -> None:
        super().__init__()
        self.spec = {"type": "products", "size": size, "dropout": dropout}
        weights = weights_of_package() if pretrained != "no" else "no"
        whole, facts = timm_model(ARCHITECTURE, size, COLORS, weights)
        self.mean, self.std = tuple(facts["mean"]), tuple(facts["std"])
        self.body, self.size, self.side = _first_stages(whole), size, size // STRIDE
        self.width = self.side**2 * CHANNELS
        self.dropout = RowDropout(dropout)
        self.project = PlaceProducts(self.side, dim)

    def train(self, mode: bool = True) -> Self:
        """As of any module, but for the batch statistics, which stay."""
        super().train(mode)
        norms.hold_statistics(self.body)
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, 3, s, s), normalized. Returns (b, dim)."""
        return self.head(self.features(pixels))

    def features(self, pixels: Tensor) -> Tensor:
        """What is at each place, row by row, (b, places * CHANNELS): its color, then of each stage what it says."""
        x = fit(pixels, self.size)
        read = [F.avg_pool2d(x, STRIDE).flatten(2).transpose(1, 2)]
        y = self.body[0](x.to(dtype_of(self.body)))
        for number, stage in enumerate(self.body[1:]):
            y = stage(y)
            if number in _READ:
                places = F.avg_pool2d(y, y.shape[-1] // self.side).flatten(2).transpose(1, 2)
                read.append(F.layer_norm(places.to(x), (_READ[number],)))
        return torch.cat(read, 2).flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """Features (b, width) to (b, dim)."""
        return self.project(self.dropout(features))

    def places(self, pixels: Tensor) -> Tensor:
        """As of any image tower: pictures that show at every place what is at one."""
        places = self.project.each(self.features(pixels)).unflatten(1, (self.side, self.side))
        return F.normalize(places, dim=-1)


def _first_stages(whole: Any) -> nn.Sequential:
    """The stem and the first stages of timm's model."""
    return nn.Sequential(nn.Sequential(whole.conv_stem, whole.bn1), *whole.blocks[:STAGES])


class PlaceProducts(nn.Module):
    """Features of side x side places to a vector of five parts (products.py)."""

    def __init__(self, side: int, dim: int) -> None:
        super().__init__()
        self.side = side
        self.seen, self.places = nn.Linear(CHANNELS, _HIDDEN), nn.Parameter(torch.zeros(side**2, _HIDDEN))
        self.thing, self.is_thing = nn.Linear(_HIDDEN, THINGS), nn.Linear(_HIDDEN, 1)
        self.quality = nn.Sequential(
            nn.Linear(CHANNELS, _QUALITY_HIDDEN), nn.GELU(), nn.Linear(_QUALITY_HIDDEN, QUALITIES)
        )
        self.pooled = nn.Linear(_HIDDEN, _POOLED)
        self.rest = nn.Sequential(
            nn.Linear(2 * _POOLED, _REST_HIDDEN), nn.GELU(), nn.Linear(_REST_HIDDEN, dim - PRODUCTS)
        )
        self.parts = Parts()

    def no_weight_decay(self) -> set[str]:
        """Names of its parameters that do not decay: the places."""
        return {"places"}

    def forward(self, features: Tensor) -> Tensor:
        """features (b, places * CHANNELS)"""
        things, qualities, share, pooled = self._at_places(features)
        bound = things.transpose(1, 2) @ qualities
        rest = self.rest(torch.cat([pooled.amax(1), 4 * pooled.mean(1)], 1))
        order = left_of(things.unflatten(1, (self.side, self.side)).sum(1))
        return self.parts(rest, things.sum(1), (qualities * share).sum(1), bound, order)

    def each(self, features: Tensor) -> Tensor:
        """The vector of each place, (b, places, dim): of a picture that is like it everywhere, and orders nothing.

        features: as for `forward`.
        """
        things, qualities, share, pooled = (part.flatten(0, 1) for part in self._at_places(features))
        rest = self.rest(torch.cat([pooled, 4 * pooled], 1))
        bound, none = things[:, :, None] * qualities[:, None], things.new_zeros(len(things), THINGS, THINGS)
        many = self.side**2
        vectors = self.parts(rest, many * things, many * qualities * share, many * bound, none)
        return vectors.unflatten(0, (-1, many))

    def _at_places(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each place: the things there, the qualities, whether it is a thing at all, and what is pooled."""
        x = features.unflatten(1, (-1, CHANNELS))
        seen = F.gelu(self.seen(x) + self.places)
        share = (self.is_thing(seen) - 1).sigmoid()
        return self.thing(seen) * share, self.quality(x), share, self.pooled(seen)


def left_of(columns: Tensor) -> Tensor:
    """The sum over all columns of what is in each times what is in those to the right of it, (b, T, T).

    columns (b, s, T), from left to right.
    """
    right = columns.sum(1, keepdim=True) - columns.cumsum(1)
    return columns.transpose(1, 2) @ right
