"""How well cosines tell right pairs from wrong ones, and whether the encoder knows how sure it may be.

The probability of an answer is the softmax over all pictures of the cosines of a caption, times a scale: the learned
one of the encoder where that is given, else the one under which the right answers to the captions of half of the
pictures are the likeliest (temperature scaling, Guo et al. 2017); it is then judged on the other half alone.
"""

from dataclasses import dataclass

import numpy as np

from eval import classification
from eval.answers import Firsts
from eval.measuring import Measured
from eval.ranking import finite

SEED = 0
MOST = 20_000  # pairs of either kind whose cosines are told
LEAST = 20  # captions that calibration is told of
_AT_ONCE = 1 << 23  # cosines that are calibrated on
_SCALES = (1.0, 1000.0)  # within which one is fitted
_STEPS = 24  # of halving the range of its logarithm


@dataclass(frozen=True, slots=True)
class Scores:
    """Cosines of right and of wrong pairs.

    Attributes:
        right: float32 (r,), of captions with their pictures, all of them or MOST that were drawn.
        wrong: float32 (w,), of captions with other pictures.
        auc: How often a right pair has the greater cosine, equal ones counting half; NaN where there is no wrong pair.
    """

    right: np.ndarray
    wrong: np.ndarray
    auc: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How sure the first answers of captions were, and how often they were right.

    Attributes:
        scale: What cosines were multiplied by.
        fitted: Whether it was fitted here, on the captions of other pictures.
        sure: float64 (m,), the probability of each first answer.
        right: bool (m,), whether it is the right picture.
        ece: The mean gap between both (classification.ece).
    """

    scale: float
    fitted: bool
    sure: np.ndarray
    right: np.ndarray
    ece: float


def scores(measured: Measured) -> Scores:
    """Cosines of right pairs, and of as many wrong ones as are told, always the same. Vectors with NaN are left out."""
    random = np.random.default_rng(SEED)
    captions, pictures, pairs = len(measured.texts), len(measured.images), measured.right
    count = len(pairs.query)
    chosen = np.arange(count) if count <= MOST else random.choice(count, MOST, replace=False)
    right = _cosines(measured, pairs.query[chosen], pairs.item[chosen])
    if captions * pictures <= MOST:
        caption, picture = np.divmod(np.arange(captions * pictures), pictures)
    else:
        caption, picture = random.integers(captions, size=MOST), random.integers(pictures, size=MOST)
    other = ~np.isin(caption * pictures + picture, pairs.query * pictures + pairs.item)
    wrong = _cosines(measured, caption[other], picture[other])
    return Scores(right, wrong, auc(right, wrong))


def auc(right: np.ndarray, wrong: np.ndarray) -> float:
    """The share of pairs of the two in which the first is greater, equal ones half; NaN where there is none."""
    if not len(right) or not len(wrong):
        return float("nan")
    ordered = np.sort(wrong)
    below, to = np.searchsorted(ordered, right), np.searchsorted(ordered, right, "right")
    return float((below + to).mean() / 2 / len(wrong))


def calibration(measured: Measured, found: Firsts, scale: float | None = None) -> Calibration | None:
    """How sure the first pictures of captions are, and how often right.

    Args:
        measured: What is judged.
        found: Its first answers to captions.
        scale: What the encoder learned to multiply cosines by; None where one is to be fitted.

    Returns:
        None where fewer than LEAST captions can be judged: there are so few, or so many pictures.
    """
    random = np.random.default_rng(SEED)
    usable = np.flatnonzero(np.isfinite(found.right_score))
    order = random.permutation(usable)[: _AT_ONCE // len(measured.images)]
    owner = measured.owner[found.asked[order]]
    fit = (random.permutation(len(measured.images)) % 2 == 0)[owner] & (scale is None)
    shown, fit = order[~fit], order[fit]
    if len(shown) < LEAST or (scale is None and len(fit) < LEAST):
        return None
    used = fitted_scale(_against_all(measured, found.asked[fit]), found.right[fit]) if scale is None else scale
    cosines = _against_all(measured, found.asked[shown])
    sure = 1 / np.exp(used * (cosines - cosines.max(1, keepdims=True))).sum(1, dtype=np.float64)
    right = found.found[shown]
    return Calibration(used, scale is None, sure, right, classification.ece(sure, right))


def fitted_scale(cosines: np.ndarray, right: np.ndarray) -> float:
    """The scale within _SCALES under which the right answers are the likeliest. cosines (m, n), right int64 (m,).

    The likelihood has one maximum: where the mean cosine that the softmax expects is that of the right answers.
    """
    aim = cosines[np.arange(len(right)), right].mean(dtype=np.float64)
    top, (low, high) = cosines.max(1, keepdims=True), np.log(_SCALES)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        weight = np.exp(np.float32(np.exp(middle)) * (cosines - top))
        expected = (np.einsum("mn,mn->m", weight, cosines) / weight.sum(1)).mean(dtype=np.float64)
        low, high = (middle, high) if expected < aim else (low, middle)
    return float(np.exp((low + high) / 2))


def _against_all(measured: Measured, chosen: np.ndarray) -> np.ndarray:
    """The cosines of some captions with every picture: float32 (m, n)."""
    images, never = finite(measured.images)
    cosines = measured.texts[chosen] @ images.T
    cosines[:, never] = -1
    return cosines


def _cosines(measured: Measured, caption: np.ndarray, picture: np.ndarray) -> np.ndarray:
    found = np.einsum("pd,pd->p", measured.texts[caption], measured.images[picture])
    return found[np.isfinite(found)]
