"""open_clip's towers: the two sides of a whole model, or one side beside a tower of another kind."""

import difflib
import logging
from pathlib import Path
from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval import errors, hub
from retrieval.errors import BadRequest, MissingModel
from retrieval.towers import norms
from retrieval.towers.each_place import along, of_open_clip
from retrieval.towers.last_block import for_first_token
from retrieval.towers.layers import PAD, RowDropout, dtype_of, unusual
from retrieval.towers.projections import last_layer
from retrieval.towers.timm_tower import fit
from retrieval.towers.tower import ImageTower, Spec, TextTower

_LIST = "see https://github.com/mlfoundations/open_clip for the list"


class OpenClipModel(Protocol):
    """What is used of open_clip's CustomTextCLIP, whose package has no types."""

    visual: nn.Module
    text: nn.Module
    logit_scale: Tensor


class OpenClipImageTower(ImageTower):
    """The image side of an open_clip model.

    size: what pictures are resized to, None: they come so. channels: other than 3 are mixed into 3 by a learned layer.
    project: a module behind it. norm: as of norms.py.
    """

    body: nn.Module

    def __init__(
        self, model: OpenClipModel, spec: Spec, size: int | None = None, channels: int = 3,
        project: nn.Module | None = None, norm: str = "still",
    ) -> None:  # fmt: skip
        super().__init__()
        self.body, self.spec, self.size = model.visual, spec, size
        if norm == "group":
            norms.use_group_norm(self.body)
        self.mix = nn.Conv2d(channels, 3, 1) if channels != 3 else nn.Identity()
        self.project = project or nn.Identity()

    def train(self, mode: bool = True) -> Self:
        """As of any module, but for pretrained batch statistics, which stay."""
        super().train(mode)
        norms.hold_statistics(self.body)
        return self

    def no_weight_decay(self) -> set[str]:
        """Names of its parameters that do not decay, beside those the body says: a ResNet does not say its places."""
        return {name for name, _ in self.named_parameters() if name.endswith("positional_embedding")}

    def skip_unread(self) -> None:
        """Leave out what no answer reads, where that is known of the tower: for encoding, where nobody else does."""
        from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

        body = self.body
        if isinstance(body, VisionTransformer) and body.pool_type == "tok" and body.attn_pool is None:
            last = body.transformer.resblocks[-1]
            if type(last) is ResidualAttentionBlock and body.transformer.batch_first and not body.output_tokens:
                for_first_token(last)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (b, c, s, s), normalized. Returns (b, dim)."""
        pixels = self.mix(fit(pixels, self.size)).to(dtype_of(self.body))
        return self.project(_pooled(self.body(pixels)).float())

    def places(self, pixels: Tensor) -> Tensor:
        """As of any image tower: the values of the patches, past the last attention (each_place.py)."""
        pixels = self.mix(fit(pixels, self.size)).to(dtype_of(self.body))
        return F.normalize(along(self.project, of_open_clip(self.body, pixels).float()), dim=-1)


class OpenClipTextTower(TextTower):
    """The text side of an open_clip model. project: a module behind it. Those of the model hub give no words."""

    body: Any  # open_clip's TextTransformer or HFTextEncoder, which have no types

    def __init__(self, model: OpenClipModel, spec: Spec, project: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.spec = model.text, spec
        self.has_words = hasattr(self.body, "token_embedding")
        self.project = project or nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l), l up to the context. Returns (b, dim)."""
        whole = getattr(self.body, "attn_mask", None)
        if whole is None:
            return self.project(_pooled(self.body(tokens)).float())
        length = tokens.shape[1]
        self.body.attn_mask = whole[:length, :length]  # open_clip's own forward takes full lines only
        try:
            return self.project(_pooled(self.body(tokens)).float())
        finally:
            self.body.attn_mask = whole

    def word_vectors(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens as for `forward`. Each word before it has seen the others, (b, l, width), and which are words."""
        return self.body.token_embedding(tokens).float(), tokens != PAD


def _pooled(features: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Some models (CoCa) give their tokens beside."""
    return features[0] if isinstance(features, tuple) else features


def image_side(
    dim: int, name: str, size: int, channels: int = 3, norm: str = "", activation: str = "gelu",
    projection: str = "linear", weights: str | None = None, dropout: float = 0.0,
) -> OpenClipImageTower:  # fmt: skip
    """The image side of open_clip's model NAME beside any text tower, with a last layer where one is needed.

    weights: a tag or a file; None is random. Raises BadRequest and MissingModel as `open_clip_model` does.
    """
    model = open_clip_model(split_name(name)[0], weights, "--set image_tower=", force_image_size=size)
    norm = norm or ("still" if weights else "group")
    facts = facts_of(name, model)
    project = _last_layer(facts["dim"], dim, projection, activation, dropout)
    spec = {
        "type": "open_clip", "name": name, "size": size, "norm": norm,
        **_unusual(channels, activation, projection, dropout),
    }  # fmt: skip
    tower = OpenClipImageTower(model, spec, size, channels, project, norm)
    if channels == 3:
        tower.mean, tower.std = tuple(facts["mean"]), tuple(facts["std"])
    return tower


def text_side(
    dim: int, name: str, activation: str = "gelu", projection: str = "linear", weights: str | None = None,
    dropout: float = 0.0,
) -> OpenClipTextTower:  # fmt: skip
    """The text side of open_clip's model NAME beside any image tower; else as `image_side`."""
    model = open_clip_model(split_name(name)[0], weights, "--set text_tower=")
    width = facts_of(name, model)["dim"]
    spec = {"type": "open_clip", "name": name, **_unusual(3, activation, projection, dropout)}
    return OpenClipTextTower(model, spec, _last_layer(width, dim, projection, activation, dropout))


def _unusual(channels: int, activation: str, projection: str, dropout: float) -> dict[str, Any]:
    return unusual(
        channels=(channels, 3),
        activation=(activation, "gelu"),
        projection=(projection, "linear"),
        dropout=(dropout, 0.0),
    )


def _last_layer(width: int, dim: int, projection: str, activation: str, dropout: float) -> nn.Module | None:
    if width == dim and projection == "linear" and not dropout:
        return None
    return nn.Sequential(RowDropout(dropout), last_layer(width, dim, projection, activation))


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


def facts_of(name: str, model: OpenClipModel) -> dict[str, Any]:
    """What open_clip says of a model: dim, and how pictures are prepared (size, mean, std, interpolation, ...)."""
    import open_clip

    return {**open_clip.get_model_preprocess_cfg(model), "dim": open_clip.get_model_config(name)["embed_dim"]}


def split_name(given: str) -> tuple[str, str]:
    """NAME and TAG or FILE of `NAME/TAG`, the latter empty where it is left out. Raises BadRequest for no such NAME."""
    import open_clip

    name, _, weights = given.partition("/")
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), 3)
        raise BadRequest(f"open_clip has no model `{name}`: {errors.did_you_mean(near, _LIST)}")
    return name, weights


def open_clip_model(name: str, weights: str | None = None, option: str = "--model ", **more: object) -> OpenClipModel:
    """An open_clip model whose text side is a module of its own. weights: a tag, a local file, or None for random.

    option: what is typed before `open_clip:`, for messages. Raises BadRequest for an unknown tag, MissingModel where
    weights are not to be had, or are no weights of that model.
    """
    if weights:
        _check_weights(name, weights, option)
    import open_clip

    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # open_clip warns of random weights, which are wanted here
    try:
        return open_clip.create_model(name, pretrained=weights, force_custom_text=True, precision="fp32",
                                      device=torch.get_default_device(), **more)  # fmt: skip
    # torch.load, safetensors, load_state_dict and the hub raise their own families; a refused pickle is among them.
    except Exception as error:
        reason = f"{weights} is no checkpoint of {name}" if weights else f"open_clip cannot build {name}"
        raise MissingModel(f"{reason} ({errors.first_line(error)}): check {option.strip()}") from error
    finally:
        logging.root.setLevel(level)


def _check_weights(name: str, weights: str, option: str) -> None:
    import open_clip

    if Path(weights).is_file():
        return
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights in tags:
        repository = (open_clip.get_pretrained_cfg(name, weights).get("hf_hub") or "").rstrip("/")
        hub.require_open_clip(name, weights, repository, option)
        return
    if "/" in weights or "." in weights:
        raise MissingModel(f"no weights file {weights}: check the path in {option}open_clip:{name}/{weights}")
    near = difflib.get_close_matches(weights, tags, 3) or tags
    raise BadRequest(f"{name} has no weights `{weights}`: {errors.did_you_mean(near, _LIST)}")
