"""DualEncoder: two towers, their preprocess and their tokenizer in one object; how it is asked, saved and told apart.

A run folder holds config.json, encoder.safetensors, its tokenizer (tokenizer.json or tokenizer.db) and, written last,
encoder.json: without it the folder is no encoder. load.py reads it, build.py makes new ones.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, Self, TypedDict, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from indexes import durable
from retrieval import engine
from retrieval.datatypes import Features, Picture
from retrieval.encoders.manifest import RUN as MANIFEST
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.protocol import KeptTokenizer, Tokenizer
from retrieval.encoders.tokenizers import saved
from retrieval.encoders.views import encode_views
from retrieval.errors import BadRequest
from retrieval.sources.captions import whole
from retrieval.towers import frames
from retrieval.towers.ears import Ears
from retrieval.towers.tower import FramePool, ImageTower, Spec, TextTower

WEIGHTS = "encoder.safetensors"
FORMAT_VERSION = 2  # 1 where the tokenizer is learned from captions, or open_clip's: older versions read that
Input = TypeVar("Input")


class EncoderSpec(TypedDict):
    """What an encoder's sides are built from again (towers/tower.py).

    frames: where their pooling is learned. ears: of one that sees pictures and hears (towers/ears.py).
    """

    image: Spec
    text: Spec
    frames: NotRequired[Spec]
    ears: NotRequired[Spec]


class DualEncoder(nn.Module):
    """Two towers into one space of `dim` numbers, with everything that belongs to them.

    Get one from `load_encoder` or `small_encoder`. `encode_images` and `encode_texts` give unit rows as NumPy; calling
    it gives Features with gradient, for training.

    Attributes:
        image_tower: Pixels to vectors (towers/tower.py).
        text_tower: Tokens to vectors.
        preprocess: A picture to uint8 (size, size, channels).
        tokenize: Texts to int64 (n, length).
        dim: Numbers in a vector.
        spec: What the towers are built from again.
        name: By which `load_encoder` finds it; "" for one that was never saved.
        log_logit_scale: The logarithm of the learned multiplier of the cosines, a scalar parameter.
        logit_bias: What is added to them, a scalar parameter; None where the loss has none.
        frame_pool: Frames of a clip to one vector (towers/frames.py); None where that is their mean.
        ears: What one that sees pictures hears with (towers/ears.py); None for one that does one of both.
        extends: The fingerprint of the encoder without its ears, whose vectors of pictures and words these are; "".
        languages: Codes of those that are surely all it reads, as "de"; () where that is not known.

    Args:
        logit_scale: The multiplier of the cosines to begin with. The others are the attributes of their names.
    """

    def __init__(
        self, image_tower: ImageTower, text_tower: TextTower, preprocess: Preprocess, tokenize: Tokenizer, dim: int,
        spec: EncoderSpec, name: str = "", logit_scale: float = 1 / 0.07, logit_bias: float | None = None,
        frame_pool: FramePool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_tower, self.text_tower, self.frame_pool = image_tower, text_tower, frame_pool
        self.preprocess, self.tokenize = preprocess, tokenize
        self.dim, self.spec, self.name = dim, spec, name
        # On the CPU also where all else is on "meta": there a logarithm imports torch's compiler, which takes seconds.
        self.log_logit_scale = nn.Parameter(torch.tensor(float(logit_scale), device="cpu").log())
        self.logit_bias = nn.Parameter(torch.tensor(float(logit_bias))) if logit_bias is not None else None
        self.ears: Ears | None = None
        self.extends = ""
        self.languages: tuple[str, ...] = ()  # decides no vector
        self._fingerprint: str | None = None

    # ---------------------------------------------------------------- in training

    if TYPE_CHECKING:  # nn.Module's own call takes and gives anything

        def __call__(self, images: Tensor | None = None, tokens: Tensor | None = None) -> Features:
            """As `forward`."""

    def forward(self, images: Tensor | None = None, tokens: Tensor | None = None) -> Features:
        """Encode a batch, with gradient.

        Args:
            images: uint8 or float (b, s, s, c) in 0..255, as `preprocess` gives them; of clips (b, frames, s, s, c):
                each frame goes through the tower, and their vectors are pooled. Or what the tower's `features` gave
                of pictures, (b, width): its head alone is asked. None leaves the side out.
            tokens: Integers (b, l), as `tokenize` gives them; or features, floats (b, width). None leaves the side out.

        Returns:
            The unit vectors of each side, float32 (b, dim), None for one left out, with the scale and the bias.
        """
        image = text = None
        if images is not None and images.ndim == 2:
            image = F.normalize(self.image_tower.head(images), dim=-1)
        elif images is not None:
            pictures = images.flatten(0, 1) if images.ndim == 5 else images
            looks = 1 if self.training else self.preprocess.views
            image = encode_views(self.image_tower, self.preprocess.normalize(pictures), looks)
            if images.ndim == 5:
                image = self._pool(image.unflatten(0, images.shape[:2]))
        if tokens is not None:
            read = self.text_tower.head if tokens.is_floating_point() else self.text_tower
            text = F.normalize(read(tokens), dim=-1)
        return Features(image, text, self.log_logit_scale.exp(), self.logit_bias)

    def _pool(self, vectors: Tensor) -> Tensor:
        """Unit vectors of frames (b, frames, dim) to those of clips (b, dim)."""
        return self.frame_pool(vectors) if self.frame_pool else F.normalize(vectors.mean(1), dim=-1)

    # ---------------------------------------------------------------- for everyone else

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.log_logit_scale.device

    @property
    def lanes(self) -> int:
        """How many threads may encode pictures beside each other: one a core on a CPU, one on a GPU or in training."""
        return 1 if self.training or self.device.type != "cpu" else torch.get_num_threads()

    @property
    def bulk(self) -> int:
        """Pictures that are best encoded together."""
        return 32 if self.device.type == "cpu" else 256

    @property
    def numbers(self) -> str:
        """What its pictures are computed in: "float32", or "bfloat16" after `to_fast_precision`."""
        first = next(self.image_tower.body.parameters(), self.log_logit_scale)
        return str(first.dtype).removeprefix("torch.")

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Picture], batch_size: int = 128) -> np.ndarray:
        """Encode pictures.

        Args:
            images: RGB pictures, or arrays that `preprocess` made of them.
            batch_size: How many go through the tower at once: memory and speed, not the vectors.

        Returns:
            float32 (n, dim), every row of unit length, in the order of the pictures.

        Raises:
            ImageError: An array has other channels than the tower takes.
        """
        return self._in_batches(images, batch_size, self._encode_image_batch)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str], batch_size: int = 512) -> np.ndarray:
        """Encode texts; what is longer than the tokenizer's context is cut.

        Args:
            texts: In any language that the encoder has learned. Half characters are read as U+FFFD.
            batch_size: How many go through the tower at once: memory and speed, not the vectors.

        Returns:
            float32 (n, dim), every row of unit length, in the order of the texts.
        """
        return self._in_batches([whole(text) for text in texts], batch_size, self._encode_text_batch)

    def use_frames(self, spec: Spec | None) -> None:
        """Give clips another pooling, whose weights are new and to be trained.

        Args:
            spec: {"type": "attention"} or {"type": "transformer"} (towers/frames.py). None, or the type that it has
                already, changes nothing.
        """
        if spec and (self.frame_pool is None or self.frame_pool.spec["type"] != spec["type"]):
            self.frame_pool = frames.build_frames(self.dim, spec).to(self.device)

    @torch.inference_mode()
    def pool_frames(self, vectors: np.ndarray) -> np.ndarray:
        """Make one vector of the frames of each clip.

        Args:
            vectors: float32 (b, frames, dim), the frames' unit rows in the order of their time.

        Returns:
            float32 (b, dim), every row of unit length.
        """
        return self._pool(torch.from_numpy(vectors).to(self.device)).float().cpu().numpy()

    @property
    def sequences(self) -> tuple[str, ...]:
        """What the towers can give in parts: "words" where `encode_words` works, "patches" where `encode_patches`."""
        offered = {"words": self.text_tower.has_words, "patches": self.image_tower.has_patches}
        return tuple(name for name, there in offered.items() if there)

    @torch.inference_mode()
    def encode_words(self, texts: Sequence[str], batch_size: int = 512) -> tuple[np.ndarray, np.ndarray]:
        """Encode the words of texts one by one, before they have seen each other.

        Args:
            texts: As for `encode_texts`.
            batch_size: How many go through the tower at once.

        Returns:
            The vectors, float32 (n, l, width), and which of them are words and not padding, bool (n, l).

        Raises:
            NotImplementedError: `sequences` does not name "words".
        """
        tokens = torch.from_numpy(self.tokenize(texts)).to(self.device)
        parts = [self.text_tower.word_vectors(part) for part in tokens.split(batch_size)]
        vectors, seen = (torch.cat(column) for column in zip(*parts, strict=True))
        longest = max(1, int(seen.sum(1).max()))
        return vectors[:, :longest].float().cpu().numpy(), seen[:, :longest].cpu().numpy()

    @torch.inference_mode()
    def encode_patches(self, images: Sequence[Picture], batch_size: int = 128) -> np.ndarray:
        """Encode the places of pictures: what the image tower knows of each before it is pooled.

        Args:
            images: As for `encode_images`.
            batch_size: How many go through the tower at once.

        Returns:
            float32 (n, places, channels), the places row by row.

        Raises:
            NotImplementedError: `sequences` does not name "patches".
        """
        return self._in_batches(images, batch_size, self._encode_patch_batch)

    @torch.inference_mode()
    def encode_places(self, images: Sequence[Picture], batch_size: int = 32) -> np.ndarray:
        """Encode what is at each place of pictures, in the space of `encode_texts`.

        Args:
            images: As for `encode_images`.
            batch_size: How many go through the tower at once.

        Returns:
            float32 (n, rows, columns, dim): a grid over the square that `preprocess` makes of each, the upper left
            first. Vectors are of unit length, or of any where they say how much of a picture's vector a place is.

        Raises:
            BadRequest: The image tower pools without places.
        """
        try:
            return self._in_batches(images, batch_size, self._encode_place_batch)
        except NotImplementedError as error:
            raise BadRequest(
                f"{self.name or 'the encoder'} has no patches to look for words in ({error}): use another, as in "
                "--model builtin"
            ) from error

    def _pixels(self, images: Sequence[Picture]) -> Tensor:
        pixels = np.stack([i if isinstance(i, np.ndarray) else self.preprocess(i) for i in images])
        return torch.from_numpy(pixels).to(self.device)

    def use_ears(self, ears: Ears, hearing: Preprocess, extends: str) -> None:
        """Hear with these from now on, and no longer be the encoder that it was.

        Args:
            ears: Fitted to this encoder's space.
            hearing: How sounds become squares for them.
            extends: The attribute of that name.
        """
        self.ears = ears.requires_grad_(False).to(self.device).train(self.training)
        self.preprocess = replace(self.preprocess, seconds=hearing.seconds, ears=hearing.size)
        self.extends, self.name = extends, ""
        self.forget_fingerprint()

    def _encode_image_batch(self, images: Sequence[Picture]) -> Tensor:
        heard = [at for at, one in enumerate(images) if self.ears and isinstance(one, np.ndarray) and one.shape[2] == 1]
        if not heard:
            return self._seen(images)
        assert self.ears is not None, "it hears"
        rows = torch.empty(len(images), self.dim, device=self.device)
        rows[heard] = self.ears(self._pixels([images[at] for at in heard]))
        others = sorted(set(range(len(images))) - set(heard))
        if others:
            rows[others] = self._seen([images[at] for at in others]).float()
        return rows

    def _seen(self, images: Sequence[Picture]) -> Tensor:
        rows = self(images=self._pixels(images)).image
        assert rows is not None, "images were given"
        return rows

    def _encode_patch_batch(self, images: Sequence[Picture]) -> Tensor:
        return self.image_tower.patches(self.preprocess.normalize(self._pixels(images)))

    def _encode_place_batch(self, images: Sequence[Picture]) -> Tensor:
        return self.image_tower.places(self.preprocess.normalize(self._pixels(images))).float()

    def _encode_text_batch(self, texts: Sequence[str]) -> Tensor:
        rows = self(tokens=torch.from_numpy(self.tokenize(texts)).to(self.device)).text
        assert rows is not None, "tokens were given"
        return rows

    def _in_batches(
        self, inputs: Sequence[Input], size: int, encode: Callable[[Sequence[Input]], Tensor]
    ) -> np.ndarray:
        was_training = self.training
        self.eval()
        parts = [encode(inputs[i : i + size]).float().cpu().numpy() for i in range(0, len(inputs), size)]
        self.train(was_training)
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def to_fast_precision(self, precision: str = "auto") -> Self:
        """Make the image tower faster, in place, for encoding and no more training.

        Its body takes the fastest type that is right on this device (engine.resolve_precision), and what no answer
        reads is left out (towers/last_block.py). The text tower stays in float32: texts are few, and it is what a query
        is exported from.

        Args:
            precision: "auto", "fp32" or "bf16".

        Returns:
            The encoder itself.

        Raises:
            BadRequest: There is no such precision.
        """
        _ = self.fingerprint  # of the weights as they were loaded
        dtype = engine.resolve_precision(precision, self.device)
        self.image_tower.body.to(dtype).to(memory_format=torch.channels_last)  # as pictures lie in memory
        self.image_tower.skip_unread()
        return self

    # ---------------------------------------------------------------- identity

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of the weights, by name, and of all else that decides a vector.

        It is that of the weights as they were loaded: `to_fast_precision` keeps it.
        """
        if self._fingerprint is None:
            digest = hashlib.sha256(json.dumps(self._manifest(), sort_keys=True).encode())
            for name, tensor in sorted(self.state_dict().items()):
                if not name.startswith(("log_logit_scale", "logit_bias")):  # they decide no vector
                    digest.update(f"{name}{tuple(tensor.shape)}".encode())
                    numbers = tensor.detach() if tensor.dtype == torch.uint8 else tensor.detach().float()
                    digest.update(np.ascontiguousarray(numbers.cpu().numpy()).data)
            if isinstance(self.tokenize, KeptTokenizer):
                digest.update(self.tokenize.content())
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def known_as(self, fingerprint: str) -> None:
        """Give it the fingerprint by which it is known before it is made."""
        self._fingerprint = fingerprint

    def forget_fingerprint(self) -> None:
        """Have `fingerprint` computed anew: call it after the weights were changed."""
        self._fingerprint = None

    def _manifest(self) -> dict[str, Any]:
        clips = {"frames": self.frame_pool.spec} if self.frame_pool else {}
        return {
            "format": FORMAT_VERSION if _is_told(self.tokenize) else 1,
            "dim": self.dim,
            "preprocess": self.preprocess.to_json(),
            **self.spec,
            **clips,
            **({"ears": self.ears.spec} if self.ears else {}),
        }

    def save(self, folder: Path | str) -> None:
        """Write the encoder into a folder, from which `load_encoder` reads it.

        Args:
            folder: Made where it is not there; an encoder that is in it is replaced. The manifest is written last:
                a folder without one is no encoder.

        Raises:
            OSError: It cannot be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        durable.write_bytes(folder / WEIGHTS, save(tensors))
        known: dict[str, Any] = {"languages": self.languages} if self.languages else {}
        known |= {"extends": self.extends} if self.extends else {}
        manifest = self._manifest() | {"fingerprint": self.fingerprint} | known
        if isinstance(self.tokenize, KeptTokenizer):
            facts = saved.save(self.tokenize, folder)
            manifest |= {"tokenizer": facts} if _is_told(self.tokenize) else {}
        durable.write_bytes(folder / MANIFEST, json.dumps(manifest, indent=2).encode())


def _is_told(tokenize: Tokenizer) -> bool:
    """Does encoder.json say what the tokenizer is? One that was learned from captions is known by the text tower."""
    return isinstance(tokenize, KeptTokenizer) and tokenize.kind != "caption"
