"""The vocabulary, on one page: Item, Pair, Hit, Features.

`Vectors` are plain arrays: float32 (n, d), C-contiguous, every row of unit length.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

Picture: TypeAlias = "Image.Image | np.ndarray"  # RGB, or a uint8 array (h, w, c) of other channels


@dataclass(frozen=True, slots=True)
class Item:
    """A thing that can be found: a picture, or a clip of moving ones.

    id: stable name, unique in its source. uri: where it is, relative to the source's root. content: a file, or a
    function that gives the encoded bytes or the picture itself, which may be a uint8 array (h, w, c) where it has other
    channels than a file could hold. caption: one text for people to read. stamp: changes
    when the content does. meta: whatever else the source said of it; `inside` where it lies within another file
    (sources/reopen.py). kind: "picture", or "clip" (images/clips.py).
    """

    id: str
    uri: str
    content: "Path | Callable[[], Path | bytes | Picture]"
    caption: str | None = None
    stamp: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    kind: str = "picture"


@dataclass(frozen=True, slots=True)
class Pair:
    """A training example. Several pairs may share an item: its captions are never each other's negatives.

    weight: how often its picture is drawn beside others.
    """

    item: Item
    caption: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer. rank: from 1. score: cosine, higher is better. path: the file on this machine, if it is one.

    confidence: where it was asked for, the share of other queries that have no picture this near
    (search/confidence.py).
    """

    rank: int
    score: float
    uri: str
    path: str | None
    caption: str | None
    id: str
    meta: dict[str, Any] = field(default_factory=dict)
    confidence: float | None = None


class Features(NamedTuple):
    """What the two towers say of a batch, in training: unit rows on the device, with gradient.

    image (b, d), text (b, d), logit_scale () already exponentiated, bias () or None.
    """

    image: "Tensor | None"
    text: "Tensor | None"
    logit_scale: "Tensor"
    bias: "Tensor | None" = None
