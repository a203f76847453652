"""New encoders from specs: towers, tokenizer and preprocess, with random or pretrained weights."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from retrieval import towers
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.tokenizers import open_clip
from retrieval.encoders.tokenizers.captions import CaptionTokenizer
from retrieval.towers.frames import build_frames


def small_encoder(
    captions: Sequence[str], *, dim: int = 256, image_size: int = 96, image: dict | None = None,
    text: dict | None = None, vocabulary: int = 8192, context: int = 64, resize: str = "squash",
    logit_scale: float = 1 / 0.07, logit_bias: float | None = None, frames: dict | None = None, views: int = 1,
) -> DualEncoder:  # fmt: skip
    """An untrained encoder: by itself a CNN, a transformer, and a tokenizer learned from `captions`.

    image, text: specs of the towers beyond that, {"type": "vit", "layers": 4} say; frames: of the pooling of clips
    (retrieval/towers); views: how often a picture is looked at (views.py). Random weights come from torch's generator.
    Raises BadRequest and MissingModel where a tower of timm or open_clip cannot be had.
    """
    spec = {"image": {"type": "conv", **(image or {})}, "text": {"type": "transformer", **(text or {})}}
    if spec["text"]["type"] == "open_clip":
        tokenizer = open_clip.OpenClipTokenizer.of_model(spec["text"]["name"])
    else:
        tokenizer = CaptionTokenizer.learn(captions, vocabulary, context)
        spec["text"] |= {"vocabulary": len(tokenizer), "context": context}
    encoder = from_spec(spec | ({"frames": frames} if frames else {}), dim, None, tokenizer)
    seen = _preprocess_for(encoder.image_tower, image_size, resize, spec["image"].get("channels", 3))
    encoder.preprocess = dataclasses.replace(seen, views=views)
    with torch.no_grad():
        encoder.log_logit_scale.fill_(math.log(logit_scale))
    if logit_bias is not None:
        encoder.logit_bias = nn.Parameter(torch.tensor(logit_bias))
    return encoder


def _preprocess_for(tower: nn.Module, size: int, resize: str, channels: int) -> Preprocess:
    """As the tower was pretrained, where it was; else with CLIP's colours, or mid-grey for other channels."""
    mean, std = getattr(tower, "mean", None), getattr(tower, "std", None)
    if mean:
        return Preprocess(size, resize, mean=mean, std=std)
    if channels == 3:
        return Preprocess(size, resize)
    return Preprocess(size, resize, mean=(0.5,) * channels, std=(0.25,) * channels)


def from_spec(spec: dict, dim: int, preprocess: Preprocess | None, tokenizer: Callable) -> DualEncoder:
    """An encoder from the specs of its sides, {"image": ..., "text": ..., "frames": ...}, as its manifest has them."""
    image = towers.build(towers.IMAGE_TOWERS, dim, spec["image"])
    text = towers.build(towers.TEXT_TOWERS, dim, spec["text"])
    pool = build_frames(dim, spec["frames"]) if "frames" in spec else None
    sides = {"image": image.spec, "text": text.spec}
    return DualEncoder(image, text, preprocess, tokenizer, dim, sides, frame_pool=pool)
