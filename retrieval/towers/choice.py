"""Which towers a TrainConfig asks for: its settings as specs, checked once."""

import difflib
from typing import TYPE_CHECKING

from retrieval.errors import BadRequest
from retrieval.towers.frames import FRAME_POOLINGS
from retrieval.towers.layers import ACTIVATIONS, POINTWISE, PROJECTIONS
from retrieval.towers.pooling import POOLINGS

if TYPE_CHECKING:
    from retrieval.config import TrainConfig

SHORT_NAMES = {"resnet50": "timm:resnet50"}  # said so often that they have a name of their own
_RECURRENT = ("lstm", "gru", "rnn")
_IMAGE = ("conv", "resnet50", "timm:NAME", "vit", "mlp", "open_clip:NAME", "open_clip:NAME/WEIGHTS")
_TEXT = ("transformer", *_RECURRENT, "open_clip:NAME", "open_clip:NAME/WEIGHTS")
_NAMED = ("timm", "open_clip")  # towers whose name goes on behind a colon


def split(tower: str) -> tuple[str, str]:
    """ "timm:resnet18" as ("timm", "resnet18"); the second is empty for a tower of ours."""
    kind, _, name = SHORT_NAMES.get(tower, tower).partition(":")
    return kind, name


def image_spec(config: "TrainConfig") -> dict:
    """What towers.build needs for the image tower. A size of 0 leaves the tower its own."""
    kind, name = split(config.image_tower)
    spec = {"type": kind, "dropout": config.dropout, **_shared(config.image_activation, config.projection)}
    spec |= {"channels": config.image_channels} if config.image_channels != 3 else {}
    width = {"width": config.image_width} if config.image_width else {}
    patch = {"patch": config.image_patch} if config.image_patch else {}
    layers = {"layers": config.image_layers} if config.image_layers else {}
    if kind == "conv":
        return spec | width | patch
    if kind == "vit":
        return spec | width | patch | layers
    if kind == "mlp":
        return spec | {"widths": (config.image_width or 512,) * (config.image_layers or 2)}
    if kind == "timm":
        return spec | {"name": name, "size": config.image_size, "pretrained": config.pretrained}
    return spec | {"size": config.image_size} | _open_clip(name)


def text_spec(config: "TrainConfig") -> dict:
    """What towers.build needs for the text tower, but for the size of the vocabulary."""
    kind, name = split(config.text_tower)
    spec = {"type": kind, "dropout": config.dropout, **_shared(config.text_activation, config.projection)}
    if kind == "open_clip":
        return spec | _open_clip(name)
    spec |= {"width": config.text_width, "context": config.context}
    if kind in _RECURRENT:
        layers = {"layers": config.text_layers} if config.text_layers else {}
        return spec | layers | {"bidirectional": config.bidirectional == "yes", "pooling": config.pooling}
    spec |= {"layers": config.text_layers}
    return spec | {"pooling": config.pooling}


def frames_spec(config: "TrainConfig") -> dict | None:
    """What frames.build_frames needs; None where clips are the mean of their frames."""
    return {"type": config.frame_pooling} if config.frame_pooling != "mean" else None


def _shared(activation: str, projection: str) -> dict:
    named = {"activation": activation} if activation != "auto" else {}
    return named | ({"projection": projection} if projection != "linear" else {})


def _open_clip(name: str) -> dict:
    name, _, weights = name.partition("/")
    return {"name": name} | ({"weights": weights} if weights else {})


# ---------------------------------------------------------------- what does not fit


def check(config: "TrainConfig") -> None:
    """Raise BadRequest where a setting names nothing, or asks a tower for what it does not have."""
    image, text = split(config.image_tower)[0], split(config.text_tower)[0]
    _check_tower("image_tower", config.image_tower, _IMAGE)
    _check_tower("text_tower", config.text_tower, _TEXT)
    for field, allowed in (
        ("image_activation", ("auto", *ACTIVATIONS)), ("text_activation", ("auto", *ACTIVATIONS)),
        ("projection", PROJECTIONS), ("pooling", tuple(POOLINGS)), ("bidirectional", ("yes", "no")),
        ("frame_pooling", FRAME_POOLINGS),
    ):  # fmt: skip
        _require(getattr(config, field) in allowed, field, f"must be one of {', '.join(allowed)}")
    linear = config.projection == "linear"
    _require(
        image != "conv" or config.image_activation in ("auto", *POINTWISE), "image_activation",
        "swiglu is for feed-forward layers, which a CNN has none of: use image_tower=vit or mlp, or another activation",
    )  # fmt: skip
    _require(
        image not in _NAMED or not linear or config.image_activation == "auto", "image_activation",
        f"is not asked of {config.image_tower}, which has its own: add --set projection=mlp, or leave it out",
    )  # fmt: skip
    plain_relu = text == "rnn" and config.text_activation == "relu"
    _require(
        text not in (*_RECURRENT, "open_clip") or not linear or config.text_activation == "auto" or plain_relu,
        "text_activation",
        f"is not asked of {config.text_tower}, which has its own: add --set projection=mlp, or leave it out",
    )  # fmt: skip
    _require(text != "open_clip" or config.pooling == "mean", "pooling", "is open_clip's own: leave it out")
    _require(
        image == "timm" or config.pretrained == "no", "pretrained",
        "is for timm's models: use image_tower=resnet50, or open_clip:NAME/WEIGHTS",
    )  # fmt: skip


def _check_tower(field: str, tower: str, known: tuple[str, ...]) -> None:
    kind, name = split(tower)
    kinds = {split(other)[0] for other in known}
    if kind in kinds and bool(name) == (kind in _NAMED):
        return
    if kind in kinds:
        how = f"takes a name behind it, as in {field}={kind}:NAME" if kind in _NAMED else "takes no name behind it"
        raise BadRequest(f"{field}={tower}: {kind} {how}")
    near = difflib.get_close_matches(tower, known, 1)
    hint = f"did you mean `{near[0]}`?" if near else f"use one of {', '.join(known)}"
    raise BadRequest(f"no {field} `{tower}`: {hint}")


def _require(holds: bool, field: str, what: str) -> None:
    if not holds:
        raise BadRequest(f"{field} {what}")
