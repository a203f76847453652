"""Several towers asked as one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.tower import ImageTower, TextTower, Tower


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

    @property
    def _towers(self) -> list[Tower]:
        return [part for part in self.parts if isinstance(part, Tower)]
