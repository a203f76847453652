"""Several looks at a picture, whose vectors' mean is that of the picture (test-time augmentation; Krizhevsky 2012).

Only what encodes looks more than once: in training a picture is shown another way each time as it is.
"""

import functools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

CLOSER = 0.8  # of either side is what the second view shows


def encode_views(tower: Callable[[Tensor], Tensor], pictures: Tensor, count: int) -> Tensor:
    """What a tower says of pictures (b, c, s, s), as unit rows (b, d): `count` times the work. count: 1, 2 or 4."""
    if count == 1:
        return F.normalize(tower(pictures), dim=-1)
    looks = (F.normalize(tower(view), dim=-1) for view in views(pictures, count))
    return F.normalize(functools.reduce(torch.add, looks), dim=-1)


def views(pictures: Tensor, count: int) -> Iterator[Tensor]:
    """The pictures (b, c, s, s); then their middle, as large; then the mirror images of both."""
    looks = (pictures, closer(pictures))[:count]
    yield from looks
    if count > len(looks):
        yield from (torch.flip(look, (-1,)) for look in looks)


def closer(pictures: Tensor) -> Tensor:
    """The middle of pictures (b, c, s, s), enlarged to their size."""
    size = int(pictures.shape[-1])  # a number also where the tower is traced: pictures have one size
    shown = round(size * CLOSER)
    start = (size - shown) // 2
    middle = pictures[..., start : start + shown, start : start + shown]
    return F.interpolate(middle, (size, size), mode="bilinear", align_corners=False)
