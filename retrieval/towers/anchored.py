"""The words of an encoder that is there, for one that learns to stand among its pictures."""

from torch import Tensor

from retrieval.towers.tower import Spec, TextTower


class AnchoredTower(TextTower):
    """A text tower as it is. Its features are its vectors, so that vectors of pictures may stand in their place.

    spec: {"tower": the spec of that tower}.
    """

    has_features = True

    def __init__(self, tower: TextTower, dim: int) -> None:
        super().__init__()
        self.spec: Spec = {"type": "anchored", "tower": tower.spec}
        self.tower, self.width, self.vocabulary = tower, dim, tower.vocabulary

    @property
    def body(self):  # noqa: ANN201, D102 - as of Tower
        return self.tower.body

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l) to (b, dim)."""
        return self.tower(tokens)

    def features(self, inputs: Tensor) -> Tensor:
        """The same."""
        return self.tower(inputs)

    def head(self, features: Tensor) -> Tensor:
        """Vectors (b, dim) as they are."""
        return features
