"""The small text towers' tokenizer: lower-cased byte-level BPE, learned from the captions. Any script, nothing unknown.

Letters keep their marks, which tell words apart in most scripts; how Unicode spells a letter with its marks makes no
difference. How texts are normalized lies in the saved tokenizer.json: a run that learned without marks goes on so.

It is Hugging Face `tokenizers`, which loads in milliseconds and needs no torch, so that a query can use it alone.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from indexes import durable
from indexes.typed import Malformed
from retrieval.encoders.tokenizers.parsed import tokenizer_from
from retrieval.encoders.tokenizers.rows import pad


class CaptionTokenizer:
    """Texts to token rows. context: tokens of the longest text; what is longer is cut."""

    kind = "caption"

    def __init__(self, tokenizer: Tokenizer, context: int) -> None:
        self._tokenizer = tokenizer
        self.context = context
        tokenizer.enable_truncation(context)
        tokenizer.no_padding()

    @classmethod
    def learn(cls, captions: Iterable[str], vocabulary: int, context: int) -> "CaptionTokenizer":
        """Learn at most `vocabulary` tokens. The same captions give the same tokens."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer, tokenizer.pre_tokenizer = _normalizer(), _pre_tokenizer()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=["<pad>"],
            show_progress=False,
        )
        tokenizer.train_from_iterator(captions, trainer)
        return cls(tokenizer, context)

    @classmethod
    def from_json(cls, text: str, context: int) -> "CaptionTokenizer":
        """The inverse of `to_json`, also of older versions. Raises Malformed.

        A text of another hand may hold an expression that never ends on some words: none but ours are taken.
        """
        tokenizer = tokenizer_from(text)
        normalizer, pieces = _state(tokenizer.normalizer), _state(tokenizer.pre_tokenizer)
        if normalizer not in (_state(_normalizer()), _state(_without_marks())) or pieces != _state(_pre_tokenizer()):
            raise Malformed("a tokenizer that mmr has not learned")
        return cls(tokenizer, context)

    def to_json(self) -> str:
        """Everything but the context."""
        whole = Tokenizer.from_str(self._tokenizer.to_str())  # a copy: another thread may be encoding
        whole.no_truncation()
        return whole.to_str()

    def content(self) -> bytes:
        """What decides its tokens, beside the context, which the text tower's spec has."""
        return self.to_json().encode()

    def save(self, folder: Path) -> dict[str, Any]:
        """Write tokenizer.json; the facts that saved.load wants beside it."""
        durable.write_bytes(folder / "tokenizer.json", self.content())
        return {"context": self.context}

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without padding."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, length of the longest), filled with PAD; at least one column."""
        return pad(self.rows(texts))


def _normalizer() -> normalizers.Normalizer:
    """Compatible forms made one (NFKC), lower case, no control characters; space around each Chinese character."""
    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.NFKC(),  # what is lower-cased may be spelled in another way again
            normalizers.Replace(Regex("[\ufe0e\ufe0f]"), ""),  # an emoji in colour or not
            normalizers.BertNormalizer(strip_accents=False, lowercase=False),
        ]
    )


def _without_marks() -> normalizers.Normalizer:
    """That of older versions."""
    return normalizers.BertNormalizer(strip_accents=True, lowercase=True)


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Words are cut at spaces and punctuation, Chinese at every character; a word's first piece carries a space."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )


def _state(part: Any) -> bytes:  # the package's parts have no common type that says so
    return part.__getstate__() if part is not None else b""
