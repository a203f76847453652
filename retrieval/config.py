"""TrainConfig: every knob of a run on one page, checked once."""

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from retrieval.engine import DEVICES, PRECISIONS
from retrieval.errors import BadRequest
from retrieval.preprocess import MODES, VIEWS
from retrieval.schedule import SCHEDULES
from retrieval.towers import choice


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A run. Change it with `dataclasses.replace`, or with `settings` from the command line (`--set lr=1e-3`).

    Recipes (recipes.py) are functions that return one.
    """

    # What is trained: "" is a small encoder from scratch, else any name that load_encoder takes.
    encoder: str = ""
    image_size: int = 96  # pixels of the square that the encoder sees; a multiple of 16
    train_size: int = 0  # pixels of the crops in training; 0 is image_size. A crop magnifies, so fewer do (FixRes)
    small_size: int = 64  # pixels of the crops of the first steps, which cost less ...
    small_share: float = 0.0  # ... as long as this share of the run
    resize: str = "squash"  # how a picture becomes a square (preprocess.py); from scratch only, as are those below
    views: int = 1  # of a picture when it is encoded: 2 are a closer one too, 4 their mirror images, unless flip=no
    dim: int = 256

    # The towers, from scratch: docs/towers.md has each with its settings. A size of 0 is the tower's own.
    image_tower: str = "conv"  # conv, resnet50, timm:NAME, vit, mlp, open_clip:NAME or open_clip:NAME/WEIGHTS
    image_width: int = 0  # a multiple of 16: channels of the CNN's first stage, of a patch (vit), of a layer (mlp)
    image_layers: int = 0  # of vit and mlp
    image_patch: int = 0  # conv: 4, or 2: a stem that looks closer (image_width a multiple of 32); vit: pixels
    image_channels: int = 3  # of a pixel: 3 are RGB, 1 is grey, others come as arrays
    image_activation: str = "auto"  # relu, leaky_relu, silu, mish, gelu, swiglu; "auto" is the tower's own
    pretrained: str = "no"  # timm's weights: "yes", "no", or a local file
    text_tower: str = "transformer"  # transformer, lstm, gru, rnn, open_clip:NAME or open_clip:NAME/WEIGHTS
    text_width: int = 256  # a multiple of 64
    text_layers: int = 2  # of a transformer 0 is none: it knows words and not their order
    text_activation: str = "auto"
    bidirectional: str = "yes"  # lstm, gru and rnn read from both ends
    pooling: str = "mean"  # of the words: mean, max, last, attention
    projection: str = "linear"  # the towers' last layers: linear, or mlp, with the activations
    vocabulary: int = 8192
    context: int = 64  # tokens of the longest caption

    # Clips, also those of a trained encoder.
    frames: int = 1  # of a clip, in training; 1 is its middle one. A picture beside clips is one that does not move
    frame_pooling: str = "mean"  # mean, attention, or transformer, which alone knows the frames' order

    # Which pairs meet.
    batch_size: int = 256  # pairs that see each other; fewer pictures than that make one batch
    micro_batch_size: int = 0  # pairs in memory at once; 0 is the whole batch. Changes nothing but memory and time
    epochs: float = 30.0  # passes over the pictures
    hard_negatives: str = ""  # an index that holds the pictures: some of a batch are near to others of it
    hard_share: float = 0.25  # of a batch that is chosen so
    captions: int = 1  # drawn of each picture in a step; each draw is a batch of its own, so they never meet
    seed: int = 0

    # What is asked of them.
    loss: str = "info_nce"
    logit_scale: float = 1 / 0.07  # where it starts; learned
    max_logit_scale: float = 100.0
    label_smoothing: float = 0.0  # of info_nce
    duplicates: str = "negative"  # captions of the same words, of other pictures: "negative", "masked" or "positive"
    loss_budget_mb: int = 128  # of logits kept for their gradients; a larger batch makes them twice, a third more work
    teacher: str = ""  # an encoder, or several with commas: their answers on the same pairs are part of what is asked
    teacher_share: float = 0.5  # of the targets
    generations: int = 1  # each but the first is taught by the one before it (generations.py)
    caption_weight: float = 0.0  # of a loss between captions of a picture, which is added; one caption has none to meet

    # How the weights move.
    optimizer: str = "adamw"  # or lion (a third to a tenth of adamw's rate), or sgd (with momentum)
    lr: float = 1e-3
    schedule: str = "cosine"  # or constant, or cooldown: constant and then down
    warmup: float = 0.05  # share of the steps
    cooldown: float = 0.2  # of schedule=cooldown: the share of the steps that goes down
    layer_decay: float = 1.0  # each layer below a tower's head has this share of the rate of the one above it
    weight_decay: float = 0.1
    beta1: float = 0.9  # of the momentum
    beta2: float = 0.98
    grad_clip: float = 1.0
    ema: float = 0.0  # decay of the averaged weights, which are what is evaluated and saved; 0 is off

    # What stays as it is.
    freeze: str = ""  # image, text or both: a tower that is not trained (LiT: image) ...
    unfreeze: int = 0  # ... but for its last layers: 1 is the head alone, 2 the block below it as well
    lora: int = 0  # rank of small matrices that are trained in place of the towers that are not frozen; 0 is off
    lora_alpha: float = 16.0  # what they add is scaled by this / lora

    # What makes memorising harder.
    crop: float = 0.85  # smallest share of a picture's area that is shown; 1 shows all of it
    color_jitter: float = 0.0  # brightness, contrast and saturation each change by up to this share
    flip: str = "auto"  # mirror half of the pictures: "yes", "no", or "auto": unless captions speak of left and right
    word_dropout: float = 0.0  # share of the tokens left out; each caption draws its own, from 0 to twice this
    dropout: float = 0.0  # of whole features: the towers' last ones, and the words' own
    patch_dropout: float = 0.0  # share of a picture's patches left out, where the tower has patches (FLIP)

    # Where and how often.
    device: str = "auto"
    precision: str = "auto"  # of the towers' bodies; master weights are float32
    shard: str = "no"  # yes: of several processes each holds a share of the model (sharding.py), not the whole
    compile: str = ""  # a backend of torch.compile for the towers' bodies, as inductor; "" is off
    evaluations: int = 4  # during the run, where there is something to evaluate on
    measure: str = "recall@10"  # what says which evaluation is the best, over both directions
    keep: str = "best"  # or last: whose weights are saved
    patience: int = 0  # the run ends after so many evaluations in a row without a better one; 0 is never
    tensorboard: str = "no"  # yes: events in RUN/tensorboard as well
    checkpoints: int = 10  # during the run; the last two are kept
    pixel_cache_gb: float = 3.0  # decoded pictures are kept in memory up to this

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            _one_of(name, getattr(self, name), allowed)
        for name in _ABOVE_ZERO:
            _require(getattr(self, name) > 0, name, "must be above 0")
        for name in _NOT_NEGATIVE:
            _require(getattr(self, name) >= 0, name, "must not be negative")
        for name in _BELOW_ONE:
            _require(0 <= getattr(self, name) < 1, name, "must be at least 0 and below 1")
        for name in _UP_TO_ONE:
            _require(0 < getattr(self, name) <= 1, name, "must be above 0 and at most 1")
        for name, unit in _MULTIPLES.items():
            _require(getattr(self, name) % unit == 0 and getattr(self, name) > 0, name, f"must be a multiple of {unit}")
        _require(self.train_size % 16 == 0 and self.train_size >= 0, "train_size", "must be a multiple of 16, or 0")
        _require(self.image_width % 16 == 0 and self.image_width >= 0, "image_width", "must be a multiple of 16, or 0")
        patches = (0, 2, 4) if self.image_tower == "conv" else (0, 4, 8, 16)
        _require(self.image_patch in patches, "image_patch", f"must be one of {', '.join(map(str, patches))}")
        _require(self.views in VIEWS, "views", "must be 1, 2 or 4")
        _require(self.vocabulary >= 300, "vocabulary", "must be at least 300: bytes alone take 257")
        choice.check(self)
        self._check_together()

    def _check_together(self) -> None:
        _require(not self.label_smoothing or self.loss == "info_nce", "label_smoothing", "belongs to loss=info_nce")
        _require(not self.unfreeze or self.freeze != "", "unfreeze", "belongs to freeze=image, text or both")
        _require(self.freeze != "both" or self.unfreeze > 0, "unfreeze", "must be above 0 where freeze=both")
        _require(not (self.lora and self.unfreeze), "unfreeze", "must be 0 beside lora")
        _require(not self.compile or self.shard == "no", "shard", "must be no beside compile")

    def settings(self, assignments: Iterable[str]) -> "TrainConfig":
        """A copy with `field=value` texts applied. Raises BadRequest, with the nearest name for an unknown field."""
        return dataclasses.replace(self, **assign(self, assignments))


def assign(config: object, assignments: Iterable[str]) -> dict[str, object]:
    """The values of `field=value` texts for a dataclass, each of its field's type. Raises BadRequest."""
    kinds = {field.name: field.type for field in dataclasses.fields(config)}  # a recipe may say 3 where 3.0 is meant
    changes = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(kinds)}"
            raise BadRequest(f"no setting `{name}`: {hint}")
        try:
            changes[name] = _read(kinds[name], value if equals else None)
        except (TypeError, ValueError, KeyError):
            what = {"int": "a whole number", "float": "a number", "bool": "yes or no"}.get(
                kinds[name].__name__, "a value"
            )
            raise BadRequest(f"--set {text}: {name} takes {what}, as in {name}={getattr(config, name)}") from None
    return changes


def _read(kind: type, text: str | None) -> object:
    if kind is bool:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[(text or "").lower()]
    return kind(text)


_CHOICES = {
    "device": DEVICES, "precision": PRECISIONS, "resize": MODES, "flip": ("auto", "yes", "no"),
    "loss": ("info_nce", "sigmoid"), "optimizer": ("adamw", "lion", "sgd"), "schedule": tuple(SCHEDULES),
    "freeze": ("", "image", "text", "both"), "keep": ("best", "last"), "tensorboard": ("no", "yes"),
    "duplicates": ("negative", "masked", "positive"), "shard": ("no", "yes"),
}  # fmt: skip
_ABOVE_ZERO = (
    "batch_size",
    "epochs",
    "lr",
    "logit_scale",
    "grad_clip",
    "lora_alpha",
    "dim",
    "context",
    "captions",
    "image_channels",
    "frames",
    "generations",
)
_NOT_NEGATIVE = (
    "micro_batch_size", "weight_decay", "evaluations", "checkpoints", "pixel_cache_gb", "text_layers", "lora",
    "unfreeze", "patience", "loss_budget_mb", "image_layers", "caption_weight",
)  # fmt: skip
_BELOW_ONE = (
    "small_share", "warmup", "ema", "word_dropout", "color_jitter", "dropout", "patch_dropout", "label_smoothing",
    "beta1", "beta2", "hard_share",
)  # fmt: skip
_UP_TO_ONE = ("crop", "cooldown", "layer_decay", "teacher_share")
_MULTIPLES = {"image_size": 16, "small_size": 16, "text_width": 64}


def _one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    _require(value in allowed, name, f"must be one of {', '.join(allowed)}")


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise BadRequest(f"{name} {what}: change it with --set {name}=...")
