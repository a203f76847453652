"""A map from what a tower hears into the space of an encoder that sees, in closed form: found by its words as they are.

Ridge regression says where a sound is expected among the vectors of captions, and the errors that it makes of sounds
it was not fitted to, with which error: a normal distribution N(e, C) around the expectation e of each sound. How well
a text t fits is its likelihood there (linear discriminants, Fisher 1936):

    log p(t) = t C'e - e C'e / 2 + what is of the text alone        C' the inverse of C, t and e about their means

Cosines are inner products of unit vectors, and this is made one (Bachrach et al. 2014): the sound's vector has C'e in
the directions of texts, its constant along a direction in which all texts have the same, and what is left of its
length in the direction in which nothing has any. So words that are encoded as ever find the sound of the greatest
likelihood, by the cosine, in any index.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PENALTIES = np.logspace(-4, 2, 13)  # of the ridge, times the mean eigenvalue
SMOOTHINGS = (1.0, 3.0, 10.0, 30.0, 100.0)  # of the errors: so many times their mean variance is in every direction
TRIED = 1000  # sounds by which a smoothing is chosen
_HALF = 0.5  # of a unit vector that its constant may take


@dataclass(frozen=True, slots=True)
class SoundMap:
    """The numbers of a map from rows (inner,) to unit rows (dim,), float64.

    Attributes:
        mean: (inner,), of the rows.
        weight: (inner, dim), rows about their mean to what is expected, about the middle.
        sharp: (inner, dim), the same times C'.
        middle: (dim,), the mean of the texts.
        constant: (dim,), where texts have 1.
        silent: (dim,), of unit length, where nothing has anything.
        level: What is added to the constant, so that any text is as near to a sound as was asked for.
    """

    mean: np.ndarray
    weight: np.ndarray
    sharp: np.ndarray
    middle: np.ndarray
    constant: np.ndarray
    silent: np.ndarray
    level: float


def fit(rows: np.ndarray, texts: np.ndarray, others: np.ndarray, prompts: np.ndarray) -> SoundMap:
    """Fit it.

    Args:
        rows: What is heard, (n, inner).
        texts: Where each belongs, unit rows (n, dim).
        others: What sounds are to be found among, unit rows (m, dim): they are as near to texts that are not theirs as
            these are, as far as a unit vector has room.
        prompts: Other texts, unit rows (l, dim).
    """
    middle, constant = texts.mean(0), _constant(texts)
    weight, alone = ridge(rows - rows.mean(0), texts - middle)
    expected, errors = (rows - rows.mean(0)) @ weight, texts - middle - alone
    level, best, most = float(others.mean(0) @ middle), None, -1.0
    some = np.random.default_rng(0).permutation(len(rows))[:TRIED]
    for inverse in _inverses(errors.T @ errors / len(errors)):
        scale, rest = _fitting(_points(expected, expected @ inverse, middle, constant), texts, constant, level)
        points = scale * _points(alone, alone @ inverse, middle, constant)[some] + rest * constant
        if (found := _found(points, texts[some], others)) > most:
            best, most = (weight @ inverse * scale, rest), found
    assert best is not None  # of several
    silent = _silent(np.concatenate([texts, others, prompts]))
    return SoundMap(rows.mean(0), weight, best[0], middle, constant, silent, best[1])


def ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights (d, e) of rows x (n, d) to rows y (n, e), both about their means, with the best of PENALTIES; and
    what is predicted of each row by all others, (n, e).

    The best is that of the least error of those (Hoerl and Kennard 1970; in closed form, Golub 1979): of a row, its
    residual over 1 minus its leverage.
    """
    u, s, v = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    rotated, mean = u.T @ y, max(float((s**2).mean()), 1e-12)

    def errors(penalty: float) -> np.ndarray:
        shrunk = s**2 / (s**2 + penalty * mean)
        leverage = (u**2) @ shrunk + 1 / len(x)  # of the mean that was taken off too
        residual = y - u @ (shrunk[:, None] * rotated)
        return residual / np.maximum(1 - leverage, 1e-6)[:, None]

    best = min(PENALTIES, key=lambda penalty: float((errors(penalty) ** 2).sum()))
    return v.T @ ((s / (s**2 + best * mean))[:, None] * rotated), y - errors(best)


def _inverses(covariance: np.ndarray) -> Iterator[np.ndarray]:
    mean = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    for smoothing in SMOOTHINGS:
        yield np.linalg.inv(covariance + smoothing * mean * np.eye(len(covariance)))


def _constant(texts: np.ndarray) -> np.ndarray:
    """A short vector with which texts have an inner product of 1, as nearly as may be."""
    spread = max(float(texts.var(0).mean()), 1e-12)
    found = np.linalg.solve(texts.T @ texts / len(texts) + spread * np.eye(texts.shape[1]), texts.mean(0))
    return found / max(float((texts @ found).mean()), 1e-12)


def _silent(vectors: np.ndarray) -> np.ndarray:
    """The direction in which they have least."""
    return np.linalg.eigh(vectors.T @ vectors)[1][:, 0]


def _points(expected: np.ndarray, sharp: np.ndarray, middle: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Rows whose inner products with texts are the likelihoods."""
    return sharp + (-sharp @ middle - (sharp * expected).sum(1) / 2)[:, None] * constant


def _found(points: np.ndarray, texts: np.ndarray, others: np.ndarray) -> float:
    """The mean of 1 over the place at which each text finds its own row among all and others, and each row its own
    text."""
    scores = texts @ points.T
    own = np.diag(scores)
    places = (scores >= own[:, None]).sum(1) + (texts @ others.T >= own[:, None]).sum(1)
    return float(np.mean(1 / np.concatenate([places, (scores >= own[None]).sum(0)])))


def _fitting(points: np.ndarray, texts: np.ndarray, constant: np.ndarray, level: float) -> tuple[float, float]:
    """(scale, level): the largest by which points, with their mean score brought to a level, are in the unit ball."""
    length = float(np.linalg.norm(constant))
    level = min(level, _HALF / length)
    mean = float((texts.mean(0) @ points.T).mean())
    moved = points - mean * constant
    a, b = (moved**2).sum(1), level * (moved @ constant)
    most = (-b + np.sqrt(b**2 + a * (1 - (level * length) ** 2))) / np.maximum(a, 1e-24)
    scale = float(most.min())
    return scale, level - scale * mean
