"""The tokenizer of a sentence encoder, read by `tokenizers` alone: its tokenizer.json, and how long texts are cut."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, normalizers

from indexes import durable
from retrieval.encoders.tokenizers.parsed import tokenizer_from
from retrieval.encoders.tokenizers.rows import pad


class SentenceTokenizer:
    """Texts to token rows: the numbers of tokenizer.json and 1, so that padding, 0, is no token.

    Args:
        text: tokenizer.json.
        context: Tokens of the longest text; what is longer is cut.
        prefix: Put before each text.
        special: Does it put marks of its own around a text?
        skipped: A number that is left out, as the unknown word's; None for none.
        characters: Of the longest text that is looked at; None for any.

    Raises:
        Malformed: The text is no tokenizer.
    """

    kind = "sentence"

    def __init__(
        self, text: str, context: int, prefix: str = "", special: bool = True, skipped: int | None = None,
        characters: int | None = None,
    ) -> None:  # fmt: skip
        self._tokenizer = tokenizer_from(text)
        self.context, self.prefix, self.special = context, prefix, special
        self.skipped, self.characters = skipped, characters
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(context)

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without padding."""
        cut = [(self.prefix + text)[: self.characters] for text in texts]
        encoded = self._tokenizer.encode_batch_fast(cut, add_special_tokens=self.special)
        return [[number + 1 for number in one.ids if number != self.skipped] for one in encoded]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, length of the longest), filled with 0; at least one column."""
        return pad(self.rows(texts))

    def __len__(self) -> int:
        """One more than the largest number of tokenizer.json."""
        return max(self._tokenizer.get_vocab().values(), default=-1) + 1

    def content(self) -> bytes:
        """All that decides its tokens."""
        return json.dumps([self._to_json(), self._facts()]).encode()

    def save(self, folder: Path) -> dict[str, Any]:
        """Write tokenizer.json; the facts that saved.load wants beside it."""
        durable.write_bytes(folder / "tokenizer.json", self._to_json().encode())
        return self._facts()

    def _to_json(self) -> str:
        whole = Tokenizer.from_str(self._tokenizer.to_str())  # a copy: another thread may be encoding
        whole.no_truncation()
        return whole.to_str()

    def _facts(self) -> dict[str, Any]:
        return {
            "context": self.context, "prefix": self.prefix, "special": self.special, "skipped": self.skipped,
            "characters": self.characters,
        }  # fmt: skip


def lower_cased(text: str) -> str:
    """tokenizer.json of a tokenizer that makes texts lower case first, if it does not yet. Raises Malformed."""
    tokenizer = tokenizer_from(text)
    own: Any = tokenizer.normalizer
    if isinstance(own, normalizers.Sequence):
        parts = [own[place] for place in range(len(own))]
    else:
        parts = [own] if own is not None else []
    if not any(isinstance(part, normalizers.Lowercase) for part in parts):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *parts])
    return tokenizer.to_str()


def model2vec(text: str, context: int) -> SentenceTokenizer:
    """As the package model2vec reads texts: no marks, unknown words left out, cut by characters before by tokens.

    Raises Malformed.
    """
    found = tokenizer_from(text)
    lengths = [len(token) for token in found.get_vocab()]
    characters = context * int(np.median(lengths)) if lengths else None
    return SentenceTokenizer(text, context, special=False, skipped=_unknown(found, text), characters=characters)


def _unknown(tokenizer: Tokenizer, text: str) -> int | None:
    """The number of the unknown word."""
    named = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(named) if named is not None else json.loads(text)["model"].get("unk_id")
