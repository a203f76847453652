"""The small transformer on tokens."""

import torch
from torch import Tensor, nn

from retrieval.towers.layers import PAD, Block, RowDropout, dtype_of, heads_of, unusual
from retrieval.towers.pooling import POOLINGS
from retrieval.towers.projections import last_layer
from retrieval.towers.tower import TextTower

ALIKE = 128  # lines of like length that go through the tower together on the CPU


class TextTransformer(TextTower):
    """A small transformer on tokens (b, l), pooled over what is not padding.

    spec: {"vocabulary", "width", "layers", "context", "pooling", "activation", "projection"}; a text longer than
    `context` tokens is cut.
    """

    body: nn.ModuleList
    has_words = True

    def __init__(
        self, dim: int, vocabulary: int, width: int = 256, layers: int = 2, context: int = 64, dropout: float = 0.0,
        pooling: str = "mean", activation: str = "gelu", projection: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = {
            "type": "transformer", "vocabulary": vocabulary, "width": width, "layers": layers, "context": context,
            "dropout": dropout,
            **unusual(
                pooling=(pooling, "mean"), activation=(activation, "gelu"), projection=(projection, "linear"),
            ),
        }  # fmt: skip
        self.words = word_table(vocabulary, width)
        self.places = nn.Parameter(torch.randn(context, width) * 0.02)
        self.word_dropout = RowDropout(dropout)
        self.body = nn.ModuleList(Block(width, heads_of(width), activation) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.pool = POOLINGS[pooling](width)
        self.dropout = RowDropout(dropout)
        self.project = last_layer(width, dim, projection, activation)

    def no_weight_decay(self) -> set[str]:
        """Names of its parameters that do not decay, beside its words: the places."""
        return {"places"}

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l) integers, PAD at the end of a line; l at most `context`. Returns (b, dim)."""
        factors = self.word_dropout.draw(len(tokens), self.words.embedding_dim)
        if self.training and tokens.device.type == "cpu" and len(tokens) > ALIKE:
            return self.project(self.dropout(self._by_length(tokens, factors)))
        return self.project(self.dropout(self._pooled(tokens, factors)))

    def word_vectors(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens as for `forward`. Each word before it has seen the others, (b, l, width), and which are words."""
        return self.words(tokens), tokens != PAD

    def _by_length(self, tokens: Tensor, factors: Tensor | None) -> Tensor:
        """`_pooled`, some lines of like length at a time, so that little of the work is padding."""
        length = (tokens != PAD).sum(1)
        order = length.argsort()
        parts = [
            self._pooled(tokens[rows, : length[rows[-1]]], None if factors is None else factors[rows])
            for rows in order.split(ALIKE)
        ]
        return torch.cat(parts)[order.argsort()]

    def _pooled(self, tokens: Tensor, factors: Tensor | None) -> Tensor:
        """What the transformer makes of the lines, (b, width), pooled over what is not padding."""
        dtype = dtype_of(self.body, self.words.weight.dtype)
        seen = tokens != PAD
        words = self.words(tokens)
        if factors is not None:
            words = words * factors.to(words)[:, None]
        x = (words + self.places[: tokens.shape[1]]).to(dtype)
        bias = torch.zeros(seen.shape, dtype=dtype, device=x.device).masked_fill(~seen, -1e4)[:, None, None, :]
        for block in self.body:
            x = block(x, bias)
        return self.pool(self.norm(x.to(self.norm.weight.dtype)), seen)


def word_table(vocabulary: int, width: int, std: float = 0.05) -> nn.Embedding:
    """A vector for each token, of numbers around `std` at the start; that of padding is zero and stays so."""
    table = nn.Embedding(vocabulary, width, padding_idx=PAD)
    nn.init.normal_(table.weight, std=std)
    nn.init.zeros_(table.weight[PAD])
    return table
