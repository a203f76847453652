"""Any encoder of ours in the package mteb, whose image tasks are MIEB: the only module that imports it.

import mteb
from eval.mteb import ForMteb

mteb.evaluate(ForMteb("runs/mine"), mteb.get_tasks(["Flickr30kT2IRetrieval", "Flickr30kI2TRetrieval"]))
"""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes import distribution
from retrieval.encoders.load import load_encoder
from retrieval.encoders.protocol import Encoder

try:
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta, ScoringFunction
except ImportError as error:
    raise ImportError(f"eval.mteb needs the package mteb: {distribution.install('mteb')}") from error

if TYPE_CHECKING:
    from mteb.types import BatchedInput

    Batches = Iterable[BatchedInput]


class ForMteb(AbsEncoder):
    """An encoder as mteb asks for one: vectors of unit length, compared by their cosine.

    Args:
        encoder: It, or its name for `load_encoder`.
        device: Where it is loaded, if a name is given: "cpu", "cuda" or "auto".

    Attributes:
        mteb_model_meta: Its name as mteb keeps results under it, mmr/NAME; its fingerprint as the revision.
    """

    def __init__(self, encoder: Encoder | str, device: str = "auto") -> None:
        self.model = load_encoder(encoder, device) if isinstance(encoder, str) else encoder
        self.mteb_model_meta = model_meta(self.model)

    def encode(self, inputs: "Batches", **options: Any) -> np.ndarray:
        """Vectors of what the batches hold: texts, pictures, or both as one.

        Args:
            inputs: Batches with "text" or "image", or both, of the same rows.
            **options: What else mteb says: the task and its prompts, which an encoder of ours does not read.

        Returns:
            float32 (n, dim), every row of unit length.

        Raises:
            ValueError: They hold neither.
        """
        return np.concatenate([self._encode(batch) for batch in inputs])

    def get_text_embeddings(self, texts: "Batches", **options: Any) -> np.ndarray:
        """Vectors of the texts alone: float32 (n, dim)."""
        return np.concatenate([self.model.encode_texts(list(batch["text"])) for batch in texts])

    def get_image_embeddings(self, images: "Batches", **options: Any) -> np.ndarray:
        """Vectors of the pictures alone: float32 (n, dim)."""
        return np.concatenate([self.model.encode_images(list(batch["image"])) for batch in images])

    def get_fused_embeddings(self, inputs: "Batches", **options: Any) -> np.ndarray:
        """Vectors of pictures with their texts: the sum of both, brought to unit length; float32 (n, dim)."""
        return self.encode(inputs, **options)

    def _encode(self, batch: Any) -> np.ndarray:
        ways: dict[str, Callable] = {"text": self.model.encode_texts, "image": self.model.encode_images}
        found = [encode(list(batch[name])) for name, encode in ways.items() if name in batch]
        if not found:
            raise ValueError(f"texts and pictures are read, and here are {', '.join(batch)}: choose tasks of those")
        return found[0] if len(found) == 1 else _unit(sum(found[1:], found[0]))


def model_meta(encoder: Encoder) -> ModelMeta:
    """What mteb's results say of an encoder."""
    name = re.sub(r"[^\w.-]+", "_", encoder.name).strip("_.") or "unnamed"
    return ModelMeta.create_empty(
        {
            "name": f"mmr/{name}", "revision": encoder.fingerprint, "embed_dim": encoder.dim,
            "modalities": ["text", "image"], "similarity_fn_name": ScoringFunction.COSINE, "framework": ["PyTorch"],
            "use_instructions": False,
        }
    )  # fmt: skip


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
