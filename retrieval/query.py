"""What a person asks with, as one unit vector: words, or a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval import images
from retrieval.errors import BadRequest, ImageError


def is_picture(text: str) -> bool:
    """True where the text names an existing file that looks like a picture: `./dog.jpg`, not `a dog.`"""
    path = Path(text)
    return path.suffix.lower() in images.EXTENSIONS and path.is_file()


def encode(texts: Sequence[str], encoder) -> np.ndarray:  # noqa: ANN001 - anything that encodes
    """Each query as a row: float32 (n, d), unit length. Raises BadRequest for an empty one or an unreadable picture."""
    return np.concatenate([_encode_one(text, encoder) for text in texts])


def _encode_one(text: str, encoder) -> np.ndarray:  # noqa: ANN001
    if is_picture(text):
        try:
            return encoder.encode_images([images.decode(Path(text), at_least=2 * encoder.preprocess.size)])
        except ImageError as error:
            raise BadRequest(f"{text}: {error}: give another picture, or words") from error
    if not text.strip():
        raise BadRequest('the query is empty: write what you look for, as in mmr search "a dog"')
    looks_like_file = Path(text).suffix.lower() in images.EXTENSIONS and " " not in text.strip()
    if looks_like_file or text.startswith(("./", "../", "/", "~/")):
        raise BadRequest(f"no such picture: {text}: check the path, or write words")
    return encoder.encode_texts([text])
