"""Tokenizers of the model hub, read by `tokenizers` alone."""

from collections.abc import Callable, Sequence

import numpy as np

from retrieval.encoders.tokenizers.parsed import tokenizer_from


class HubTokenizer:
    """What open_clip's HFTokenizer gives (SigLIP 2, say), without transformers.

    text: its tokenizer.json. clean: applied to each text first. context: tokens of every row, filled with `pad`.
    zeroed: a token that becomes 0, or None. Raises Malformed for a text that is no tokenizer.
    """

    def __init__(self, text: str, clean: Callable[[str], str], context: int, pad: int, zeroed: int | None) -> None:
        self._tokenizer = tokenizer_from(text)
        self._tokenizer.enable_truncation(context)
        self._tokenizer.enable_padding(length=context, pad_id=pad)
        self._clean, self._zeroed = clean, zeroed

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, context)."""
        encoded = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        rows = np.array([line.ids for line in encoded], np.int64).reshape(len(texts), -1)
        return rows if self._zeroed is None else np.where(rows == self._zeroed, 0, rows)
