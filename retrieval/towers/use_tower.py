"""Google's USE multilingual v3 as a text tower, `text_tower=package:use`: sixteen languages in one space.

The mean of words and of n-grams, then four dense layers (Yang 2019, "Multilingual Universal Sentence Encoder"); it
computes what the package's NumPy code computes. The word table stays in 8 bits: a text reads a few rows of it.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval import packages
from retrieval.towers.layers import PAD, RowDropout, dtype_of, unusual
from retrieval.towers.projections import last_layer
from retrieval.towers.tower import TextTower

FEATURES = 512
_WORD, _GRAM = 512, 256  # numbers of a word and of an n-gram
_CHUNKS, _ROWS = 17, 7530  # word i has the scale of chunk i % 17
_GRAMS = ((2, 0), (3, 1), (5, 2))  # words that each looks at, and how many of them lie before
_REACH = 2  # of the widest, to either side: texts lie this far apart
_EPS = 1e-12
_TOKENS = 1 << 12  # of texts that go through the tower together: more do not fit a core's cache


class UseTower(TextTower):
    """Tokens (b, l) of packaged tokenizer "use" to (b, dim).

    spec: {"name": "use"; "activation" and "projection" of the last layer}. pretrained: "yes" for the package's weights,
    "no" for random ones, which a run's take the place of. Raises MissingModel where the package is gone or altered.
    """

    body: nn.ModuleList
    has_words = has_features = True
    new_parts = ("project",)
    vocabulary, width = _CHUNKS * _ROWS, FEATURES

    def __init__(
        self, dim: int, dropout: float = 0.0, activation: str = "gelu", projection: str = "linear",
        pretrained: str = "no",
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = {
            "type": "package", "name": "use", "dropout": dropout,
            **unusual(activation=(activation, "gelu"), projection=(projection, "linear")),
        }  # fmt: skip
        self.words = _Words()
        self.body = nn.ModuleList([_Grams(), _Sentence()])
        self.dropout = RowDropout(dropout)
        self.project = last_layer(FEATURES, dim, projection, activation)
        if pretrained != "no":
            self.load_state_dict(self.state_dict() | weights_of_package())

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l) integers, PAD at the end of a line. Returns (b, dim)."""
        return self.head(self.features(tokens))

    def head(self, features: Tensor) -> Tensor:
        """Features (b, 512) to (b, dim)."""
        return self.project(self.dropout(features))

    def features(self, tokens: Tensor) -> Tensor:
        """tokens as for `forward`. USE's own vectors, (b, 512) of unit length."""
        if torch.jit.is_tracing():
            return self._features(tokens)
        return torch.cat([self._features(part) for part in tokens.split(max(1, _TOKENS // tokens.shape[1]))])

    def word_vectors(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens as for `forward`. Each word before it has seen the others, (b, l, 512), and which are words."""
        return self.words(tokens.flatten()).unflatten(0, tokens.shape), seen(tokens)

    def _features(self, tokens: Tensor) -> Tensor:
        """All texts as one line, with room between them: none sees another, and no work is done on padding."""
        there, dtype = F.pad(seen(tokens), (0, _REACH)), dtype_of(self.body)
        length = there.sum(1, keepdim=True)
        kept = torch.arange(there.shape[1], device=tokens.device) < length + _REACH
        row = torch.arange(tokens.shape[0], device=tokens.device)[:, None].expand_as(kept)[kept]
        inside = there[kept][:, None]
        words = self.words(F.pad(tokens, (0, _REACH))[kept]) * inside
        grams = self.body[0](words.to(dtype), inside).float()
        total = torch.zeros(tokens.shape[0], grams.shape[1], device=tokens.device)
        total = total.scatter_add(0, row[:, None].expand_as(grams), grams)  # index_add is exported wrongly
        return F.normalize(self.body[1](total, length.clamp(min=1)).to(dtype_of(self.project)), dim=-1)


def seen(tokens: Tensor) -> Tensor:
    """What is not padding of tokens (b, l), booleans. The unknown token is 0 too: only what ends a line is padding."""
    places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    return places <= ((tokens != PAD) * places).amax(1, keepdim=True)


class _Words(nn.Module):
    """The word table in 8 bits: number times scale plus the lowest, of the word's chunk."""

    table: Tensor
    scale: Tensor
    lowest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(_CHUNKS * _ROWS, _WORD, dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(_CHUNKS))
        self.register_buffer("lowest", torch.zeros(_CHUNKS))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (n,). Returns float (n, 512)."""
        chunk = tokens % _CHUNKS
        rows = self.table.index_select(0, tokens).to(self.scale.dtype)
        return rows * self.scale[chunk][:, None] + self.lowest[chunk][:, None]


class _Gram(nn.Module):
    """Two residual looks at so many words side by side."""

    def __init__(self, count: int, before: int) -> None:
        super().__init__()
        self.count, self.before = count, before
        self.first, self.second = nn.Linear(count * _GRAM, _GRAM), nn.Linear(count * _GRAM, _GRAM)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """x (n, 256), zero where `inside` (n, 1) is false. Returns (n, 256)."""
        for layer in (self.first, self.second):
            x = (x + F.relu(layer(self._windows(x)))) * inside
        return x

    def _windows(self, x: Tensor) -> Tensor:
        """Each row beside its neighbors, (n, count * 256)."""
        line = F.pad(x, (0, 0, self.before, self.count - 1 - self.before))
        rows = x.shape[0]
        return torch.cat([line[start : start + rows] for start in range(self.count)], 1)


class _Grams(nn.Module):
    """Words in a line to words beside their n-grams, each row normalized."""

    def __init__(self) -> None:
        super().__init__()
        width = _GRAM * len(_GRAMS)
        self.narrow, self.norm = nn.Linear(_WORD, width), nn.LayerNorm(width, _EPS)
        self.grams = nn.ModuleList(_Gram(count, before) for count, before in _GRAMS)
        self.last_norm = nn.LayerNorm(_WORD + width, _EPS)

    def forward(self, words: Tensor, inside: Tensor) -> Tensor:
        """words (n, 512), inside (n, 1): which of them are words. Returns (n, 1280), zeros where none is."""
        parts = (self.norm(self.narrow(words)) * inside).split(_GRAM, 1)
        seen = [gram(part, inside) for gram, part in zip(self.grams, parts, strict=True)]
        return self.last_norm(torch.cat([words, *seen], 1)) * inside


class _Sentence(nn.Module):
    """The sum of a text's words and n-grams to its vector."""

    def __init__(self) -> None:
        super().__init__()
        inner = 320
        self.pool = nn.Linear(_WORD + _GRAM * len(_GRAMS), _WORD)
        self.up, self.skip = nn.Linear(_WORD, inner, bias=False), nn.Linear(_WORD, inner, bias=False)
        self.middle, self.wide = nn.Linear(inner, inner, bias=False), nn.Linear(inner, FEATURES, bias=False)
        self.last_skip, self.last = (nn.Linear(size, FEATURES, bias=False) for size in (inner, FEATURES))

    def forward(self, total: Tensor, length: Tensor) -> Tensor:
        """total (b, 1280), length (b, 1) words. Returns (b, 512), each between -1 and 1."""
        root = length.to(total.dtype).sqrt()
        mean = F.linear((total / root).to(self.pool.weight.dtype), self.pool.weight) + root * self.pool.bias
        mean = mean.to(self.pool.weight.dtype)
        inner = F.relu(self.skip(mean) + self.middle(F.relu(self.up(mean))))
        return torch.tanh(self.last_skip(inner) + self.last(F.relu(self.wide(inner))))


# ---------------------------------------------------------------- the package's weights

_LINEAR = {
    "body.1.up": "d0", "body.1.skip": "p1", "body.1.middle": "d1", "body.1.wide": "d2", "body.1.last_skip": "p3",
    "body.1.last": "d3",
}  # fmt: skip


def weights_of_package() -> dict[str, Tensor]:
    """The package's weights by our names. Raises MissingModel where it is gone or altered."""
    return _read(packages.files_of(packages.PACKAGES["use"])["resources/weights.npz"])


def _read(file: Path) -> dict[str, Tensor]:
    counts = [count for count, _ in _GRAMS]
    with np.load(file, allow_pickle=False) as found:
        table = np.empty((_CHUNKS * _ROWS, _WORD), np.uint8)
        for chunk in range(_CHUNKS):
            table[chunk::_CHUNKS] = found[f"q{chunk + 1}"]
        made = {"words.table": table, "words.scale": found["scale"], "words.lowest": found["lo"]}
        made["body.0.narrow.weight"] = np.concatenate([found[f"proj{count}"].T for count in counts])
        for ours, theirs in (("narrow.bias", "proj_b"), ("norm.weight", "ln_g"), ("norm.bias", "ln_b")):
            made[f"body.0.{ours}"] = np.concatenate([found[f"{theirs}{count}"] for count in counts])
        for place, count in enumerate(counts):
            for layer, number in (("first", 1), ("second", 2)):
                made[f"body.0.grams.{place}.{layer}.weight"] = found[f"w{number}_{count}"].T
                made[f"body.0.grams.{place}.{layer}.bias"] = found[f"b{number}_{count}"]
        made |= {"body.0.last_norm.weight": found["ln_g"], "body.0.last_norm.bias": found["ln_b"]}
        made |= {"body.1.pool.weight": found["cnn_W"].T, "body.1.pool.bias": found["cnn_b"]}
        made |= {f"{ours}.weight": found[theirs].T for ours, theirs in _LINEAR.items()}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in made.items()}
