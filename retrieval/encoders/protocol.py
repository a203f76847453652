"""What an encoder and a tokenizer are to everyone else. DualEncoder and QueryEncoder are two of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from retrieval.datatypes import Picture
from retrieval.encoders.preprocess import Preprocess


class Tokenizer(Protocol):
    """Texts to the numbers that a text tower reads."""

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, length), padded."""
        ...


@runtime_checkable
class SavedTokenizer(Tokenizer, Protocol):
    """A Tokenizer that can be written down for queries (tokenizers/saved.py)."""

    @property
    def kind(self) -> str | None:
        """The name in saved.LOADERS of what reads it again; None for one that cannot be saved."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write it into a folder.

        Args:
            folder: Where its files go, a folder that is there.

        Returns:
            What must be known beside its files to load it, as JSON can hold it.
        """
        ...


@runtime_checkable
class KeptTokenizer(SavedTokenizer, Protocol):
    """A SavedTokenizer that a run folder holds, as it can be had from nowhere else."""

    def content(self) -> bytes:
        """What decides its tokens: the same bytes for the same tokenizer, wherever it was made."""
        ...

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without padding."""
        ...


class Sees(Protocol):
    """What bulk encoding (encoding.py) asks of an encoder: pictures to vectors."""

    @property
    def preprocess(self) -> Preprocess:
        """A picture to the square that its image tower sees, uint8 (size, size, channels)."""
        ...

    @property
    def lanes(self) -> int:
        """How many threads may encode pictures beside each other."""
        ...

    @property
    def bulk(self) -> int:
        """How many pictures are best encoded together."""
        ...

    @property
    def numbers(self) -> str:
        """What its pictures are computed in now: "float32", "bfloat16" or "int8"."""
        ...

    def encode_images(self, images: Sequence[Picture]) -> np.ndarray:
        """Encode pictures.

        Args:
            images: RGB pictures, or uint8 arrays (size, size, channels) that `preprocess` made of them.

        Returns:
            float32 (n, dim), every row of unit length.
        """
        ...

    def pool_frames(self, vectors: np.ndarray) -> np.ndarray:
        """Make one vector of the frames of each clip.

        Args:
            vectors: Their unit rows, float32 (b, frames, dim), in the order of their time.

        Returns:
            float32 (b, dim), every row of unit length.
        """
        ...


class Encoder(Sees, Protocol):
    """Pictures and texts to unit rows of one space.

    The vectors of two encoders can be compared where their `fingerprint` is the same.
    """

    name: str
    """By which `load_encoder` finds it; "" for one that has no name yet."""

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell it from every encoder whose vectors are others."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts; what is longer than the tokenizer's context is cut.

        Args:
            texts: Words, a caption or a query each.

        Returns:
            float32 (n, dim), every row of unit length.
        """
        ...


@runtime_checkable
class EncodesParts(Protocol):
    """Pictures and texts in parts, for heads that look inside them. Not every encoder can."""

    @property
    def sequences(self) -> tuple[str, ...]:
        """Which of them it can give: "words", "patches"."""
        ...

    def encode_words(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode the words of texts one by one.

        Args:
            texts: As for `encode_texts`.

        Returns:
            Their vectors, float32 (n, l, width), and which of them are there, bool (n, l).
        """
        ...

    def encode_patches(self, images: Sequence[Picture]) -> np.ndarray:
        """Encode the places of pictures one by one.

        Args:
            images: As for `encode_images`.

        Returns:
            Their vectors, float32 (n, places, channels), row by row of each picture.
        """
        ...


@runtime_checkable
class EncodesPlaces(Protocol):
    """Places of pictures as vectors of the space that pictures and texts lie in. Not every encoder can."""

    def encode_places(self, images: Sequence[Picture]) -> np.ndarray:
        """Encode what is at each place of pictures.

        Args:
            images: As for `encode_images`.

        Returns:
            float32 (n, rows, columns, dim): a grid over the square that `preprocess` makes of each, the upper left
            first. Vectors are of unit length, or of any where they say how much of a picture's vector a place is.

        Raises:
            BadRequest: The image tower pools without places.
        """
        ...
