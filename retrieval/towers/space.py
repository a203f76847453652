"""The space of `builtin`: where pictures and texts meet that no pair has shown to each other.

Its directions are the thousand classes of ImageNet, made fewer. A picture lies where its classes lie; a text lies where
the classes lie whose names, and whose sentences, it is like. A sentence says what else is in pictures of a class, as "a
man rides a bike on a trail" of mountain bikes: it is an anchor, whose classes are known.

    Norouzi et al. 2014, Zero-Shot Learning by Convex Combination of Semantic Embeddings (ConSE)
    Norelli et al. 2023, ASIF: Coupled Data Turns Unimodal Models to Multimodal Without Training
    Moschella et al. 2023, Relative Representations Enable Zero-Shot Latent Space Communication

Numbers in it were chosen on captioned photos; nothing else of those is in it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.efficientnet_lite import CLASSES
from retrieval.towers.use_tower import FEATURES

_POWER = 1.5  # of a logit's standing among the others
_WIDE, _NARROW = 0.5, 0.11  # how far from an anchor a text still is like it
_RIDGE = 1.5  # of the regression: more trusts single anchors less
_NAMED = 0.5  # weight of the classes of the nearest anchors, beside the regression
_COMMON = 0.5  # how much of what all texts share is taken off


class ImageSpace(nn.Module):
    """ImageNet's logits (b, 1000) to (b, dim), not yet of unit length: those above their mean, to the power 1.5.

    basis: (1000, dim), a column a direction.
    """

    basis: Tensor

    def __init__(self, dim: int, classes: int = CLASSES) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("basis", torch.eye(classes, dim))

    def forward(self, logits: Tensor) -> Tensor:
        """logits (b, 1000). Returns (b, dim)."""
        standing = F.layer_norm(logits, (self.classes,))
        return (standing.clamp(min=0) ** _POWER) @ self.basis


class TextSpace(nn.Module):
    """Unit sentence vectors (b, 512) to (b, dim), not yet of unit length.

    The sum of two answers to which classes a text is about: a kernel regression on all anchors, and a softmax over the
    `named` first ones. anchors: (n, width) unit rows; regression: (n, dim); classes: (named, dim); common: (dim,).
    """

    anchors: Tensor
    regression: Tensor
    classes: Tensor
    common: Tensor

    def __init__(self, dim: int, anchors: int, named: int, width: int = FEATURES) -> None:
        super().__init__()
        self.named = named
        self.register_buffer("anchors", torch.zeros(anchors, width))
        self.register_buffer("regression", torch.zeros(anchors, dim))
        self.register_buffer("classes", torch.zeros(named, dim))
        self.register_buffer("common", torch.zeros(dim))

    def forward(self, vectors: Tensor) -> Tensor:
        """vectors (b, 512) of unit length. Returns (b, dim)."""
        cosines = vectors @ self.anchors.T
        learned = _kernel(cosines) @ self.regression
        nearest = _shares(cosines[:, : self.named]) @ self.classes - self.common
        return F.normalize(learned, dim=-1) + _NAMED * F.normalize(nearest, dim=-1)


@torch.no_grad()
def fit(image: ImageSpace, text: TextSpace, anchors: Tensor, about: Tensor) -> None:
    """Fill both sides, in closed form.

    Args:
        image: Changed.
        text: Changed.
        anchors: (n, width) sentence vectors of unit length.
        about: (n, classes), 1 where a class is one of an anchor's, else 0; no row is empty.
    """
    anchors, about = anchors.double(), about.double()
    each = about.sum(1, keepdim=True)
    cosines, named = anchors @ anchors.T, text.named
    target = about / each
    kernel = _kernel(cosines)
    target = target - target.mean(0)
    kernel.diagonal().add_(_RIDGE)
    regression = torch.cholesky_solve(target, torch.linalg.cholesky(kernel))
    learned = target - _RIDGE * regression  # what the kernel alone makes of the regression
    classes = (about / each.sqrt())[:named]
    nearest = torch.sparse.mm(classes.T.to_sparse(), _shares(cosines[:, :named]).T).T  # few classes an anchor
    common = _COMMON * nearest.mean(0)
    seen = F.normalize(learned, dim=-1) + _NAMED * F.normalize(nearest - common, dim=-1)
    basis = directions(F.normalize(seen, dim=-1), image.basis.shape[1])
    image.basis.copy_(basis)
    text.anchors.copy_(anchors)
    text.regression.copy_(regression @ basis)
    text.classes.copy_(classes @ basis)
    text.common.copy_(common @ basis)


def directions(rows: Tensor, dim: int) -> Tensor:
    """The `dim` directions in which rows (n, d) are largest, as orthonormal columns (d, dim).

    Turned within what they span to be as near as can be to the first `dim` axes: directions of nearly equal size would
    be others on another machine.
    """
    found = torch.linalg.eigh(rows.T @ rows)[1][:, -dim:]
    left, _, right = torch.linalg.svd(found.T[:, :dim])
    return found @ (left @ right)


def _kernel(cosines: Tensor) -> Tensor:
    return ((cosines - 1) / _WIDE).exp()


def _shares(cosines: Tensor) -> Tensor:
    return (cosines / _NARROW).softmax(-1)
