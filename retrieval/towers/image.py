"""A small vision transformer, and an MLP on pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.layers import ACTIVATIONS, Block, RowDropout, dtype_of, heads_of, hidden_sizes
from retrieval.towers.projections import last_layer
from retrieval.towers.shown_in_halves import by_halves
from retrieval.towers.tower import ImageTower

_LONGEST = 10_000.0  # wave of a place's code


class VitTower(ImageTower):
    """A transformer on the patches of pixels (b, c, s, s), mean-pooled (Dosovitskiy 2020; Beyer 2022).

    Places are coded by waves, not learned, so that pictures of any size may be seen. spec: {"width", a multiple of
    4; "layers"; "patch", which divides s; "channels"; "activation"; "projection"}.
    """

    body: nn.ModuleList
    has_patches = True

    def __init__(
        self, dim: int, width: int = 192, layers: int = 6, patch: int = 16, channels: int = 3, dropout: float = 0.0,
        activation: str = "gelu", projection: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = {
            "type": "vit", "width": width, "layers": layers, "patch": patch, "channels": channels, "dropout": dropout,
            "activation": activation, "projection": projection,
        }  # fmt: skip
        self.cut = nn.PixelUnshuffle(patch)
        blocks = (Block(width, heads_of(width), activation, 4 * width) for _ in range(layers))
        self.body = nn.ModuleList([nn.Linear(channels * patch**2, width), *blocks])
        self.norm = nn.LayerNorm(width)
        self.dropout = RowDropout(dropout)
        self.project = last_layer(width, dim, projection, activation)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, c, s, s), normalized. Returns (b, dim)."""
        return self.project(self.dropout(self.patches(pixels).mean(1)))

    def patches(self, pixels: Tensor) -> Tensor:
        """pixels as for `forward`. What the body makes of each place, (b, places, width), row by row."""
        return self._through(self._embedded(pixels)[0])

    def _through(self, x: Tensor) -> Tensor:
        """Patches as the first block takes them, all of a picture or some, to what the body makes of them."""
        for block in self.body[1:]:
            x = block(x)
        return self.norm(x.to(self.norm.weight.dtype))

    def _embedded(self, pixels: Tensor) -> tuple[Tensor, int, int]:
        """Patches as the first block takes them, (b, places, width), and how many rows and columns they are."""
        pieces = self.cut(pixels)  # (b, c * patch ** 2, rows, columns)
        rows, columns = pieces.shape[2:]
        places = place_codes(rows, columns, self.norm.normalized_shape[0])
        lines = pieces.flatten(2).transpose(1, 2).to(dtype_of(self.body))
        return self.body[0](lines) + places.to(pixels.device, lines.dtype), rows, columns

    def places(self, pixels: Tensor) -> Tensor:
        """As of any image tower, but shorter where a place matters less: what it adds to the picture's vector."""
        x, rows, columns = self._embedded(pixels)
        look = lambda some: F.normalize(self.project(self._through(some).mean(1)), dim=-1)  # noqa: E731
        return by_halves(look, x, rows, columns)


def place_codes(rows: int, columns: int, width: int) -> Tensor:
    """(rows * columns, width): sines and cosines of each place's row and column, a quarter of the width each."""
    frequencies = _LONGEST ** (-torch.arange(width // 4) / max(1, width // 4))
    down = torch.arange(rows)[:, None].expand(rows, columns).reshape(-1, 1) * frequencies
    across = torch.arange(columns).repeat(rows)[:, None] * frequencies
    return torch.cat([down.sin(), down.cos(), across.sin(), across.cos()], dim=1)


class PixelMlp(ImageTower):
    """An MLP on the pixels of a picture shrunk to `side`: it knows no neighborhood, which makes it a floor.

    spec: {"widths": of its hidden layers, "side", "channels", "activation", "projection"}. widths=(128, 64) on
    32 x 32 x 3 is the net of the first CIFAR-10 lessons.
    """

    body: nn.ModuleList

    def __init__(
        self, dim: int, widths: tuple[int, ...] = (512, 512), side: int = 32, channels: int = 3, dropout: float = 0.0,
        activation: str = "relu", projection: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = {
            "type": "mlp", "widths": list(widths), "side": side, "channels": channels, "dropout": dropout,
            "activation": activation, "projection": projection,
        }  # fmt: skip
        self.side, self.activation = side, ACTIVATIONS[activation]
        self.body = nn.ModuleList()
        inside = channels * side**2
        for width in widths:
            before, behind = hidden_sizes(width, activation)
            self.body.append(nn.Linear(inside, before))
            inside = behind
        self.dropout = RowDropout(dropout)
        self.project = last_layer(inside, dim, projection, activation)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, c, s, s), normalized. Returns (b, dim)."""
        x = shrink(pixels, self.side).flatten(1).to(dtype_of(self.body))
        for layer in self.body:
            x = self.activation(layer(x))
        return self.project(self.dropout(x.to(dtype_of(self.project))))


def shrink(pixels: Tensor, side: int) -> Tensor:
    """(b, c, s, s) to (b, c, side, side): each new pixel is the mean of the area that it covers, whole or in part."""
    size = int(pixels.shape[-1])
    if size == side:
        return pixels
    edges = torch.arange(side + 1) * (size / side)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = torch.arange(size)
    covered = (torch.minimum(high, pixel + 1) - torch.maximum(low, pixel)).clamp(min=0)  # (side, size)
    share = (covered * (side / size)).to(pixels)
    return share @ pixels @ share.T
