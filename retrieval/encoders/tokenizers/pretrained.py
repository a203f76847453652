"""Tokenizers of the model hub, read by `tokenizers` alone."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer


class HubTokenizer:
    """What open_clip's HFTokenizer gives (SigLIP 2, say), without transformers. facts: context, pad, zeroed.

    clean: applied to each text first. zeroed: a token that becomes 0, or None.
    """

    def __init__(self, text: str, clean: Callable[[str], str], facts: dict[str, Any]) -> None:
        self._tokenizer = Tokenizer.from_str(text)
        self._tokenizer.enable_truncation(facts["context"])
        self._tokenizer.enable_padding(length=facts["context"], pad_id=facts["pad"])
        self._clean, self._zeroed = clean, facts["zeroed"]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, context)."""
        encoded = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        rows = np.array([line.ids for line in encoded], np.int64).reshape(len(texts), -1)
        return rows if self._zeroed is None else np.where(rows == self._zeroed, 0, rows)
