"""The tokenizers of open_clip's models."""

from collections.abc import Callable, Sequence

import numpy as np

from retrieval import errors
from retrieval.errors import MissingModel


class OpenClipTokenizer:
    """open_clip's tokenizer of a model, giving NumPy."""

    def __init__(self, tokenizer: Callable) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def of_model(cls, name: str) -> "OpenClipTokenizer":
        """The one that open_clip's model NAME is trained with. Raises MissingModel where it cannot be had."""
        import open_clip

        try:
            return cls(open_clip.get_tokenizer(name))
        # Those of the model hub need a library that is not a dependency here, and a network or a cache.
        except (ImportError, OSError, ValueError) as error:
            raise MissingModel(
                f"the tokenizer of {name} cannot be had ({errors.first_line(error)}): pip install transformers, "
                f"or use a model whose tokenizer is CLIP's own"
            ) from error

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, context)."""
        return self.tokenizer(list(texts)).numpy()
