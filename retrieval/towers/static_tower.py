"""A table of words, whose mean is a text: model2vec's encoders and sentence-transformers' StaticEmbedding."""

from collections.abc import Iterable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from indexes.typed import Malformed
from retrieval.towers.layers import PAD, RowDropout, dtype_of, unusual
from retrieval.towers.projections import last_layer
from retrieval.towers.tower import Spec, TextTower

_TABLES = ("embeddings", "embedding.weight")  # as model2vec and as sentence-transformers name it


class StaticTower(TextTower):
    """Tokens (b, l) to (b, dim): the mean of their rows of a table, and a last layer.

    A token is the tokenizer's number and 1, so that PAD is no token. spec: {"rows", "width" of the table; "vocabulary":
    where several tokens may share a row, else 0; "weighted": each token has a weight; "integers": the table is in 8
    bits; "unit": the mean is of unit length; "activation", "projection" of the last layer}.
    """

    body: nn.ModuleDict
    has_features = has_words = True
    new_parts = ("project",)

    def __init__(
        self, dim: int, rows: int, width: int, vocabulary: int = 0, weighted: bool = False, integers: bool = False,
        unit: bool = False, dropout: float = 0.0, activation: str = "gelu", projection: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = {
            "type": "static", "rows": rows, "width": width, "vocabulary": vocabulary, "weighted": weighted,
            "integers": integers, "unit": unit, "dropout": dropout,
            **unusual(activation=(activation, "gelu"), projection=(projection, "linear")),
        }  # fmt: skip
        self.width, self.vocabulary, self.unit = width, vocabulary or rows, unit
        self.body = nn.ModuleDict()
        self.table = nn.Parameter(
            torch.zeros(rows, width, dtype=torch.int8 if integers else torch.float32), requires_grad=not integers
        )
        self.rows: Tensor | None
        self.weights: Tensor | None
        self.register_buffer("rows", torch.zeros(vocabulary, dtype=torch.int64) if vocabulary else None)
        self.register_buffer("weights", torch.ones(self.vocabulary) if weighted else None)
        self.dropout = RowDropout(dropout)
        self.project = last_layer(width, dim, projection, activation)

    @classmethod
    def of_weights(cls, dim: int, tensors: dict[str, Tensor], tail: Iterable[Spec] = (), **settings: Any) -> Self:
        """The tower of a folder's weights. settings: of the last layer. Raises Malformed for what is no table."""
        table = next((tensors[name] for name in _TABLES if name in tensors), None)
        rows, weights = tensors.get("mapping"), tensors.get("weights")
        if table is None or table.ndim != 2 or not all(table.shape):
            raise Malformed(f"its weights have no table of words called {' or '.join(_TABLES)}")
        unit = [step["type"] for step in tail]
        if unit not in ([], ["normalize"]):
            raise Malformed("a dense layer stands behind its table of words")
        count = len(table) if rows is None else len(rows)
        if rows is not None and (rows.ndim != 1 or not len(rows) or not 0 <= rows.min() <= rows.max() < len(table)):
            raise Malformed(f"its words point outside its table of {len(table)} rows")
        if weights is not None and weights.shape != (count,):
            raise Malformed(f"it has {count} words and {weights.numel()} weights")
        tower = cls(
            dim, table.shape[0], table.shape[1], vocabulary=0 if rows is None else count, weighted=weights is not None,
            integers=not table.is_floating_point(), unit=bool(unit), **settings,
        )  # fmt: skip
        found = {"table": table, "rows": rows, "weights": weights}
        tower.load_state_dict({name: each for name, each in found.items() if each is not None}, strict=False)
        return tower

    def no_weight_decay(self) -> set[str]:
        """Names of its parameters that do not decay: its words."""
        return {"table"}

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l) integers, PAD at the end of a line. Returns (b, dim)."""
        return self.head(self.features(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """tokens as for `forward`. The mean of their rows, (b, width); zeros where there is none."""
        words, seen = self.word_vectors(tokens)
        mean = (words * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1)
        return F.normalize(mean, dim=-1) if self.unit else mean

    def head(self, features: Tensor) -> Tensor:
        """Features (b, width) to (b, dim)."""
        return self.project(self.dropout(features))

    def word_vectors(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens as for `forward`. Each word by its weight, (b, l, width), and which are words."""
        numbers = (tokens - 1).clamp(min=0)
        words = F.embedding(numbers if self.rows is None else self.rows[numbers], self.table)
        words = words.to(dtype_of(self.project))
        return words if self.weights is None else words * self.weights[numbers][..., None], tokens != PAD
