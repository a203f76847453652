"""Two rankings of rows as one: the nearest vectors, and the rows whose texts have the most of the words.

reciprocal   (1 - w) / (60 + place by meaning) + w / (60 + place by words); a row of one ranking gets one
             term (reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009)
relative     (1 - w) * (cosine - low) / (best - low) + w * BM25 / all, with the cosine of place DEPTH as low,
             and all the BM25 of a row that has every word (scores on one scale, as Weaviate's
             relativeScoreFusion, which takes the best BM25: there one word of four, where no row has more,
             would weigh as much as all)

What most rows have says little of any of them: rows that have one such word only are not found by words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

DEPTH = 100  # of each ranking, at least
WINDOW = 300  # of each, where answers are made: however many are asked for, so that pages of them follow each other
_TELLING = 0.3  # BM25: of a row of usual length, a word that three of four rows have
_AFTER = 60  # the constant of reciprocal ranks


@dataclass(frozen=True, slots=True)
class Fusion:
    """How two rankings become one. weight: of the words, 0 to 1.

    The default is for indexes of which nothing was measured (docs/log.md).
    """

    kind: Literal["reciprocal", "relative"] = "relative"
    weight: float = 0.6


class Ranking(NamedTuple):
    """Rows int64 (n,) and their scores float32 (n,), the best first."""

    rows: np.ndarray
    scores: np.ndarray


class Fused(NamedTuple):
    """Rows int64 (n,), the best first; their scores and cosines, float32 (n,); places int64 (n, 2) by meaning and by
    words, from 1, 0 where a ranking has not got it."""

    rows: np.ndarray
    scores: np.ndarray
    cosines: np.ndarray
    places: np.ndarray


def fuse(
    fusion: Fusion, meaning: Ranking, words: Ranking, cosines_of: Callable[[np.ndarray], np.ndarray], whole: float
) -> Fused:  # fmt: skip
    """The rows of both rankings as one ranking.

    Args:
        fusion: How.
        meaning: By cosine.
        words: By BM25, above 0.
        cosines_of: Given rows (m,) that only the words found, their cosines (m,).
        whole: The BM25 of a row that has all of the words (StoreReader.words_weight).

    Returns:
        Each row once; ties go to the lower row.
    """
    tell = words.scores >= _TELLING
    words = Ranking(words.rows[tell], words.scores[tell])
    new = words.rows[~np.isin(words.rows, meaning.rows)]
    rows = np.concatenate([meaning.rows, new])
    cosines = np.concatenate([meaning.scores, cosines_of(new) if len(new) else np.empty(0)]).astype(np.float32)
    places, said = np.zeros((len(rows), 2), np.int64), np.zeros(len(rows))
    places[: len(meaning.rows), 0] = np.arange(1, len(meaning.rows) + 1)
    order = np.argsort(rows, kind="stable")
    here = order[np.searchsorted(rows, words.rows, sorter=order)]
    places[here, 1], said[here] = np.arange(1, len(words.rows) + 1), words.scores
    scores = (
        _reciprocal(fusion, places) if fusion.kind == "reciprocal" else _relative(fusion, meaning, cosines, said, whole)
    )
    best = np.lexsort((rows, -scores))
    return Fused(rows[best], scores[best].astype(np.float32), cosines[best], places[best])


def _reciprocal(fusion: Fusion, places: np.ndarray) -> np.ndarray:
    shares = np.where(places > 0, 1 / (_AFTER + places), 0.0)
    return shares @ np.array([1 - fusion.weight, fusion.weight])


def _relative(
    fusion: Fusion, meaning: Ranking, cosines: np.ndarray, said: np.ndarray, whole: float
) -> np.ndarray:  # fmt: skip
    if not len(meaning.rows):
        return said
    window = meaning.scores[:DEPTH].astype(np.float64)
    low, best = window[-1], window[0]
    near = np.maximum((cosines.astype(np.float64) - low) / max(best - low, 1e-9), 0)
    words = said / max(whole, said.max(initial=0.0), 1.0)
    return (1 - fusion.weight) * near + fusion.weight * words
