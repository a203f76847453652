"""Which word of a query mattered: by how much the score falls when it is left out (Li, Monroe and Jurafsky 2016).

A word whose leaving lowers the score spoke for the picture; one whose leaving raises it spoke against it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.encoders.protocol import Encoder

MOST = 32  # words of a query that are left out, one after the other
# Chinese and Japanese are written without spaces: each of their letters is left out alone.
_WORD = re.compile(r"[\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a query. matters: the score with it, less the score without it."""

    text: str
    matters: float


def without_each(text: str) -> list[tuple[str, str]]:
    """(word, the text without it) for each word of a text, in their order; nothing for a text of a single word."""
    found = list(_WORD.finditer(text))[:MOST]
    if len(found) < 2:
        return []
    return [(one[0], " ".join((text[: one.start()] + text[one.end() :]).split())) for one in found]


def words(text: str, encoder: Encoder, seen: np.ndarray) -> list[Word]:
    """How much each word of a text matters for what is seen.

    Args:
        text: The query's words.
        encoder: What reads them.
        seen: What they are compared with, a vector of a picture or a place, float32 (dim,).

    Returns:
        The words in their order; nothing for a single one, without which nothing is asked.
    """
    each = without_each(text)
    return shares(text, each, encoder.encode_texts([text, *(rest for _, rest in each)]), seen) if each else []


def shares(text: str, each: Sequence[tuple[str, str]], vectors: np.ndarray, seen: np.ndarray) -> list[Word]:
    """The same of vectors that are there: of the text, then of it without each word, float32 (1 + n, dim)."""
    scores = vectors @ seen
    return [Word(word, float(scores[0] - score)) for (word, _), score in zip(each, scores[1:], strict=True)]
