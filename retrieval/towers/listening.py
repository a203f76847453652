"""Towers that hear: log-mel spectrograms (sounds/mel.py) of a window, as gray squares, low tones below.

Up and down is pitch: a picture of a thing is that thing wherever it is, a tone a row higher is another tone. So neither
forgets the row in which it found something.
"""

from typing import Any

import torch
from torch import Tensor, nn

from retrieval.towers.conv import STAGES, ConvTower
from retrieval.towers.image import place_codes
from retrieval.towers.layers import Block, RowDropout, dtype_of, heads_of
from retrieval.towers.projections import last_layer
from retrieval.towers.tower import ImageTower

SECONDS = 5.0  # of a window, where nothing else is asked for
SIDE = 128  # pixels: a row a band of the spectrogram
MEAN, STD = 0.35, 0.27  # of the pixels of made sounds, in 0..1


class MelTower(ConvTower):
    """The small CNN on a spectrogram (b, 1, s, s): the mean and the maximum over time of each row of its last map.

    As PANNs pool (Kong 2020), but a row by itself. spec: {"seconds": of a window, "size": s, "width": channels of the
    first stage; "blocks"; "activation"; "projection"}.
    """

    has_features = True
    own_size = SIDE
    mean, std = (MEAN,), (STD,)

    def __init__(
        self, dim: int, seconds: float = SECONDS, size: int = SIDE, width: int = 32,
        blocks: tuple[int, ...] = (1, 2, 1), dropout: float = 0.0, activation: str = "relu", projection: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__(dim, width, blocks, dropout, channels=1, activation=activation, projection=projection)
        self.seconds = seconds
        self.spec = {
            "type": "mel", "seconds": seconds, "size": size, "width": width, "blocks": list(blocks),
            "dropout": dropout, "activation": activation, "projection": projection,
        }  # fmt: skip
        self.width = 2 * width * STAGES[len(blocks) - 1] * (size // 2 ** (len(blocks) + 1))
        self.norm = nn.LayerNorm(self.width)
        self.project = last_layer(self.width, dim, projection, activation)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, 1, s, s), normalized; s a multiple of 16. Returns (b, dim)."""
        return self.head(self.features(pixels))

    def features(self, inputs: Tensor) -> Tensor:
        """(b, width): of each row of the last map the mean and the maximum over time."""
        maps = self._maps(inputs)  # (b, channels, rows, times)
        return self.norm(torch.cat([maps.mean(3), maps.amax(3)], 1).flatten(1))

    def head(self, features: Tensor) -> Tensor:
        """features (b, width) to (b, dim)."""
        return self.project(self.dropout(features))


class AstTower(ImageTower):
    """A transformer on overlapping patches of a spectrogram (b, 1, s, s), after AST (Gong 2021), mean-pooled.

    Patches of 16 x 16 begin every 10 pixels, as AST's do; places are coded by waves, not learned, so that a window may
    have any length. spec: {"seconds", "width": a multiple of 4, "layers", "patch", "stride", "activation",
    "projection"}.
    """

    has_features = True
    has_patches = True
    own_size = SIDE
    mean, std = (MEAN,), (STD,)
    body: nn.ModuleList

    def __init__(
        self, dim: int, seconds: float = SECONDS, width: int = 192, layers: int = 4, patch: int = 16, stride: int = 10,
        dropout: float = 0.0, activation: str = "gelu", projection: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__()
        self.seconds, self.width = seconds, width
        self.spec: dict[str, Any] = {
            "type": "ast", "seconds": seconds, "width": width, "layers": layers, "patch": patch, "stride": stride,
            "dropout": dropout, "activation": activation, "projection": projection,
        }  # fmt: skip
        blocks = (Block(width, heads_of(width), activation, 4 * width) for _ in range(layers))
        self.body = nn.ModuleList([nn.Conv2d(1, width, patch, stride), *blocks])
        self.norm = nn.LayerNorm(width)
        self.dropout = RowDropout(dropout)
        self.project = last_layer(width, dim, projection, activation)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, 1, s, s), normalized. Returns (b, dim)."""
        return self.head(self.features(pixels))

    def features(self, inputs: Tensor) -> Tensor:
        """(b, width): the mean of the patches."""
        return self.patches(inputs).mean(1)

    def head(self, features: Tensor) -> Tensor:
        """features (b, width) to (b, dim)."""
        return self.project(self.dropout(features))

    def patches(self, pixels: Tensor) -> Tensor:
        """pixels as for `forward`. What the body makes of each patch, (b, places, width), row by row."""
        embed, *blocks = self.body
        maps = embed(pixels.to(dtype_of(self.body)))
        places = place_codes(maps.shape[2], maps.shape[3], self.width)
        x = maps.flatten(2).transpose(1, 2) + places.to(pixels.device, maps.dtype)
        for block in blocks:
            x = block(x)
        return self.norm(x.to(self.norm.weight.dtype))
