"""What each place does for the vector of a picture, told by showing the picture in halves.

A transformer carries what it sees from place to place, and where it ends in a mean it need not leave anything where it
was seen: what ends in a patch, or is the value of one, need not be what the patch shows. But it can be asked with some
patches left out. So a picture is looked at in random halves, and a place is the mean vector of the halves that show it
less that of the halves that do not (RISE: Petsiuk, Das and Saenko 2018, who darken what is left out here). Halves hang
together in clumps about as large as things are, and of each the rest of the picture is looked at too, so that every
place is shown as often as it is not. docs/log.md has what each of these is worth.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

PAIRS = 64  # of halves; half as many cost 1.5 points of a hundred, twice as many gave half a point (docs/log.md)
_CLUMP = 3  # clumps across a picture, about
_AT_ONCE = 8192  # tokens that go through a tower at once


def halves(rows: int, columns: int, pairs: int = PAIRS) -> Tensor:
    """Which places of a grid a half shows, bool (pairs, rows * columns); the others are the half beside it.

    They are the same each time, so that a map is. Of an odd number of places the half has the smaller part.
    """
    clump = max(1, round(min(rows, columns) / _CLUMP))
    drawn = torch.randn(pairs, 1, rows + clump - 1, columns + clump - 1, generator=torch.Generator().manual_seed(0))
    ranks = F.avg_pool2d(drawn, clump, 1).flatten(1).argsort(1, descending=True).argsort(1)
    return ranks < rows * columns // 2


def by_halves(look: Callable[[Tensor], Tensor], tokens: Tensor, rows: int, columns: int) -> Tensor:
    """How much nearer to each side of the space a picture is with each of its places than without it.

    Args:
        look: Takes some of the tokens of pictures, (b, some, width), and gives their unit vectors, (b, dim).
        tokens: All of them, (b, rows * columns, width), row by row.
        rows: Of the grid.
        columns: Of the grid.

    Returns:
        (b, rows, columns, dim). The product of one with a unit vector is a difference of cosines. A picture of a single
        place is that place: its unit vector.
    """
    count = rows * columns
    if count == 1:
        return look(tokens)[:, None, None]
    shown = halves(rows, columns).to(tokens.device)
    parts = shown.split(max(1, _AT_ONCE // (len(tokens) * count)))
    more = torch.cat([_seen(look, tokens, some) - _seen(look, tokens, ~some) for some in parts], 1)  # (b, pairs, dim)
    signs = torch.where(shown, 1, -1).to(more)
    return (torch.einsum("bpd,pn->bnd", more, signs) / len(shown)).unflatten(1, (rows, columns))


def _seen(look: Callable[[Tensor], Tensor], tokens: Tensor, shown: Tensor) -> Tensor:
    """Unit vectors of pictures (b, n, width) seen in parts, bool (parts, n), equally large: (b, parts, dim)."""
    where = shown.nonzero()[:, 1].unflatten(0, (len(shown), -1))
    return look(tokens[:, where].flatten(0, 1)).unflatten(0, (len(tokens), len(shown)))
