"""Towers: an image tower and a text tower, each (batch) -> (batch, dim), not yet of unit length.

Every tower has a `body`, which may run in bfloat16, and ends in float32. What a tower needs to be built again is the
dict it was built from (`spec`), so that a run folder can hold it.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

PAD = 0  # the token that fills a line; every text tower must not see it
_ALIKE = 128  # lines of like length that go through the text tower together on the CPU


class RowDropout(nn.Module):
    """Dropout of whole features of a row, drawn row by row from a stream of its own.

    A batch cut into micro-batches draws the very masks that it would draw whole, and drawing again after `reseed`
    replays them: that is what makes `micro_batch_size` change nothing but memory.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.stream = torch.Generator()

    def draw(self, rows: int, width: int) -> Tensor | None:
        """Factors (rows, width), on the CPU: 0 for what is dropped. None where nothing is."""
        if not self.training or self.share == 0:
            return None
        keep = torch.rand(rows, width, generator=self.stream) >= self.share
        return keep / (1 - self.share)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, w)"""
        factors = self.draw(*x.shape)
        return x if factors is None else x * factors.to(x.device, x.dtype)


def reseed_dropout(model: nn.Module, seed: int) -> None:
    """Start every RowDropout of the model again, each on a stream of its own."""
    for number, module in enumerate(m for m in model.modules() if isinstance(m, RowDropout)):
        module.stream.manual_seed(seed * 1009 + number)


# ---------------------------------------------------------------- image


class _Conv(nn.Conv2d):
    """A convolution whose filters are standardised before use (weight standardization, Qiao 2019).

    With GroupNorm alone the CNN learned a third slower than with BatchNorm; with this it learns faster than either
    (docs/log.md). Standardised in float32, used in the type of the body.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.float() if self.weight.dtype == torch.bfloat16 else self.weight
        mean, fan_in = weight.mean((1, 2, 3), keepdim=True), weight[0].numel()
        variance = weight.var((1, 2, 3), keepdim=True, unbiased=False)
        standard = (weight - mean) * torch.rsqrt(variance + 1e-5) * fan_in**-0.5
        return F.conv2d(x, standard.to(x.dtype), None, self.stride, self.padding)


class _Residual(nn.Module):
    """Two 3x3 convolutions and a skip. GroupNorm, because a picture must not see the others of its batch."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = _Conv(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = _norm(outside)
        self.second = _Conv(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = _norm(outside)
        self.skip = nn.Identity()
        if inside != outside or stride > 1:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.skip = nn.Sequential(pool, _Conv(inside, outside, 1, bias=False), _norm(outside))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(h)) + self.skip(x))


def _norm(channels: int) -> nn.GroupNorm:
    # 16 channels a group: fewer take PyTorch's slow path on the CPU (5 times slower in bfloat16).
    return nn.GroupNorm(max(1, channels // 16), channels)


class ConvTower(nn.Module):
    """A small residual CNN on pixels (b, 3, s, s): a patch stem, then stages at s/4, s/8 and s/16.

    spec: {"width": channels of the first stage, a multiple of 32; "blocks": blocks of each stage; "patch": 4, or 2
    for a stem that looks closer before the first stage}.
    """

    def __init__(
        self, dim: int, width: int = 48, blocks: tuple[int, ...] = (1, 2, 1), dropout: float = 0.0, patch: int = 4
    ) -> None:
        super().__init__()
        self.spec = {"type": "conv", "width": width, "blocks": list(blocks), "dropout": dropout, "patch": patch}
        inside = width if patch == 4 else width // 2
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(patch),
            _Conv(3 * patch**2, inside, 3, 1, 1, bias=False),
            _norm(inside),
            nn.ReLU(),
        ]
        for stage, count in enumerate(blocks):
            outside = width * (1, 3, 6, 8)[stage]
            for block in range(count):
                shrinks = block == 0 and (stage > 0 or patch == 2)
                layers.append(_Residual(inside, outside, 2 if shrinks else 1))
                inside = outside
        self.body = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.dropout = RowDropout(dropout)
        self.project = nn.Linear(inside, dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, 3, s, s), normalised; s a multiple of 16. Returns (b, dim)."""
        return self.project(self.dropout(_generalized_mean(self._maps(pixels))))

    def patches(self, pixels: Tensor) -> Tensor:
        """pixels as for `forward`. What the body makes of each place, (b, places, channels), row by row."""
        return self._maps(pixels).flatten(2).transpose(1, 2)

    def _maps(self, pixels: Tensor) -> Tensor:
        dtype = next(self.body.parameters()).dtype
        maps = self.body(pixels.to(dtype).contiguous(memory_format=torch.channels_last))
        return maps.to(self.project.weight.dtype)


def _generalized_mean(maps: Tensor) -> Tensor:
    """(b, c, h, w) to (b, c): the cubic mean over places (GeM, Radenovic 2018), between the mean and the maximum.

    A thing that fills a corner counts for more than its share of the area. The maps come out of a ReLU.
    """
    return maps.clamp(min=1e-4).pow(3).mean((2, 3)).pow(1 / 3)


# ---------------------------------------------------------------- text


class _Attention(nn.Module):
    """A pre-norm transformer block. Attention is written out: its backward is 4 times faster than
    scaled_dot_product_attention's on the CPU at these lengths (docs/log.md)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5 + bias
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TextTransformer(nn.Module):
    """A small transformer on tokens (b, l), mean-pooled over what is not padding.

    spec: {"vocabulary", "width", "layers", "context"}; a text longer than `context` tokens is cut.
    """

    def __init__(
        self, dim: int, vocabulary: int, width: int = 256, layers: int = 2, context: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.spec = {
            "type": "transformer", "vocabulary": vocabulary, "width": width, "layers": layers, "context": context,
            "dropout": dropout,
        }  # fmt: skip
        self.words = nn.Embedding(vocabulary, width, padding_idx=PAD)
        nn.init.normal_(self.words.weight, std=0.05)
        nn.init.zeros_(self.words.weight[PAD])
        self.places = nn.Parameter(torch.randn(context, width) * 0.02)
        self.word_dropout = RowDropout(dropout)
        self.body = nn.ModuleList(_Attention(width, max(1, width // 64)) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = RowDropout(dropout)
        self.project = nn.Linear(width, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l) integers, PAD at the end of a line; l at most `context`. Returns (b, dim)."""
        factors = self.word_dropout.draw(len(tokens), self.words.embedding_dim)
        if self.training and tokens.device.type == "cpu" and len(tokens) > _ALIKE:
            return self.project(self.dropout(self._by_length(tokens, factors)))
        return self.project(self.dropout(self._mean(tokens, factors)))

    def word_vectors(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens as for `forward`. Each word before it has seen the others, (b, l, width), and which are words."""
        return self.words(tokens), tokens != PAD

    def _by_length(self, tokens: Tensor, factors: Tensor | None) -> Tensor:
        """`_mean`, some lines of like length at a time, so that little of the work is padding."""
        length = (tokens != PAD).sum(1)
        order = length.argsort()
        means = [
            self._mean(tokens[rows, : length[rows[-1]]], None if factors is None else factors[rows])
            for rows in order.split(_ALIKE)
        ]
        return torch.cat(means)[order.argsort()]

    def _mean(self, tokens: Tensor, factors: Tensor | None) -> Tensor:
        """What the transformer makes of the lines, (b, width): its mean over what is not padding."""
        dtype = self.body[0].qkv.weight.dtype if len(self.body) else self.words.weight.dtype
        seen = tokens != PAD
        words = self.words(tokens)
        if factors is not None:
            words = words * factors.to(words)[:, None]
        x = (words + self.places[: tokens.shape[1]]).to(dtype)
        bias = torch.zeros(seen.shape, dtype=dtype, device=x.device).masked_fill(~seen, -1e4)[:, None, None, :]
        for block in self.body:
            x = block(x, bias)
        x = self.norm(x.to(self.norm.weight.dtype))
        weight = seen.to(x.dtype)[..., None]
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


# ---------------------------------------------------------------- open_clip's own


class OpenClipImageTower(nn.Module):
    """The image side of an open_clip model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.body = model.visual

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, 3, s, s), normalised. Returns (b, dim)."""
        return self.body(pixels.to(next(self.body.parameters()).dtype)).float()


class OpenClipTextTower(nn.Module):
    """The text side of an open_clip model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.body = model.text

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l), l up to the context. Returns (b, dim)."""
        whole = getattr(self.body, "attn_mask", None)
        if whole is None:
            return self.body(tokens).float()
        length = tokens.shape[1]
        self.body.attn_mask = whole[:length, :length]  # open_clip's own forward takes full lines only
        try:
            return self.body(tokens).float()
        finally:
            self.body.attn_mask = whole

    def word_vectors(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens as for `forward`. Each word before it has seen the others, (b, l, width), and which are words."""
        return self.body.token_embedding(tokens).float(), tokens != PAD


class PlainAttention(nn.Module):
    """What nn.MultiheadAttention computes, written out: ONNX lacks its fast path, and tracing it fixes the lengths."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.out_proj = attention.num_heads, attention.out_proj
        self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """query (b, l, d), key and value (b, m, d), attn_mask added to the scores. Returns (b, l, d) and None."""
        biases = self.in_proj_bias.chunk(3) if self.in_proj_bias is not None else (None,) * 3
        q, k, v = (
            F.linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((query, key, value), self.in_proj_weight.chunk(3), biases, strict=True)
        )
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        weights = (scores if attn_mask is None else scores + attn_mask).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2)), None


def with_plain_attention(tower: nn.Module) -> nn.Module:
    """The tower, changed: open_clip's attentions written out."""
    for module in list(tower.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MultiheadAttention) and child.batch_first and child.in_proj_weight is not None:
                setattr(module, name, PlainAttention(child))
    return tower


class OpenClipTokenizer:
    """open_clip's tokenizer of a model, giving NumPy."""

    def __init__(self, tokenizer: Callable) -> None:
        self.tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, context)."""
        return self.tokenizer(list(texts)).numpy()


def open_clip_model(name: str, weights: str | None = None) -> nn.Module:
    """An open_clip model whose text side is a module of its own. weights: a tag, a local file, or None for random."""
    import open_clip

    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # open_clip warns of random weights, which are wanted here
    try:
        return open_clip.create_model(name, pretrained=weights, force_custom_text=True, precision="fp32")
    finally:
        logging.root.setLevel(level)


IMAGE_TOWERS: dict[str, Callable[..., nn.Module]] = {"conv": ConvTower}
TEXT_TOWERS: dict[str, Callable[..., nn.Module]] = {"transformer": TextTransformer}


def build(towers: dict[str, Callable[..., nn.Module]], dim: int, spec: dict) -> nn.Module:
    """A tower from its spec: {"type": name in the dict, ...arguments}."""
    arguments = {
        key: tuple(value) if isinstance(value, list) else value for key, value in spec.items() if key != "type"
    }
    return towers[spec["type"]](dim, **arguments)
