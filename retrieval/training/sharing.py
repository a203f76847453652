"""How much of what was known before goes beside what is learned: the share that is best on pairs held out.

From few pairs little is learned, and a space that knows none of them is worth more; from many it is the other way
round. The share is not guessed: heads by a closed form are learned without some of the pairs, which then decide.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from retrieval.towers.projections import Bridge
from retrieval.training import closed_forms
from retrieval.training.closed_forms import Seen

SHARES = tuple(number / 20 for number in range(21))
_FOLDS, _FEW = 5, 2000  # of less pictures each is held out once, of more only the first fold
LEAST = 4  # pictures
_MOST = 1000  # pictures held out at once


@dataclass(frozen=True, slots=True)
class Known:
    """What was known of a source before: unit rows of its pictures (n, d) and of its texts (m, d)."""

    images: Tensor
    texts: Tensor


def best_share(seen: Seen, known: Known, dim: int, seed: int = 0) -> float:
    """The share of `known`, one of SHARES, by which held-out pairs are found best.

    seen: features of the source. dim: numbers of the heads. Measured by the mean of 1 / rank over both directions. Of
    shares that are equally good the smallest is taken. Of less than four pictures no two can be held out and two be
    learned from: nearly all of what was known is kept.
    """
    if len(seen) < LEAST:
        return SHARES[-2]
    count = min(_FOLDS, len(seen) // 2)  # one picture alone is always found
    order = torch.randperm(len(seen), generator=torch.Generator().manual_seed(seed))
    folds = [order[start::count] for start in range(count if len(seen) < _FEW else 1)]
    total = torch.zeros(len(SHARES), dtype=torch.float64)
    for fold in folds:
        total += len(fold) * _merits(seen, known, fold[:_MOST], dim)
    return SHARES[int(total.argmax())]


def _merits(seen: Seen, known: Known, held: Tensor, dim: int) -> Tensor:
    """How well held-out pictures and their texts find each other, by each share; the others are learned from."""
    rest = torch.ones(len(seen), dtype=torch.bool)
    rest[held] = False
    learned = _learned(seen.some(rest.nonzero()[:, 0]), dim)
    asked = seen.some(held)
    theirs = torch.isin(seen.owner, held)
    scores = _scores(learned, asked)
    before = known.texts[theirs] @ known.images[held].T
    return torch.tensor([merit((1 - share) * scores + share * before, asked.owner) for share in SHARES])


def _learned(seen: Seen, dim: int) -> closed_forms.Heads:
    with torch.random.fork_rng(devices=[]):
        heads = Bridge(seen.images.shape[-1], dim, rooted=True), Bridge(seen.texts.shape[-1], dim)
        closed_forms.cca(heads, seen)
    return heads


@torch.inference_mode()
def _scores(heads: closed_forms.Heads, asked: Seen) -> Tensor:
    """Cosines of texts (m,) and pictures (n,), whose views are one vector."""
    image, text = (head.eval() for head in heads)
    looks = image(asked.images.flatten(0, 1)).unflatten(0, asked.images.shape[:2])
    pictures = F.normalize(F.normalize(looks, dim=-1).sum(1), dim=-1)
    return F.normalize(text(asked.texts), dim=-1) @ pictures.T


def merit(scores: Tensor, owner: Tensor) -> float:
    """The mean of 1 / rank: of each text's picture among pictures, of each picture's best text among texts.

    scores (m, n) of texts and pictures; owner (m,): the picture of each text.
    """
    own = scores.gather(1, owner[:, None])
    of_texts = (1 / ((scores > own).sum(1) + 1)).mean()
    theirs = owner[:, None] == torch.arange(scores.shape[1])
    best = scores.masked_fill(~theirs, -torch.inf).amax(0)
    of_pictures = (1 / ((scores.masked_fill(theirs, -torch.inf) > best).sum(0) + 1)).mean()
    return float(of_texts + of_pictures) / 2
