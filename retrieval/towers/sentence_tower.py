"""Any sentence encoder as a text tower (`text_tower=sentence:PATH`): a transformer of `transformers`, pooled.

The folder's config.json says what is built, its weights are read by this project's own door, and no code of it runs. A
saved run holds that config and all weights: it opens when the folder is gone.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from indexes.distribution import install
from indexes.typed import Malformed
from retrieval import errors
from retrieval.errors import MissingModel
from retrieval.specs import check_spec
from retrieval.towers import sentence_folder
from retrieval.towers.checkpoint import tensors_of
from retrieval.towers.layers import PAD, RowDropout, dtype_of, unusual
from retrieval.towers.projections import last_layer
from retrieval.towers.sentence_folder import WAY_ON, SentenceFolder
from retrieval.towers.static_tower import StaticTower
from retrieval.towers.tower import Spec, TextTower

_TOKENS = 1 << 14  # of texts that go through the transformer together
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Tanh": torch.tanh, "Identity": lambda x: x, "ReLU": F.relu, "GELU": F.gelu, "Sigmoid": torch.sigmoid,
    "SiLU": F.silu, "Mish": F.mish,
}  # fmt: skip


class SentenceTower(TextTower):
    """Tokens (b, l) to (b, dim): a transformer, its words pooled, what the folder puts behind, and a last layer.

    A token is the tokenizer's number and 1, so that PAD is no token. spec: {"config": config.json; "pooling": of
    POOLINGS, side by side; "tail": specs of what follows; "activation", "projection" of the last layer}. vocabulary:
    tokens that it knows. Raises Malformed for a config that `transformers` cannot build or that does not fit.
    """

    body: Any  # a model of transformers
    has_features = has_words = True
    new_parts = ("project",)

    def __init__(
        self, dim: int, config: Spec, pooling: Iterable[str] = ("mean",), tail: Iterable[Spec] = (),
        dropout: float = 0.0, activation: str = "gelu", projection: str = "linear",
        weights: dict[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        config, self.pooling, tail = sentence_folder.plain(config), tuple(pooling), list(tail)
        _require_known(self.pooling, POOLINGS)
        _require_known([step["type"] for step in tail], TAIL)
        self.spec = {
            "type": "sentence", "config": config, "pooling": list(self.pooling), "tail": tail, "dropout": dropout,
            **unusual(activation=(activation, "gelu"), projection=(projection, "linear")),
        }  # fmt: skip
        self.body = _transformer(config, weights)
        self.pad = self.body.config.pad_token_id or 0
        self.vocabulary = len(self._table.weight)
        self.tail = nn.ModuleList(TAIL[step["type"]](**_without_type(step)) for step in tail)
        self.width = _width(self.body.config.hidden_size * len(self.pooling), tail)
        self.dropout = RowDropout(dropout)
        self.project = last_layer(self.width, dim, projection, activation)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l) integers, PAD at the end of a line. Returns (b, dim)."""
        return self.head(self.features(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """tokens as for `forward`. What the encoder is without us, (b, width), in the head's type."""
        if torch.jit.is_tracing():
            return self._features(tokens)
        parts = tokens.split(max(1, _TOKENS // tokens.shape[1]))
        return torch.cat([self._features(part) for part in parts])

    def head(self, features: Tensor) -> Tensor:
        """Features (b, width) to (b, dim)."""
        return self.project(self.dropout(features))

    def word_vectors(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens as for `forward`. Each word before it has seen the others, (b, l, width), and which are words."""
        return self._table(self._numbers(tokens)).float(), tokens != PAD

    @property
    def _table(self) -> Any:  # an nn.Embedding, whose place in the body each architecture chooses
        return self.body.get_input_embeddings()

    def _features(self, tokens: Tensor) -> Tensor:
        seen = tokens != PAD
        first = torch.arange(seen.shape[1], device=seen.device) == 0
        attended = seen | first  # also of a text without a token: attention to nothing is no number
        words = self.body(input_ids=self._numbers(tokens), attention_mask=attended.long()).last_hidden_state
        words = words.to(dtype_of(self.project))
        x = torch.cat([POOLINGS[mode](words, seen) for mode in self.pooling], -1)
        for step in self.tail:
            x = step(x)
        return x

    def _numbers(self, tokens: Tensor) -> Tensor:
        return torch.where(tokens != PAD, tokens - 1, self.pad)


# ---------------------------------------------------------------- pooling, and what follows


def _sum(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight[..., None]).sum(1)


def _mean(x: Tensor, seen: Tensor, power: float = 1.0) -> Tensor:
    weight = seen.to(x.dtype)
    return _sum(x, weight) / weight.sum(1, keepdim=True).clamp(min=1e-9) ** power


def _weighted(x: Tensor, seen: Tensor) -> Tensor:
    weight = seen.to(x.dtype) * torch.arange(1, x.shape[1] + 1, device=x.device)
    return _sum(x, weight) / weight.sum(1, keepdim=True).clamp(min=1e-9)


def _last(x: Tensor, seen: Tensor) -> Tensor:
    places = torch.arange(x.shape[1], device=x.device)
    return _sum(x, (places == seen.sum(1, keepdim=True) - 1).to(x.dtype))


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda x, seen: x[:, 0], "mean": _mean, "weightedmean": _weighted, "lasttoken": _last,
    "max": lambda x, seen: x.masked_fill(~seen[..., None], torch.finfo(x.dtype).min).amax(1),
    "mean_sqrt_len_tokens": lambda x, seen: _mean(x, seen, 0.5),
}  # fmt: skip


class _Dense(nn.Module):
    """A linear layer and an activation."""

    def __init__(self, inside: int, outside: int, bias: bool, activation: str) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise Malformed(f"its dense layer has the activation {activation}")
        self.linear, self.activation = nn.Linear(inside, outside, bias=bias), _ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """x (b, inside)"""
        return self.activation(self.linear(x))


class _Normalize(nn.Module):
    """Unit length."""

    def forward(self, x: Tensor) -> Tensor:
        """x (b, w)"""
        return F.normalize(x, dim=-1)


TAIL: dict[str, Callable[..., nn.Module]] = {"dense": _Dense, "normalize": _Normalize}


def _require_known(names: Iterable[str], known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            raise Malformed(f"it asks for `{name}`, where mmr has {', '.join(known)}")


def _without_type(step: Spec) -> Spec:
    return {key: value for key, value in step.items() if key != "type"}


def _width(width: int, tail: list[Spec]) -> int:
    """How wide the features are behind the tail. Raises Malformed where one part does not fit the one before it."""
    for step in tail:
        if step.get("inside", width) != width:
            raise Malformed(f"a dense layer takes {step['inside']} numbers, and {width} come before it")
        width = step.get("outside", width)
    return width


# ---------------------------------------------------------------- the transformer


def _transformer(config: Spec, weights: dict[str, Tensor] | None = None) -> Any:  # transformers' models differ
    """The encoder that a config.json describes, with those weights or random ones, and no dropout. Raises Malformed."""
    transformers = _library()
    kind = config.get("model_type")
    auto = transformers.models.auto.modeling_auto
    reads = (
        auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES, auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    )  # fmt: skip
    if not any(kind in names for names in reads):
        raise Malformed(f"transformers {transformers.__version__} has no text model `{kind}`")
    try:
        said = transformers.AutoConfig.for_model(**config)
        for name, value in said.to_dict().items():
            if "drop" in name and isinstance(value, float):
                setattr(said, name, 0.0)  # drawn from another stream than ours, it would change with micro batches
        return _only_encoder(_built(transformers, said, weights))
    except Malformed:
        raise
    # A config of another hand: whatever a model's code makes of it.
    except Exception as error:
        raise Malformed(f"{kind} cannot be built of its config ({errors.first_line(error)})") from error


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingModel(f"sentence encoders need the library transformers: {install('sentence')}") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _built(transformers: Any, config: Any, weights: dict[str, Tensor] | None) -> Any:
    encoders = transformers.models.auto.modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
    whole = transformers.AutoModelForTextEncoding if config.model_type in encoders else transformers.AutoModel
    plain = {"attn_implementation": "eager", "trust_remote_code": False, "dtype": torch.float32}
    if weights is None:
        return whole.from_config(config, **plain)
    with torch.device("meta"):  # its shapes, and no memory
        shapes = whole.from_config(config, **plain)
    _require_room(shapes, weights)
    model, told = type(shapes).from_pretrained(
        None, config=config, state_dict=weights, output_loading_info=True, attn_implementation="eager",
        dtype=torch.float32,
    )  # fmt: skip
    lacking = sorted(name for name in told["missing_keys"] if not name.startswith("pooler."))
    if lacking:
        raise Malformed(f"its weights lack `{lacking[0]}`, which its config.json asks for")
    return model


def _require_room(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Raise Malformed where a config asks for more numbers than its weights hold: it would be made before it fails."""
    pooler = sum(math.prod(each.shape) for name, each in model.named_parameters() if name.startswith("pooler."))
    asked = sum(math.prod(each.shape) for each in model.parameters()) - pooler
    held = sum(tensor.numel() for tensor in weights.values())
    if asked > held:
        raise Malformed(f"its config.json asks for {asked} numbers, and its weights hold {held}")


def _only_encoder(model: Any) -> Any:
    """Without what no vector comes from, as BERT's pooler, which tells next sentences."""
    if hasattr(model, "shared"):  # T5's table of words, which its encoder has too
        model = model.get_encoder()
    if isinstance(getattr(model, "pooler", None), nn.Module):
        model.pooler = None
    return model


# ---------------------------------------------------------------- from a folder


def sentence_side(dim: int, pretrained: str = "", **settings: Any) -> TextTower:
    """The sentence encoder of a folder or of the hub with a new last layer; or, without one, that of a saved spec.

    Raises MissingModel where it cannot be had or read, Malformed for a saved spec that cannot be.
    """
    if not pretrained:
        return SentenceTower(dim, **settings)
    return tower_of(dim, sentence_folder.read(pretrained), **settings)


def minilm_side(dim: int, pretrained: str = "yes", **settings: Any) -> TextTower:
    """The tower of the package minilm. A saved run knows it as a sentence encoder. Raises MissingModel."""
    return tower_of(dim, sentence_folder.of_package("minilm"), **settings)


def tower_of(dim: int, folder: SentenceFolder, **settings: Any) -> TextTower:
    """The tower of a folder that was read. settings: of its last layer. Raises MissingModel."""
    weights = tensors_of(folder.weights, "a sentence encoder", WAY_ON)
    try:
        if folder.static:
            return StaticTower.of_weights(dim, weights, [step for step, _ in folder.tail], **settings)
        check_spec({"config": folder.config}, len(weights))
        return _of_folder(dim, folder, weights, settings)
    except Malformed as error:
        raise sentence_folder.unfit(folder, error) from error


def _of_folder(dim: int, folder: SentenceFolder, weights: dict[str, Tensor], settings: dict[str, Any]) -> TextTower:
    steps = [step for step, _ in folder.tail]
    tower = SentenceTower(dim, folder.config, folder.pooling, steps, weights=weights, **settings)
    hidden = tower.body.config.hidden_size
    if folder.width not in (None, hidden):
        raise Malformed(f"its pooling takes {folder.width} numbers, and its config.json gives {hidden}")
    for module, (_, file) in zip(tower.tail, folder.tail, strict=True):
        if file:
            try:
                module.load_state_dict(tensors_of(file, "a dense layer", WAY_ON))
            except RuntimeError as error:  # other names or shapes
                raise Malformed(f"{file.parent.name} has other weights than it says") from error
    return tower
