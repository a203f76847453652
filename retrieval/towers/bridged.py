"""What was learned of a body's features beside what was known of them: one body, two heads."""

import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.combined import beside
from retrieval.towers.efficientnet_lite import CLASSES
from retrieval.towers.efficientnet_lite import FEATURES as PICTURE
from retrieval.towers.space import ImageSpace, TextSpace
from retrieval.towers.tower import ImageTower, Spec, TextTower, Tower
from retrieval.towers.use_tower import FEATURES as SENTENCE


class ImagePrior(nn.Module):
    """Features that begin with those EfficientNet-Lite2's classifier reads to the space of `builtin`, (b, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.classifier, self.space = nn.Linear(PICTURE, CLASSES), ImageSpace(dim)

    def forward(self, features: Tensor) -> Tensor:
        """features (b, 1280 or more)"""
        return self.space(self.classifier(features[:, :PICTURE]))


class TextPrior(nn.Module):
    """Features that begin with those of USE, (b, 512 or more), to the space of `builtin`, (b, dim)."""

    def __init__(self, dim: int, anchors: int, named: int) -> None:
        super().__init__()
        self.space = TextSpace(dim, anchors, named)

    def forward(self, features: Tensor) -> Tensor:
        """features (b, width)"""
        return self.space(features[:, :SENTENCE])


class BridgedTower(ImageTower, TextTower):
    """A tower's vectors and a prior's of the same features, `beside` each other; it may be either side.

    spec: {"tower": its spec, "inner": numbers of its vectors, "how": arguments of the prior, "share": the prior's}.
    """

    has_features = True
    still_parts = ("prior.",)

    def __init__(self, tower: Tower, inner: int, prior: nn.Module, how: Spec, share: float) -> None:
        super().__init__()
        self.spec = {"type": "bridged", "tower": tower.spec, "inner": inner, "how": how, "share": share}
        self.tower, self.prior, self.share = tower, prior.requires_grad_(False), share
        self.new_parts = tuple(f"tower.{name}" for name in tower.new_parts)
        self.width = tower.width
        if isinstance(tower, ImageTower):
            self.mean, self.std = tower.mean, tower.std
        if isinstance(tower, TextTower):
            self.vocabulary = tower.vocabulary

    @property
    def body(self) -> nn.Module:
        """What may run in bfloat16."""
        return self.tower.body

    def skip_unread(self) -> None:
        """Leave out what no answer reads."""
        self.tower.skip_unread()

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs as the tower takes them. Returns (b, inner + the prior's), of unit length."""
        return self.head(self.features(inputs))

    def features(self, inputs: Tensor) -> Tensor:
        """The tower's, which the prior reads too."""
        return self.tower.features(inputs)

    def place_features(self, pixels: Tensor) -> Tensor:
        """As of any image tower: those of the tower, which the prior reads too."""
        if not isinstance(self.tower, ImageTower):
            raise NotImplementedError("words have no places")
        return self.tower.place_features(pixels)

    def head(self, features: Tensor) -> Tensor:
        """Features (b, width) to what `forward` gives."""
        sides = [F.normalize(ask(features), dim=-1) for ask in (self.tower.head, self.prior)]
        return beside(sides, (1 - self.share, self.share))
