"""Heads by a formula, in seconds: what an equation knows of frozen features and their captions.

    cca     the directions in which pictures and captions vary together (Hotelling 1936), each side's covariance shrunk
            the more, the fewer pictures there are
    ridge   a picture's features to the mean vector of its captions, least squares with a penalty
    asif    each side by its likeness to known pairs (Norelli 2023)

They are the baseline of every claim about training, and what it begins with (`closed_form=`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retrieval.encoders.encoder import DualEncoder
from retrieval.errors import BadRequest
from retrieval.towers.projections import Anchors, Bridge

Heads = tuple[Bridge, Bridge]
RIDGE = 3.0  # penalty, times the mean eigenvalue
_NOTHING = 1e-9  # a variance below this is none


@dataclass(frozen=True, slots=True)
class Seen:
    """Features of a source: images (n, views, w), texts (m, v), owner (m,): of which picture each text is."""

    images: Tensor
    texts: Tensor
    owner: Tensor

    @classmethod
    def of(cls, images: np.ndarray, texts: Sequence[np.ndarray]) -> "Seen":
        """images (n, views, w); texts: those of each picture, (its captions, v)."""
        counts = torch.tensor([len(several) for several in texts])
        owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
        return cls(torch.from_numpy(images), torch.from_numpy(np.concatenate(texts)), owner)

    def __len__(self) -> int:
        return len(self.images)

    def mean_texts(self) -> Tensor:
        """The mean of each picture's captions, (n, v)."""
        total = torch.zeros(len(self), self.texts.shape[1], dtype=self.texts.dtype).index_add_(
            0, self.owner, self.texts
        )
        return total / torch.bincount(self.owner, minlength=len(self)).clamp(min=1)[:, None]

    def some(self, rows: Tensor) -> "Seen":
        """Some of the pictures, with their captions."""
        place = torch.full((len(self),), -1)
        place[rows] = torch.arange(len(rows))
        theirs = place[self.owner] >= 0
        return Seen(self.images[rows], self.texts[theirs], place[self.owner[theirs]])


def fill(encoder: DualEncoder, name: str, seen: Seen) -> None:
    """Put the closed form of that name into an encoder's heads. Raises BadRequest where they are of another kind."""
    heads = (encoder.image_tower.get_submodule("project"), encoder.text_tower.get_submodule("project"))
    kind = Anchors if name == "asif" else Bridge
    if not all(isinstance(head, kind) for head in heads):
        projection = "anchors" if name == "asif" else "bridge"
        raise BadRequest(f"closed_form={name} is of other heads: add --set projection={projection}")
    FORMS[name](heads, seen)


def cca(heads: Heads, seen: Seen) -> None:
    """Canonical correlations with each side shrunk towards a multiple of the identity, directions weighted by them.

    The shrinkage grows as pictures get fewer, and the weight of a direction is its correlation to a power that falls
    with more of them.
    """
    image, text = heads
    pictures = image.taken(seen.images.double())
    shrunk = _shrinkage(len(seen))
    image_mean, text_mean = pictures.mean((0, 1)), seen.texts.double().mean(0)
    apart, texts = (pictures - image_mean).flatten(0, 1), seen.texts.double() - text_mean
    image_white, text_white = inverse_root(apart, shrunk.image), inverse_root(texts, shrunk.text)
    across = (pictures.mean(1) - image_mean).T @ (seen.mean_texts().double() - text_mean) / len(seen)
    left, strength, right = torch.linalg.svd(image_white @ across @ text_white, full_matrices=False)
    kept = min(image.skip.shape[1], len(strength))
    weight = strength[:kept] ** shrunk.power
    image.start(image_mean, image_white @ left[:, :kept] * weight, image_white, pictures[:, 0])
    text.start(text_mean, text_white @ right.T[:, :kept] * weight, text_white, seen.texts.double())


@dataclass(frozen=True, slots=True)
class _Shrinkage:
    image: float
    text: float
    power: float


def _shrinkage(pictures: int) -> _Shrinkage:
    """Chosen on Flickr8k for 100 to 6,000 pictures (docs/log.md)."""
    power = 1 - 0.25 * math.log(pictures / 300) / math.log(1000 / 300)
    return _Shrinkage(
        10 * (300 / pictures) ** 0.85, min(1.0, max(0.3, (1000 / pictures) ** 0.67)), min(1.0, max(0.5, power))
    )


def inverse_root(rows: Tensor, shrink: float) -> Tensor:
    """The covariance of rows (n, w) about 0, shrunk, to the power of -1/2, (w, w).

    `shrink` times its mean eigenvalue is added to each. Of fewer rows than numbers it is decomposed as (n, n), which
    has the same eigenvalues above 0.
    """
    count, width = rows.shape
    few = count < width
    values, vectors = torch.linalg.eigh((rows @ rows.T if few else rows.T @ rows) / count)
    added = max(shrink * float(values.clamp(min=0).sum()) / width, _NOTHING)  # what is all the same does not vary
    if not few:
        return (vectors * (values.clamp(min=0) + added) ** -0.5) @ vectors.T
    there = values > 1e-12 * values[-1]
    values, directions = values[there], rows.T @ vectors[:, there] / (count * values[there]).sqrt()
    rest = torch.eye(width, dtype=rows.dtype) * added**-0.5  # of the directions in which nothing lies
    return rest + (directions * ((values + added) ** -0.5 - added**-0.5)) @ directions.T


def ridge(heads: Heads, seen: Seen) -> None:
    """A picture's features to the mean vector of its captions; captions are themselves, about their mean."""
    image, text = heads
    pictures, texts = image.taken(seen.images.double()).mean(1), seen.texts.double()
    image_mean, text_mean = pictures.mean(0), texts.mean(0)
    x, y = pictures - image_mean, seen.mean_texts().double() - text_mean
    covariance = x.T @ x
    penalty = max(RIDGE * float(covariance.diagonal().mean()), _NOTHING) * torch.eye(
        len(covariance), dtype=torch.float64
    )
    solved = torch.linalg.solve(covariance + penalty, x.T @ y)
    kept = min(image.skip.shape[1], solved.shape[1])
    image.start(image_mean, solved[:, :kept], torch.eye(len(covariance), dtype=torch.float64), pictures)
    same = torch.eye(solved.shape[1], dtype=torch.float64)
    text.start(text_mean, same[:, :kept], same, texts)


def asif(heads: tuple[Anchors, Anchors], seen: Seen) -> None:
    """Both sides by their likeness to the pictures of the source and to their captions' means."""
    image, text = heads
    image.start(seen.images.mean(1))
    text.start(seen.mean_texts())


FORMS: dict[str, Callable[..., None]] = {"cca": cca, "ridge": ridge, "asif": asif}
