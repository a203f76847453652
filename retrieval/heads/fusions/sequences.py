"""Fusions of sequences: modality, word, patch or frame vectors that look at each other."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.heads.blocks import Fusion, Vectors, masked_mean, masked_softmax, mlp
from retrieval.towers.layers import Block, attend

Score = Literal["additive", "dot", "cosine"]


class Conv(Fusion):
    """Modalities stacked in the order they are named, and a convolution along the stack; then the mean.

    The order matters, as with any convolution: a kernel of 2 sees neighbors only.
    """

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0,
                 kernel: int = 0) -> None:  # fmt: skip
        super().__init__(dims, outputs, width, dropout)
        kernel = min(kernel or 3, len(dims))
        self.convolve = nn.Conv1d(width, width, kernel)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs). A missing modality is zeros in the stack."""
        tokens, _ = self.tokens(vectors, present)
        return self.classify(F.relu(self.convolve(tokens.transpose(1, 2))).mean(2))


class SelfAttention(Fusion):
    """Every element attends to every other, whatever modality it is of; then the mean of what is there, and an MLP."""

    looks_inside, narrow = True, 2

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0,
                 heads: int = 4) -> None:  # fmt: skip
        super().__init__(dims, outputs, width, dropout)
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.classify = mlp(width, outputs, width, dropout)

    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        """(b, l, w), bool (b, l) to (b, l, w): knows no order, and nothing of what is missing."""
        return self.norm(x + self.out(attend(self.qkv(x), self.heads, bias_of(mask))))

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        x, mask, _ = self.sequence(vectors, present)
        return self.classify(masked_mean(self.mix(x, mask), mask)[0])


class Transformer(Fusion):
    """A transformer over [CLS] and every element, each with a vector for its modality; [CLS] is classified."""

    looks_inside, narrow, pace = True, 2, 0.3

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0,
                 heads: int = 4, layers: int = 1) -> None:  # fmt: skip
        super().__init__(dims, outputs, width, dropout)
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.kinds = nn.Parameter(torch.randn(len(dims), width) * 0.02)
        self.body = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        x, mask, kinds = self.sequence(vectors, present)
        x = torch.cat([self.start.expand(len(x), 1, -1), x + self.kinds[kinds]], 1)
        bias = bias_of(F.pad(mask, (1, 0), value=True))
        for block in self.body:
            x = block(x, bias)
        return self.classify(self.norm(x[:, 0]))


class CrossAttention(Fusion):
    """Each modality asks the elements of all others, softmax over their sequence; [own; found] of each, then an MLP.

    score: "additive" is Bahdanau's v . tanh(Q q + K k); "dot" is scaled; "cosine" knows no lengths. A softmax is taken
    over the sequence, never over the batch.
    """

    looks_inside, narrow = True, 2

    def __init__(self, dims: dict[str, int], outputs: int, width: int = 256, dropout: float = 0.0,
                 score: Score = "additive", temperature: float = 0.1) -> None:  # fmt: skip
        super().__init__(dims, outputs, width, dropout)
        self.kind, self.temperature = score, temperature
        hidden = width // 2
        self.query = nn.ModuleDict({name: nn.Linear(width, hidden) for name in dims})
        self.key = nn.ModuleDict({name: nn.Linear(width, hidden, bias=score == "additive") for name in dims})
        if score == "additive":
            self.add = nn.Linear(hidden, 1, bias=False)
        self.classify = mlp(2 * len(dims) * width, outputs, width, dropout)

    def attention(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """query (b, h), keys (b, l, h), bool (b, l) to weights (b, l): each row sums to 1, or is 0 where nothing is."""
        if self.kind == "additive":
            scores = self.add(torch.tanh(query[:, None] + keys))[..., 0]
        elif self.kind == "dot":
            scores = (keys @ query[..., None])[..., 0] * keys.shape[-1] ** -0.5
        else:
            scores = F.cosine_similarity(query[:, None], keys, dim=-1) / self.temperature
        return masked_softmax(scores, mask)

    def look(self, vectors: Vectors, present: Vectors) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """For each modality: itself (b, w), what it found in the others (b, w), and its weights on them (b, l)."""
        parts = {name: self.elements(vectors, present, name) for name in self.names}
        found = {}
        for name, (x, mask) in parts.items():
            own, there = masked_mean(x, mask)
            others = [other for other in self.names if other != name] or [name]
            values = torch.cat([parts[other][0] for other in others], 1)
            keys = torch.cat([self.key[other](parts[other][0]) for other in others], 1)
            seen = torch.cat([parts[other][1] for other in others], 1) & there[:, None]
            weights = self.attention(self.query[name](own), keys, seen)
            found[name] = own, (weights[..., None] * values).sum(1), weights
        return found

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        found = self.look(vectors, present)
        return self.classify(torch.cat([half for name in self.names for half in found[name][:2]], 1))


def bias_of(mask: Tensor) -> Tensor:
    """bool (b, l) to what is added to scores (b, heads, l, l): 0 for what is there, the least number elsewhere.

    A row with nothing looks at its zeros, all alike, and stays finite.
    """
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)[:, None, None]
