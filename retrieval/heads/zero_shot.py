"""Classes by their names alone: each is put into sentences, and the sentences are encoded."""

from collections.abc import Sequence

import numpy as np

from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest

# Seven of CLIP's eighty, which do as well as all of them (OpenAI's notebook); names alone in the last.
TEMPLATES = (
    "a photo of a {}.", "a bad photo of the {}.", "a photo of the large {}.", "a photo of the small {}.",
    "a photo of many {}.", "itap of a {}.", "{}",
)  # fmt: skip


def class_vectors(encoder: Encoder, names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> np.ndarray:
    """float32 (classes, d) of unit length: the mean of a class's sentences, each of unit length before (CLIP).

    Raises BadRequest for a template without {}.
    """
    for template in templates:
        if "{}" not in template:
            raise BadRequest(f"the template `{template}` has no {{}}: write one where the name goes")
    texts = [template.replace("{}", name) for name in names for template in templates]
    vectors = encoder.encode_texts(texts).reshape(len(names), len(templates), -1).astype(np.float64).mean(1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def classify(vectors: np.ndarray, classes: np.ndarray, scale: float = 100.0) -> np.ndarray:
    """Probabilities (n, classes): the softmax of `scale` times the cosine."""
    logits = scale * (vectors @ classes.T).astype(np.float64)
    logits = np.exp(logits - logits.max(1, keepdims=True))
    return logits / logits.sum(1, keepdims=True)
