"""Several towers asked as one: their vectors beside each other, or their features under one head."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.errors import BadRequest
from retrieval.towers.layers import RowDropout, unusual
from retrieval.towers.projections import last_layer
from retrieval.towers.tower import ImageTower, TextTower, Tower

_LEAST = 1e-6  # mean length of what places say; less is nothing


def beside(rows: Sequence[Tensor], shares: Sequence[float] | Tensor) -> Tensor:
    """Unit rows (..., d) of several next to each other, each by the root of its share; shares add up to 1.

    They are unit rows again, and the product of two of them is the mean of the parts' cosines, weighted by the shares.
    """
    return torch.cat([part * share**0.5 for part, share in zip(rows, shares, strict=True)], -1)


class EnsembleTower(ImageTower, TextTower):
    """The unit vectors of several towers of one side `beside` each other; it may be either side.

    spec: {"parts": their specs, "dims": the length of their vectors, "shares"}.
    """

    def __init__(self, parts: Sequence[Tower], dims: Sequence[int], shares: Sequence[float]) -> None:
        super().__init__()
        self.spec = {
            "type": "ensemble", "parts": [part.spec for part in parts], "dims": list(dims), "shares": list(shares),
        }  # fmt: skip
        self.parts, self.shares = nn.ModuleList(parts), tuple(shares)

    @property
    def body(self) -> nn.ModuleList:
        """What may run in bfloat16: the parts' bodies."""
        return nn.ModuleList(part.body for part in self._towers)

    def skip_unread(self) -> None:
        """Leave out of each part what no answer reads."""
        for part in self._towers:
            part.skip_unread()

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs as the parts take them. Returns (b, sum of dims), of unit length."""
        return beside([F.normalize(part(inputs), dim=-1) for part in self._towers], self.shares)

    def places(self, pixels: Tensor) -> Tensor:
        """As of any image tower: the parts' places beside each other, on the finest grid, of one length in the mean."""
        looks = [part.places(pixels) for part in self._towers if isinstance(part, ImageTower)]
        even = [look / look.norm(dim=-1, keepdim=True).mean((1, 2), keepdim=True).clamp(min=_LEAST) for look in looks]
        rows, columns = (max(look.shape[side] for look in looks) for side in (1, 2))
        finer = [F.interpolate(look.permute(0, 3, 1, 2), (rows, columns), mode="bilinear") for look in even]
        return beside([look.permute(0, 2, 3, 1) for look in finer], self.shares)

    @property
    def _towers(self) -> list[Tower]:
        return [part for part in self.parts if isinstance(part, Tower)]


class BesideTower(TextTower):
    """The features of pretrained text towers beside each other, and one last layer behind them.

    Tokens are those of a joined tokenizer: place i of a line is place i // n of what part i % n reads. spec: {"parts":
    their specs; "activation", "projection" of the last layer}. Raises BadRequest for a part that has no features.
    """

    has_features = True
    new_parts = ("project",)

    def __init__(
        self, dim: int, parts: Sequence[TextTower], dropout: float = 0.0, activation: str = "gelu",
        projection: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__()
        if not parts or not all(part.has_features for part in parts):
            raise BadRequest("side by side stand pretrained towers: --set text_tower=package:use+package:minilm, say")
        for part in parts:
            part.project = nn.Identity()  # of each alone, which nothing asks here
        self.spec = {
            "type": "beside", "parts": [part.spec for part in parts], "dropout": dropout,
            **unusual(activation=(activation, "gelu"), projection=(projection, "linear")),
        }  # fmt: skip
        self.parts, self.width = nn.ModuleList(parts), sum(part.width for part in parts)
        self.dropout = RowDropout(dropout)
        self.project = last_layer(self.width, dim, projection, activation)

    @property
    def body(self) -> nn.ModuleList:
        """What may run in bfloat16: the parts' bodies."""
        return nn.ModuleList(part.body for part in self.towers)

    @property
    def towers(self) -> list[TextTower]:
        """The parts, in the order of the tokens."""
        return [part for part in self.parts if isinstance(part, TextTower)]

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, n l). Returns (b, dim)."""
        return self.head(self.features(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """tokens as for `forward`. What each part makes of its own, (b, width)."""
        own = [tokens[:, place :: len(self.parts)] for place in range(len(self.parts))]
        return torch.cat([part.features(each) for part, each in zip(self.towers, own, strict=True)], -1)

    def head(self, features: Tensor) -> Tensor:
        """Features (b, width) to (b, dim)."""
        return self.project(self.dropout(features))
