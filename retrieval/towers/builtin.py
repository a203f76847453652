"""The towers of the encoder `builtin`: a picture's classes and a text's meaning in one fixed space (space.py)."""

import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.each_place import along
from retrieval.towers.efficientnet_lite import FEATURES, LiteTower
from retrieval.towers.space import ImageSpace, TextSpace
from retrieval.towers.tower import ImageTower, TextTower
from retrieval.towers.use_tower import UseTower


class BuiltinImageTower(ImageTower):
    """Pixels (b, 3, s, s) to (b, dim) by EfficientNet-Lite2's classes.

    spec: {"size"}. pretrained: "yes" for the package's weights, "no" for random ones, which a run's take the place of.
    Raises MissingModel where the package is gone or altered.
    """

    own_size = LiteTower.own_size

    def __init__(self, dim: int, size: int = own_size, pretrained: str = "no") -> None:
        super().__init__()
        self.spec = {"type": "builtin", "size": size}
        self.lite = LiteTower(1, size, pretrained=pretrained, classes=True)
        self.lite.project = nn.Identity()  # of the tower alone, which nothing asks here
        self.mean, self.std = self.lite.mean, self.lite.std
        self.space = ImageSpace(dim)

    @property
    def body(self) -> nn.Module:
        """What may run in bfloat16."""
        return self.lite.body

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, 3, s, s), normalized. Returns (b, dim)."""
        return self.space(self.lite.features_and_logits(pixels)[1])

    def places(self, pixels: Tensor) -> Tensor:
        """As of any image tower: the classes of each place alone (class activation maps, Zhou 2016)."""
        assert self.lite.classifier is not None, "built with classes=True"
        logits = self.lite.classifier(self.lite.place_features(pixels)[..., :FEATURES])
        return F.normalize(along(self.space, logits), dim=-1)


class BuiltinTextTower(TextTower):
    """Tokens (b, l) of packaged tokenizer "use" to (b, dim) by the anchors that a text is like.

    spec: {"anchors": how many, "named": how many of them are asked for the nearest}. pretrained: as for the other side.
    """

    vocabulary = UseTower.vocabulary

    def __init__(self, dim: int, anchors: int, named: int, pretrained: str = "no") -> None:
        super().__init__()
        self.spec = {"type": "builtin", "anchors": anchors, "named": named}
        self.use = UseTower(1, pretrained=pretrained)
        self.use.project = nn.Identity()
        self.space = TextSpace(dim, anchors, named)

    @property
    def body(self) -> nn.Module:
        """What may run in bfloat16."""
        return self.use.body

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l) integers, PAD at the end of a line. Returns (b, dim)."""
        return self.space(self.use.features(tokens))
