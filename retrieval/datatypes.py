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

    from retrieval.sources.within import Within

Picture: TypeAlias = "Image.Image | np.ndarray"  # RGB, or a uint8 array (h, w, c) of other channels


@dataclass(frozen=True, slots=True)
class Item:
    """A thing that can be found: a picture, a clip of moving ones, or a sound.

    Attributes:
        id: Its stable name, unique in its source.
        uri: Where it is, relative to the source's root.
        content: Its file; or a function that gives the file, its bytes, or the picture itself, which may be a uint8
            array (h, w, c) where it has other channels than a picture file could hold.
        captions: All texts that its source says of it, in their order.
        stamp: A text that changes when the content does; "" where that is not known.
        meta: Whatever else the source says of it: columns under any names.
        kind: "picture", "clip" (images/clips.py) or "sound" (sounds/).
        within: Where it lies in another file or on the web; None for a file of its own.
        file_fields: What its file says of itself (images/exif.py); empty until it was opened.
    """

    id: str
    uri: str
    content: "Path | Callable[[], Path | bytes | Picture]"
    captions: tuple[str, ...] = ()
    stamp: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    kind: str = "picture"
    within: "Within | None" = None
    file_fields: dict[str, Any] = field(default_factory=dict)

    @property
    def caption(self) -> str | None:
        """Its first caption; None where it has none."""
        return self.captions[0] if self.captions else None


@dataclass(frozen=True, slots=True)
class Pair:
    """A training example: a picture and one of its captions.

    Attributes:
        item: The picture. Several pairs may share it: its captions are never each other's negatives.
        caption: What is said of it.
        weight: How often its picture is drawn, where those of others are drawn once.
        meta: What its own row says beside the caption, under any names: those of a picture's captions may differ.
    """

    item: Item
    caption: str
    weight: float = 1.0
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class By:
    """Why something answers, where words were asked beside meaning or alone.

    Attributes:
        meaning: Its place among the nearest vectors, from 1; None where it is not among those that were looked at.
        words: Its place by words; None in the same way.
        matched: The words of the query that it has, neighbors together: ("golden retriever",).
    """

    meaning: int | None
    words: int | None
    matched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer of a search.

    Attributes:
        rank: Its place, from 1.
        score: The cosine with the query, higher is better; of an answer by words alone its BM25.
        uri: Where it is, relative to the root of its index.
        path: The absolute path of its file on this machine; None where it is no file.
        captions: Its texts; of a search for captions the one that was found comes first.
        id: The stable name of the item.
        meta: What else the index knows of it: what its source says, its file, and heads.
        confidence: The share of other queries that have no picture this near; None where it was not asked for
            (search/confidence.py).
        kind: "picture", "clip" or "sound".
        within: Where it lies in another file or on the web; None for a file of its own.
        key: What tells its content from others; None where that is not known.
        by: Why it answers, where words were asked too; hits are in the order of both then.
    """

    rank: int
    score: float
    uri: str
    path: str | None
    captions: tuple[str, ...]
    id: str
    meta: dict[str, Any] = field(default_factory=dict)
    confidence: float | None = None
    kind: str = "picture"
    within: "Within | None" = None
    key: str | None = None
    by: By | None = None

    @property
    def caption(self) -> str | None:
        """Its first text; None where it has none."""
        return self.captions[0] if self.captions else None


class Features(NamedTuple):
    """What the two towers make of a batch: tensors on the device, with gradient in training.

    Attributes:
        image: Unit rows (b, d); None where no images were given.
        text: Unit rows (b, d); None where no tokens were given.
        logit_scale: The learned multiplier of the cosines, a scalar, already exponentiated.
        bias: What is added to them, a scalar; None for encoders without one.
    """

    image: "Tensor | None"
    text: "Tensor | None"
    logit_scale: "Tensor"
    bias: "Tensor | None" = None
