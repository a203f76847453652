"""What a tower is to everyone else: ImageTower, TextTower, and FramePool behind the first."""

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.each_place import along

Spec = dict[str, Any]  # what something is built from again: {"type": a name, ...arguments}, as a manifest holds it


class Tower(nn.Module):
    """One side of an encoder: a batch to (b, dim) in float32, not yet of unit length.

    spec: what `towers.build` makes it from again. has_features: `features` and `head` are there, and the tower is the
    one after the other, so that heads can be trained on features that were kept; width: numbers in them. new_parts:
    names of what is random where the rest is pretrained: it is trained also where the tower is frozen. still_parts:
    names of what is never trained.
    """

    spec: Spec
    has_features: bool = False
    width: int = 0
    new_parts: tuple[str, ...] = ()
    still_parts: tuple[str, ...] = ()

    if TYPE_CHECKING:  # nn.Module finds a tower's modules itself, and its call takes anything

        @property
        def body(self) -> nn.Module:
            """What may run in bfloat16."""

        def __call__(self, inputs: Tensor) -> Tensor:
            """As `forward`."""

    def features(self, inputs: Tensor) -> Tensor:
        """What the body makes of a batch, float32 (b, width). inputs: as for `forward`."""
        raise NotImplementedError(f"{type(self).__name__} has no features before its head")

    def head(self, features: Tensor) -> Tensor:
        """The rest of the way: `features` (b, width) to (b, dim)."""
        raise NotImplementedError(f"{type(self).__name__} has no head behind its features")

    def skip_unread(self) -> None:
        """Leave out what no answer reads, for encoding alone. Most towers have nothing of the kind."""


class ImageTower(Tower):
    """Pixels (b, c, s, s), normalized, to (b, dim).

    mean, std: how its pictures are to be normalized, a number a channel; None where it does not matter. has_patches:
    `patches` is there. own_size: pixels of a side, where nothing else is asked for. seconds: of the window of sound
    whose spectrogram it hears; 0 for a tower that sees pictures.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    has_patches: bool = False
    own_size: int = 96
    seconds: float = 0.0

    def patches(self, pixels: Tensor) -> Tensor:
        """pixels as for `forward`. What the body makes of each place, (b, places, channels), row by row."""
        raise NotImplementedError(f"{type(self).__name__} gives no patches")

    def places(self, pixels: Tensor) -> Tensor:
        """What is at each place, as vectors of the space that pictures lie in: (b, rows, columns, dim).

        pixels: as for `forward`. They are of unit length where a place is seen as a picture of itself would be, of
        any where they say how much it matters. Raises NotImplementedError where the tower pools without places.
        """
        return F.normalize(along(self.head, self.place_features(pixels)), dim=-1)

    def place_features(self, pixels: Tensor) -> Tensor:
        """`features` of each place, as if it were all of the picture, (b, rows, columns, width). pixels: as there."""
        raise NotImplementedError(f"{type(self).__name__} gives no places")


class TextTower(Tower):
    """Tokens (b, l) to (b, dim). has_words: `word_vectors` is there. vocabulary: tokens it knows; None: not said."""

    has_words: bool = False
    vocabulary: int | None = None

    def word_vectors(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens as for `forward`. Each word before it has seen the others, (b, l, width), and which are words."""
        raise NotImplementedError(f"{type(self).__name__} gives no words")


class FramePool(nn.Module):
    """The unit vectors of a clip's frames (b, f, dim), in the order of their time, to one (b, dim).

    spec: what `frames.build_frames` makes it from again.
    """

    spec: Spec

    if TYPE_CHECKING:

        def __call__(self, frames: Tensor) -> Tensor:
            """As `forward`."""
