"""New encoders from specs or settings: towers, tokenizer and preprocess, with random or pretrained weights."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from indexes.typed import Malformed
from retrieval import packages, towers
from retrieval.encoders.config import EncoderConfig, frames_spec, image_spec, size_of, text_spec
from retrieval.encoders.encoder import DualEncoder, EncoderSpec
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.protocol import Tokenizer
from retrieval.encoders.tokenizers.captions import CaptionTokenizer
from retrieval.encoders.tokenizers.of_tower import require_fit, tokenizer_for
from retrieval.errors import MissingModel
from retrieval.towers.frames import build_frames
from retrieval.towers.tower import FramePool, ImageTower, Spec, TextTower

LOGIT_SCALE = 1 / 0.07  # CLIP's at the start


def new_encoder(
    config: EncoderConfig, captions: Sequence[str], *, logit_scale: float = LOGIT_SCALE,
    logit_bias: float | None = None, views: int | None = None,
) -> DualEncoder:  # fmt: skip
    """The untrained encoder that a configuration asks for.

    Args:
        config: Its towers, sizes and tokenizer; a TrainConfig is one.
        captions: What the tokenizer is learned from, unless the text tower is pretrained.
        logit_scale: The learned multiplier of the cosines at the start.
        logit_bias: What is added to them at the start; None for an encoder that has no bias.
        views: How often a picture is looked at, where that is not `config.views`.

    Returns:
        The encoder, on the CPU; its `name` is empty.

    Raises:
        BadRequest: A tower of timm or open_clip has no such name.
        MissingModel: Its weights are neither here nor to be had.
    """
    return small_encoder(
        captions, dim=config.dim, image_size=size_of(config), resize=config.resize, image=image_spec(config),
        text=text_spec(config), frames=frames_spec(config), vocabulary=config.vocabulary, context=config.context,
        logit_scale=logit_scale, logit_bias=logit_bias, views=config.views if views is None else views,
    )  # fmt: skip


def small_encoder(
    captions: Sequence[str], *, dim: int = 256, image_size: int = 96, image: Spec | None = None,
    text: Spec | None = None, vocabulary: int = 8192, context: int = 64, resize: str = "squash",
    logit_scale: float = LOGIT_SCALE, logit_bias: float | None = None, frames: Spec | None = None, views: int = 1,
) -> DualEncoder:  # fmt: skip
    """An untrained encoder: by itself a CNN, a transformer, and a tokenizer learned from the captions.

    Random weights come from torch's generator: seed it for the same ones again.

    Args:
        captions: What the tokenizer is learned from.
        dim: Numbers in a vector.
        image_size: Pixels of the square that the encoder sees.
        image: The spec of the image tower beyond the CNN's, as in {"type": "vit", "layers": 4}; all of them are
            in docs/reference/towers.md.
        text: The same of the text tower.
        vocabulary: Tokens that are learned at most.
        context: Tokens of the longest text.
        resize: How a picture becomes a square: "squash", "shortest" or "longest" (preprocess.py).
        logit_scale: The learned multiplier of the cosines at the start.
        logit_bias: What is added to them at the start; None for an encoder that has no bias.
        frames: The spec of a learned pooling of clips, as in {"type": "attention"}; None for the mean.
        views: How often a picture is looked at: 1, 2 or 4 (views.py).

    Returns:
        The encoder, on the CPU; its `name` is empty.

    Raises:
        BadRequest: A tower of timm or open_clip has no such name.
        MissingModel: Its weights are neither here nor to be had.

    Examples:
        >>> encoder = small_encoder(["a red dog", "two cats"], dim=64, image={"width": 16})
        >>> encoder.encode_texts(["a dog"]).shape
        (1, 64)
    """
    image, text = {"type": "conv", **(image or {})}, {"type": "transformer", **(text or {})}
    tokenizer = tokenizer_for(text)
    if tokenizer is None:
        learned = tokenizer = CaptionTokenizer.learn(captions, vocabulary, context)
        text |= {"vocabulary": len(learned), "context": context}
    sides: EncoderSpec = {"image": image, "text": text}
    if frames:
        sides["frames"] = frames
    built = _built(sides, dim)
    try:
        require_fit(built.text, tokenizer)
    except Malformed as error:
        raise MissingModel(f"{error}: they are not of one encoder, give another with --set text_tower=") from error
    preprocess = _preprocess_for(built.image, image_size, resize, image.get("channels", 3))
    encoder = _assembled(built, dim, dataclasses.replace(preprocess, views=views), tokenizer)
    encoder.languages = _languages_of(text)
    with torch.no_grad():
        encoder.log_logit_scale.fill_(math.log(logit_scale))
    if logit_bias is not None:
        encoder.logit_bias = nn.Parameter(torch.tensor(logit_bias))
    return encoder


def _languages_of(text: Spec) -> tuple[str, ...]:
    """What a text tower reads, where a package says it."""
    if text["type"] == "beside":
        each = [_languages_of(part) for part in text["parts"]]
        return tuple(dict.fromkeys(language for part in each for language in part)) if all(each) else ()
    name = "use" if text["type"] == "builtin" else text["name"] if text["type"] == "package" else ""
    package = packages.named(name)
    return package.languages if package else ()


def from_spec(spec: EncoderSpec, dim: int, preprocess: Preprocess, tokenizer: Tokenizer) -> DualEncoder:
    """An encoder from the specs of its sides, {"image": ..., "text": ..., "frames": ...}, as its manifest has them."""
    return _assembled(_built(spec, dim), dim, preprocess, tokenizer)


class _Parts(NamedTuple):
    """The modules of an encoder. frames: None where clips are the mean of their frames."""

    image: ImageTower
    text: TextTower
    frames: FramePool | None


def _built(spec: EncoderSpec, dim: int) -> _Parts:
    image = towers.build(towers.IMAGE_TOWERS, dim, spec["image"])
    text = towers.build(towers.TEXT_TOWERS, dim, spec["text"])
    return _Parts(image, text, build_frames(dim, spec["frames"]) if "frames" in spec else None)


def _assembled(parts: _Parts, dim: int, preprocess: Preprocess, tokenizer: Tokenizer) -> DualEncoder:
    sides: EncoderSpec = {"image": parts.image.spec, "text": parts.text.spec}
    return DualEncoder(parts.image, parts.text, preprocess, tokenizer, dim, sides, frame_pool=parts.frames)


def _preprocess_for(tower: ImageTower, size: int, resize: str, channels: int) -> Preprocess:
    """As the tower was pretrained, where it was; else with CLIP's colors, or mid-gray for other channels."""
    if tower.seconds and tower.mean and tower.std:
        return Preprocess(size, mean=tower.mean, std=tower.std, seconds=tower.seconds)
    if tower.mean and tower.std:
        return Preprocess(size, resize, mean=tower.mean, std=tower.std)
    if channels == 3:
        return Preprocess(size, resize)
    return Preprocess(size, resize, mean=(0.5,) * channels, std=(0.25,) * channels)
