"""Fusions of modalities as single vectors: one alone, concatenation, pooling, weights, gates, products."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from retrieval.heads.blocks import Fusion, Vectors, masked_softmax, mlp


class Only(Fusion):
    """One modality alone: what every fusion must beat."""

    def __init__(self, dims: dict[str, int], outputs: int, name: str, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__({name: dims[name]}, outputs, width, dropout)
        self.classify = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(self.width, outputs))

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs); where the modality is missing, what is most likely without it."""
        tokens, _ = self.tokens(vectors, present)
        return self.classify(tokens[:, 0])


class Concat(Fusion):
    """Modalities side by side, then two layers with a ReLU: the first layer is a projection for each, summed."""

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__(dims, outputs, width, dropout)
        self.missing = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name in dims})
        self.classify = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs). A missing modality is a learned vector."""
        tokens, mask = self.tokens(vectors, present)
        missing = torch.stack([self.missing[name] for name in self.names])
        return self.classify(torch.where(mask[..., None], tokens, missing).sum(1))


class Mean(Fusion):
    """The mean of what is there, each projected, then one linear layer: additive, so it cannot make a XOR."""

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0,
                 project: bool = True) -> None:  # fmt: skip
        super().__init__(dims, outputs, width, dropout, project)
        self.classify: nn.Module = nn.Linear(self.width, outputs)

    def pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(b, m, w) and bool (b, m) to (b, w)."""
        return (self.weights(tokens, mask)[..., None] * tokens).sum(1)

    def weights(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """How much of each modality: (b, m), 0 for a missing one; each row sums to 1."""
        return masked_softmax(torch.zeros_like(tokens[..., 0]), mask)

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        return self.classify(self.pool(*self.tokens(vectors, present)))


class Max(Mean):
    """The greatest of each number over what is there (deep sets). A missing modality is never the greatest."""

    def pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(b, m, w) and bool (b, m) to (b, w)."""
        greatest = tokens.masked_fill(~mask[..., None], -torch.inf).amax(1)
        return torch.where(mask.any(1, keepdim=True), greatest, 0.0)


class Weighted(Mean):
    """A weighed sum, the weights shared by all rows: learned, or fixed where they are given."""

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0,
                 project: bool = True, weights: Sequence[float] | None = None) -> None:  # fmt: skip
        super().__init__(dims, outputs, width, dropout, project)
        if weights is not None and (len(weights) != len(dims) or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError(f"one weight of at least 0 for each of {', '.join(dims)}")
        start = torch.zeros(len(dims)) if weights is None else torch.tensor(weights, dtype=torch.float32).log()
        self.log_weights = nn.Parameter(start, requires_grad=weights is None)

    def weights(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """How much of each modality: (b, m), shared out anew among what is there."""
        scores = self.log_weights.clamp(min=-1e4).expand(mask.shape)  # a fixed weight of 0 stays a number
        return masked_softmax(scores, mask)


class Attention(Mean):
    """A weight for each modality that depends on the row: softmax over modalities of w . tanh(V h), then an MLP."""

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__(dims, outputs, width, dropout)
        self.score = nn.Sequential(nn.Linear(width, width // 4), nn.Tanh(), nn.Linear(width // 4, 1, bias=False))
        self.joint = nn.Linear(width, width // 4, bias=False)
        self.classify = mlp(width, outputs, width, dropout)

    def weights(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """How much of each modality: (b, m). What all modalities say together moves each one's score."""
        first, tanh, last = self.score
        hidden = tanh(first(tokens) + self.joint(tokens.sum(1, keepdim=True)))
        return masked_softmax(last(hidden)[..., 0], mask)


class Gated(Fusion):
    """Gated multimodal units (Arevalo 2017): each number of each modality has a gate that sees all modalities."""

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__(dims, outputs, width, dropout)
        self.gate = nn.Linear(len(dims) * width, len(dims) * width)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))

    def gates(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(b, m, w): softmax over modalities, 0 for a missing one."""
        scores = self.gate(tokens.flatten(1)).unflatten(1, tokens.shape[1:])
        return masked_softmax(scores.transpose(1, 2), mask[:, None].expand(-1, tokens.shape[2], -1)).transpose(1, 2)

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        tokens, mask = self.tokens(vectors, present)
        return self.classify((self.gates(tokens, mask) * tokens.tanh()).sum(1))


class Bilinear(Fusion):
    """Low-rank bilinear fusion (Liu 2018): the product of the projections, which have biases, so it holds the parts.

    A missing modality is a factor of one.
    """

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__(dims, outputs, width, dropout)
        for layer in self.project.values():
            assert isinstance(layer, nn.Linear)
            nn.init.ones_(layer.bias)  # so that a product of several starts near each of them, not near nothing
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        tokens, mask = self.tokens(vectors, present)
        return self.classify(torch.where(mask[..., None], tokens, 1.0).prod(1))
