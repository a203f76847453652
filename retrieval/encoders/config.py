"""EncoderConfig: what an encoder from scratch is made of, as settings; which towers they ask for, as specs.

TrainConfig (training/config.py) builds on it. docs/reference/towers.md has each tower with its settings.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Any

from retrieval.encoders.preprocess import MODES, VIEWS
from retrieval.errors import BadRequest
from retrieval.settings import check, require, setting
from retrieval.towers import packaged
from retrieval.towers.frames import FRAME_POOLINGS
from retrieval.towers.layers import ACTIVATIONS, POINTWISE
from retrieval.towers.listening import AstTower, MelTower
from retrieval.towers.places_tower import PlacesTower
from retrieval.towers.pooling import POOLINGS
from retrieval.towers.products import LEAST_DIM
from retrieval.towers.projections import PROJECTIONS
from retrieval.towers.tower import ImageTower

SHORT_NAMES = {"resnet50": "timm:resnet50"}  # said so often that they have a name of their own
_RECURRENT = ("lstm", "gru", "rnn")
_IMAGE = (
    "conv", "resnet50", "timm:NAME", "package:NAME", "products", "vit", "mlp", "open_clip:NAME",
    "open_clip:NAME/WEIGHTS", "mel", "ast",
)  # fmt: skip
_TEXT = (
    "transformer", *_RECURRENT, "products", "package:NAME", "sentence:PATH", "open_clip:NAME", "open_clip:NAME/WEIGHTS",
)  # fmt: skip
HEARING = {"mel": MelTower, "ast": AstTower}  # towers of sounds
PRODUCTS = "products"  # of both sides, which are made for each other
_NAMED = ("timm", "package", "sentence", "open_clip")  # towers whose name goes on behind a colon
_BESIDE = re.compile(r"\+(?=(?:package|sentence):)")  # between towers that stand side by side
WITH_NEW_HEADS = ("package", "sentence")  # towers whose last layer is trained also where they are frozen


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """An encoder from scratch. A width, depth or patch of 0 is the tower's own.

    Raises BadRequest where a setting names nothing, or asks a tower for what it does not have.
    """

    image_size: int = setting(
        0, "pixels of the square that the encoder sees; 0 is the tower's own: 224 of package:NAME, 128 of products, "
        "mel and ast, 96 of others",
        multiple=16, least=0, group="What the encoder is",
    )  # fmt: skip
    resize: str = setting("squash", "how a picture becomes a square", choices=tuple(MODES))
    views: int = setting(
        1, "looks at a picture when it is encoded: 2 are a closer one too, 4 their mirror images, unless flip=no",
        choices=tuple(VIEWS),
    )  # fmt: skip
    dim: int = setting(256, "numbers in a vector", above=0)
    image_tower: str = setting("conv", "the side that sees", takes=", ".join(_IMAGE), group="The towers")
    image_width: int = setting(
        0, "channels of the CNN's first stage, of a patch (vit), of a layer (mlp)", multiple=16, least=0
    )
    image_layers: int = setting(0, "layers of vit and mlp", least=0)
    image_patch: int = setting(
        0, "conv: 4, or 2: a stem that looks closer (image_width a multiple of 32); vit: pixels",
        choices=(0, 2, 4, 8, 16),
    )  # fmt: skip
    image_channels: int = setting(3, "numbers in a pixel: 3 are RGB, 1 is gray, others come as arrays", above=0)
    image_activation: str = setting("auto", "auto is the tower's own", choices=("auto", *ACTIVATIONS))
    seconds: float = setting(
        0.0, "seconds of sound in a window that mel and ast hear, up to 30; 0 is their own: 5", least=0, most=30
    )
    pretrained: str = setting("no", "timm's weights", takes="yes, no, or a local file")
    text_tower: str = setting(
        "transformer", "the side that reads; pretrained ones side by side with a + between them", takes=", ".join(_TEXT)
    )
    text_width: int = setting(256, "numbers in a word", multiple=64, above=0)
    text_layers: int = setting(2, "a transformer of 0 layers knows words and not their order", least=0)
    text_activation: str = setting("auto", "auto is the tower's own", choices=("auto", *ACTIVATIONS))
    bidirectional: bool = setting(True, "lstm, gru and rnn read from both ends")
    pooling: str = setting("mean", "of the words to a vector", choices=tuple(POOLINGS))
    projection: str = setting("linear", "the towers' last layers; mlp has the activations", choices=tuple(PROJECTIONS))
    vocabulary: int = setting(8192, "tokens, learned from the captions; bytes alone take 257", least=300)
    context: int = setting(64, "tokens of the longest caption", above=0)
    dropout: float = setting(0.0, "of whole features: the towers' last ones, and the words' own", least=0, below=1)
    frame_pooling: str = setting(
        "mean", "frames of a clip to a vector; transformer alone knows their order", choices=tuple(FRAME_POOLINGS)
    )

    def __post_init__(self) -> None:
        check(self)
        _check_towers(self)


def split(tower: str) -> tuple[str, str]:
    """ "timm:resnet18" as ("timm", "resnet18"); the second is empty for a tower of ours."""
    kind, _, name = SHORT_NAMES.get(tower, tower).partition(":")
    return kind, name


def image_spec(config: EncoderConfig) -> dict[str, Any]:
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
    if kind in HEARING:
        spec |= {"seconds": config.seconds} if config.seconds else {}
        return spec | width | (layers if kind == "ast" else {"size": size_of(config)})
    if kind == PRODUCTS:
        return spec | {"size": size_of(config), "pretrained": "yes"}
    if kind == "timm":
        return spec | {"name": name, "size": size_of(config), "pretrained": config.pretrained}
    if kind == "package":
        name = packaged.short_name(name, packaged.IMAGES)
        return spec | {"name": name, "size": size_of(config), "pretrained": "yes"}
    return spec | {"size": size_of(config)} | _open_clip(name)


def size_of(config: EncoderConfig) -> int:
    """Pixels of the square that the encoder sees."""
    kind, name = split(config.image_tower)
    tower: type[ImageTower] = PlacesTower if kind == PRODUCTS else HEARING.get(kind, ImageTower)
    if kind == "package":
        tower = packaged.IMAGES[packaged.short_name(name, packaged.IMAGES)]
    return config.image_size or tower.own_size


def text_spec(config: EncoderConfig) -> dict[str, Any]:
    """What towers.build needs for the text tower, but for the size of the vocabulary."""
    kind, name = split(config.text_tower)
    spec = {"type": kind, "dropout": config.dropout, **_shared(config.text_activation, config.projection)}
    beside = [split(part) for part in parts_of(config.text_tower)]
    if len(beside) > 1:
        return spec | {"type": "beside", "parts": [{"type": kind, **_pretrained(kind, name)} for kind, name in beside]}
    if kind in _NAMED:
        return spec | _pretrained(kind, name)
    spec |= {"width": config.text_width, "context": config.context}
    if kind == PRODUCTS:
        return spec
    if kind in _RECURRENT:
        layers = {"layers": config.text_layers} if config.text_layers else {}
        return spec | layers | {"bidirectional": config.bidirectional, "pooling": config.pooling}
    spec |= {"layers": config.text_layers}
    return spec | {"pooling": config.pooling}


def parts_of(tower: str) -> list[str]:
    """ "package:use+package:minilm" as its parts; of one tower, that alone."""
    return _BESIDE.split(tower)


def frames_spec(config: EncoderConfig) -> dict[str, Any] | None:
    """What frames.build_frames needs; None where clips are the mean of their frames."""
    return {"type": config.frame_pooling} if config.frame_pooling != "mean" else None


def _shared(activation: str, projection: str) -> dict[str, Any]:
    named = {"activation": activation} if activation != "auto" else {}
    return named | ({"projection": projection} if projection != "linear" else {})


def _pretrained(kind: str, name: str) -> dict[str, Any]:
    """Where a text tower's weights come from."""
    if kind == "open_clip":
        return _open_clip(name)
    if kind == "package":
        return {"name": packaged.short_name(name, packaged.TEXTS), "pretrained": "yes"}
    return {"pretrained": name}


def _open_clip(name: str) -> dict[str, Any]:
    name, _, weights = name.partition("/")
    return {"name": name} | ({"weights": weights} if weights else {})


# ---------------------------------------------------------------- what does not fit


def _check_towers(config: EncoderConfig) -> None:
    """Raise BadRequest where a setting names no tower, or asks a tower for what it does not have."""
    image, text = split(config.image_tower)[0], split(config.text_tower)[0]
    _check_name("image_tower", config.image_tower, _IMAGE)
    beside = parts_of(config.text_tower)
    for part in beside:
        _check_name("text_tower", part, _TEXT)
        if len(beside) > 1 and split(part)[0] not in ("package", "sentence"):
            raise BadRequest(f"{part} cannot stand beside another: put a + between package:NAME and sentence:PATH only")
        if split(part)[0] == "package":
            packaged.short_name(split(part)[1], packaged.TEXTS)
    if image == "package":
        packaged.short_name(split(config.image_tower)[1], packaged.IMAGES)
    _check_hearing(config, image)
    if PRODUCTS in (image, text):
        _check_products(config, image, text)
    patches = (0, 2, 4) if image == "conv" else (0, 4, 8, 16)
    require(config.image_patch in patches, "image_patch", f"must be one of {', '.join(map(str, patches))}")
    linear = config.projection == "linear"
    if image in ("conv", "mel") and config.image_activation not in ("auto", *POINTWISE):
        raise BadRequest(
            "image_activation swiglu is for feed-forward layers, which a CNN has none of: use image_tower=vit or mlp, "
            "or another activation"
        )
    own = "which has its own: add --set projection=mlp, or leave it out"
    if image in _NAMED and linear and config.image_activation != "auto":
        raise BadRequest(f"image_activation is not asked of {config.image_tower}, {own}")
    plain_relu = text == "rnn" and config.text_activation == "relu"
    if text in (*_RECURRENT, *_NAMED) and linear and config.text_activation != "auto" and not plain_relu:
        raise BadRequest(f"text_activation is not asked of {config.text_tower}, {own}")
    if text in _NAMED and config.pooling != "mean":
        theirs = "open_clip" if text == "open_clip" else config.text_tower
        raise BadRequest(f"pooling is {theirs}'s own: leave it out")
    if image != "timm" and config.pretrained != "no":
        raise BadRequest("pretrained is for timm's models: use image_tower=resnet50, or open_clip:NAME/WEIGHTS")


def _check_hearing(config: EncoderConfig, image: str) -> None:
    """Sounds are not looked at twice, and have no colors."""
    if image not in HEARING:
        require(not config.seconds, "seconds", "belongs to image_tower=mel and ast, which hear")
        return
    require(config.views == 1, "views", f"must be 1 with {image}, which hears")
    require(config.image_channels == 3, "image_channels", f"is not asked of {image}: leave it out")
    require(config.image_size <= 1024, "image_size", f"must be at most 1024 with {image}")


def _check_products(config: EncoderConfig, image: str, text: str) -> None:
    require(image == text, "text_tower" if image == PRODUCTS else "image_tower", "must be products beside products")
    require(config.dim >= LEAST_DIM, "dim", f"must be at least {LEAST_DIM} with products")
    require(config.image_channels == 3, "image_channels", "must be 3 with products")
    usual = {"projection": "linear", "pooling": "mean", "image_activation": "auto", "text_activation": "auto"}
    for field, value in usual.items():
        require(getattr(config, field) == value, field, "is not asked of products: leave it out")


def _check_name(field: str, tower: str, known: tuple[str, ...]) -> None:
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
