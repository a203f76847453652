"""Answers that differ from each other: maximal marginal relevance (Carbonell and Goldstein, 1998)."""

import numpy as np


def pick(scores: np.ndarray, vectors: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """The offsets of k candidates, in the order in which they are picked: int64 (min(k, n),).

    Each is the best by (1 - diversity) * relevance - diversity * likeness to the nearest picked before. scores: (n,)
    descending. vectors: float32 (n, d), unit rows. diversity: 0 keeps the order of the scores, 1 forgets them after the
    first. Scores of pictures with words and with pictures have ranges of their own, so both are brought to 0..1.
    """
    relevance, likeness = _spread(scores), _spread(vectors @ vectors.T)
    picked: list[int] = []
    left = np.ones(len(scores), bool)
    nearest = np.zeros(len(scores))
    while len(picked) < min(k, len(scores)):
        gain = (1 - diversity) * relevance - diversity * nearest if picked else relevance
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        picked.append(best)
        left[best] = False
        nearest = np.maximum(nearest, likeness[best])
    return np.array(picked, np.int64)


def _spread(values: np.ndarray) -> np.ndarray:
    """Linearly to 0..1; all 0 where all are the same."""
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
