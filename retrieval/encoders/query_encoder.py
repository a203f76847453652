"""QueryEncoder: the towers as ONNX with their tokenizer, so that a cold query imports no torch and no open_clip.

The text tower is exported once for each encoder, at index time, into the user's cache under the encoder's fingerprint;
the picture tower with the first picture that asks (onnx_export.py writes both), or with the text tower for an encoder
that indexes without torch too (bulk.py). What is there may be deleted at any time: a query then loads the encoder
itself. A picture tower is compared with its seal before it is opened, a text tower at index time. Weights lie beside
the graph, where they are mapped, not read: a query touches a few rows of the token table only.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from indexes import cpu, forks
from indexes.typed import Malformed
from retrieval import cache
from retrieval.cache import MANIFEST
from retrieval.callbacks import OnMessage, no_message
from retrieval.datatypes import Picture
from retrieval.encoders import manifest, onnx_export, sealed
from retrieval.encoders.onnx_export import FRAMES, IMAGE, TEXT
from retrieval.encoders.onnx_session import FLOAT, Session
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.protocol import Encoder
from retrieval.encoders.tokenizers import saved
from retrieval.sources.captions import whole

if TYPE_CHECKING:
    from retrieval.encoders.encoder import DualEncoder

IMAGES_AT_ONCE, TEXTS_AT_ONCE = 16, 128
LANE = 8  # looks that a lane takes at pictures: as fast each as 32, in less memory, and the lanes end together


class Tower(Protocol):
    """A picture tower as ONNX. numbers: what it computes in now."""

    @property
    def numbers(self) -> str:
        """As of `Sees`."""
        ...

    def __call__(self, *, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, s, s, c) to float32 (n, d) of unit length."""
        ...


class QueryEncoder:
    """An encoder for queries, which runs in ONNX Runtime: torch is not imported.

    Get one from `open_query_encoder`. It gives the vectors of the DualEncoder that it was exported from, up to float32
    rounding; the image tower is exported when the first picture is encoded.

    Args:
        folder: What onnx_export.export wrote.
        load: Gives the whole encoder, for what is not exported yet or cannot be.
        bulk: The picture tower is opened for many pictures, with a lane a core.
        tower: The picture tower, where it is another than what was exported for queries.
        steady: It is asked for hours, by a server: what takes a moment to make ready pays.

    Attributes:
        name: By which `load_encoder` finds the encoder.
        dim: Numbers in a vector.
        fingerprint: That of the encoder it was exported from.
        preprocess: A picture to uint8 (size, size, channels).
        tokenize: Texts to int64 (n, length).
        folder: Where its files lie.
        languages, extends: As those of a DualEncoder.
        lanes: How many threads may encode pictures beside each other.
        bulk: Pictures that are best encoded together.
    """

    def __init__(
        self, folder: Path, load: Callable[[], "DualEncoder"], bulk: bool = False, tower: Tower | None = None,
        steady: bool = False,
    ) -> None:  # fmt: skip
        said = manifest.of_export(folder / MANIFEST)
        self.name, self.dim, self.fingerprint, self.preprocess = said.name, said.dim, said.fingerprint, said.preprocess
        self.languages, self.extends = said.languages, said.extends
        self.tokenize = saved.load(folder, said.tokenizer)
        self._trim, self.folder, self._load = said.trim, folder, load
        self._for_bulk, self.lanes = bulk, cpu.cores() if bulk else 1
        self.bulk = (LANE if self.lanes > 1 else 32) // self.preprocess.views
        self._text = Session(folder / TEXT, once=not steady, steady=steady)
        self._image: Tower | None = tower
        self._making = forks.Lock()  # of what is made late: once for all threads
        self._encoder: DualEncoder | None = None

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts to float32 (n, dim), every row of unit length."""
        texts = [whole(text) for text in texts]
        try:
            vectors = self._texts(texts)
        # A cache that is damaged must never stop a query: ONNX Runtime, SQLite and the tokenizers raise their own.
        except Exception:
            return self._whole().encode_texts(texts)
        return vectors if _are_unit(vectors, (len(texts), self.dim)) else self._whole().encode_texts(texts)

    def _texts(self, texts: Sequence[str]) -> np.ndarray:
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            tokens = self.tokenize(texts[start : start + TEXTS_AT_ONCE])
            if self._trim:  # what follows a text's end decides nothing, and is most of the work
                tokens = tokens[:, : max(1, int(np.count_nonzero(tokens, axis=1).max(initial=1)))]
            parts.append(self._text(tokens=tokens))
        return parts[1] if len(parts) == 2 else np.concatenate(parts)

    def encode_images(self, images: Sequence[Picture]) -> np.ndarray:
        """Encode RGB pictures, or arrays that `preprocess` made of them, to float32 (n, dim) of unit length."""
        tower = None if self._are_heard(images) else self._image_tower()
        if tower is None:
            return self._whole().encode_images(images)
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(images), IMAGES_AT_ONCE):
            part = images[start : start + IMAGES_AT_ONCE]
            pixels = np.stack([i if isinstance(i, np.ndarray) else self.preprocess(i) for i in part])
            parts.append(tower(pixels=pixels))
        return np.concatenate(parts)

    def encode_places(self, images: Sequence[Picture]) -> np.ndarray:
        """What is at each place of pictures, as of `EncodesPlaces`: the encoder itself is loaded and asked."""
        return self._whole().encode_places(images)

    def _are_heard(self, images: Sequence[Picture]) -> bool:
        """Are there sounds among them, of an encoder that sees pictures too? Its ears are not exported."""
        return self.preprocess.ears > 0 and any(isinstance(one, np.ndarray) and one.shape[2] == 1 for one in images)

    def pool_frames(self, vectors: np.ndarray) -> np.ndarray:
        """The frames of clips, unit rows (b, frames, dim) in the order of their time, to float32 (b, dim)."""
        if self._image_tower() is None:
            return self._whole().pool_frames(vectors)
        if not (self.folder / FRAMES).is_file():
            means = vectors.mean(1)
            return means / np.linalg.norm(means, axis=1, keepdims=True)
        return Session(self.folder / FRAMES)(frames=vectors)

    @property
    def numbers(self) -> str:
        """What its pictures are computed in now: "float32" or "int8"."""
        return self._image.numbers if self._image else FLOAT

    def opens_pictures(self) -> bool:
        """Can the picture tower be had as ONNX? It is opened now, and exported first where it is not there."""
        return self._image_tower() is not None

    def _image_tower(self) -> Tower | None:
        """The picture tower, exported first where it is not there; None where it cannot be had as ONNX."""
        with self._making:
            if self._image is None:
                try:
                    if not sealed.is_whole(self.folder / IMAGE):
                        onnx_export.export_image_tower(self._whole(), self.folder)
                    self._image = Session(self.folder / IMAGE, bulk=self._for_bulk)
                # A cache that is damaged or cannot be written must never stop a query.
                except Exception:
                    return None
            return self._image

    def _whole(self) -> "DualEncoder":
        """The encoder itself, loaded once."""
        with self._making:
            if self._encoder is None:
                self._encoder = self._load()
            return self._encoder


def _are_unit(vectors: np.ndarray, shape: tuple[int, int]) -> bool:
    return vectors.shape == shape and bool(np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3))


def preprocess_of(name: str) -> Preprocess | None:
    """How an encoder of that name prepares pictures, as far as it is known without loading it."""
    with contextlib.suppress(OSError, Malformed):  # no run, or a damaged one
        return manifest.of_run(Path(name) / manifest.RUN).preprocess
    for file in sorted(cache.folder(cache.QUERY).glob(f"*/{MANIFEST}")):
        with contextlib.suppress(OSError, Malformed):
            if (said := manifest.of_export(file)).name == name:
                return said.preprocess
    return None


def open_query_encoder(
    fingerprint: str, load: Callable[[], "DualEncoder"], steady: bool = False
) -> QueryEncoder | None:  # fmt: skip
    """The exported encoder of that fingerprint, or None where there is none, or it cannot be used.

    steady: as QueryEncoder takes it.
    """
    folder = cache.folder(cache.QUERY) / fingerprint
    if not is_exported(fingerprint):
        return None
    with contextlib.suppress(OSError):  # of another user, say
        os.utime(folder / MANIFEST)  # when it was last used
    try:
        return QueryEncoder(folder, load, steady=steady)
    # A damaged cache must never stop a query: onnxruntime, JSON and the tokenizers each raise their own.
    except Exception:
        return None


def open_for_bulk(
    fingerprint: str, name: str, load: Callable[[], "DualEncoder"], tower: Callable[[Path], Tower | None]
) -> QueryEncoder | None:
    """The exported encoder for many pictures; None unless its towers are in the cache as they were written.

    name: by which it was asked for. tower: gives the picture tower of its folder, None where that is damaged.
    """
    folder = cache.folder(cache.QUERY) / fingerprint
    if not sealed.is_whole(folder / TEXT):
        return None
    with contextlib.suppress(OSError):
        os.utime(folder / MANIFEST)  # when it was last used
    try:
        opened = tower(folder)
        if opened is None:
            return None
        encoder = QueryEncoder(folder, load, bulk=True, tower=opened)
    # As above: of a library that is older than what wrote it, say.
    except Exception:
        return None
    encoder.name = name
    return encoder if encoder.fingerprint == fingerprint else None


def is_exported(fingerprint: str) -> bool:
    """Is the text tower of the encoder of that fingerprint in the cache?"""
    try:
        return (cache.folder(cache.QUERY) / fingerprint / MANIFEST).is_file()
    except OSError:  # the cache is another user's
        return False


def ensure_exported(encoder: Encoder, on_message: OnMessage = no_message) -> Path | None:
    """Have the text tower in the cache, for queries without torch; its folder.

    None for an encoder that is no DualEncoder, or whose tokenizer cannot be saved. None also where the cache cannot be
    written, of which on_message is told: a query then loads the encoder itself.
    """
    if isinstance(encoder, QueryEncoder):
        return encoder.folder
    from retrieval.encoders.encoder import DualEncoder

    if not isinstance(encoder, DualEncoder) or not saved.can_save(encoder.tokenize):
        return None
    folder = cache.folder(cache.QUERY) / encoder.fingerprint
    if sealed.is_whole(folder / TEXT) and open_query_encoder(encoder.fingerprint, lambda: encoder):
        return folder
    try:
        return onnx_export.export(encoder)
    except OSError as error:
        place, reason = cache.folder(), error.strerror or error
        on_message(f"the cache {place} cannot be written ({reason}): queries load the whole encoder, which is slower")
        return None
