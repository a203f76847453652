"""Towers whose vectors hold products: which quality is whose, and what comes before what.

A sum of what is there cannot say which of two things is the red one. The sum of the products of each thing with its
quality can (tensor products, Smolensky 1990), and composes: a picture and a caption agree on a pair of the two as soon
as they agree on the thing and on the quality, also where the pair was never seen. Both sides make the same five parts,
so nothing has to be learned between them:

    rest           what a bag of words says, and its picture
    things         the sum of the codes of all that is named, or stands at a place
    qualities      the sum of theirs
    bound          the sum of the products of each thing with its quality
    ordered        the sum of the products of each thing with what stands to the right of it

Each part is brought to unit length and has a learned weight. In a text a quality is what the word before a thing says,
and a word between two things says by how much the former is left of the latter, or the latter of the former.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.towers.layers import PAD, RowDropout
from retrieval.towers.text import word_table
from retrieval.towers.tower import TextTower

THINGS, QUALITIES = 16, 12  # numbers in the codes
PRODUCTS = THINGS + QUALITIES + THINGS * QUALITIES + THINGS * THINGS
LEAST_REST = 36
LEAST_DIM = PRODUCTS + LEAST_REST
_SOFT = 0.1  # added to a part's length: one of next to nothing stays small


class Parts(nn.Module):
    """The five parts as one vector, each of about unit length times its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.log_weights = nn.Parameter(torch.zeros(5))

    def forward(self, rest: Tensor, things: Tensor, qualities: Tensor, bound: Tensor, ordered: Tensor) -> Tensor:
        """rest (b, dim - PRODUCTS), things (b, T), qualities (b, Q), bound (b, T, Q), ordered (b, T, T)."""
        parts = (rest, things, qualities, bound.flatten(1), ordered.flatten(1))
        scaled = [part / (part.norm(dim=1, keepdim=True) + _SOFT) for part in parts]
        return torch.cat([part * weight for part, weight in zip(scaled, self.log_weights.exp(), strict=True)], 1)


class TextProducts(TextTower):
    """Tokens (b, l) to (b, dim): a bag of words beside the products of things, their qualities and their order.

    spec: {"vocabulary", "width", "context"}; dim at least LEAST_DIM.
    """

    body: nn.ModuleList

    def __init__(self, dim: int, vocabulary: int, width: int = 128, context: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.spec = {
            "type": "products", "vocabulary": vocabulary, "width": width, "context": context, "dropout": dropout,
        }  # fmt: skip
        self.body = nn.ModuleList()
        self.words = word_table(vocabulary, width, std=0.5)
        self.dropout = RowDropout(dropout)
        self.thing, self.is_thing = nn.Linear(width, THINGS), nn.Linear(width, 1)
        self.quality, self.relation = nn.Linear(width, QUALITIES), nn.Linear(width, 2)
        self.project, self.parts = nn.Linear(width, dim - PRODUCTS), Parts()

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (b, l) integers, PAD at the end of a line. Returns (b, dim)."""
        seen = (tokens != PAD)[..., None].float()
        words = self.words(tokens)
        bag = words.sum(1) / seen.sum(1).clamp(min=1)
        share = self.is_thing(words).sigmoid() * seen
        things, qualities = self.thing(words) * share, self.quality(F.pad(words[:, :-1], (0, 0, 1, 0)))
        bound = things.transpose(1, 2) @ qualities
        sides = F.softplus(self.relation(words) - 2) * seen
        rest = self.project(self.dropout(bag))
        return self.parts(rest, things.sum(1), (qualities * share).sum(1), bound, ordered(things, sides))


def ordered(things: Tensor, sides: Tensor) -> Tensor:
    """The sum over the words of what stands before each, times what stands behind it, (b, T, T).

    things (b, l, T); sides (b, l, 2): by how much a word says that what is before it stands to the left, and to the
    right.
    """
    before = things.cumsum(1) - things
    behind = things.sum(1, keepdim=True) - before - things
    left, right = sides[..., :1], sides[..., 1:]
    return (before * left).transpose(1, 2) @ behind + (behind * right).transpose(1, 2) @ before
