"""Losses are pure functions of features; they know no ranks, no loop and no model.

    loss(local, world, first_row) -> scalar

`local` are my rows, `world` everyone's (on one process `world is local`), and my rows are
`world[first_row : first_row + len(local)]`. The mean of the losses over ranks is the loss of the whole batch.
To add one, write such a function and name it in LOSSES.

The logits are made in tiles (operator.py): the square of the batch is never in memory, unless it fits in `budget`
bytes, which saves making it again for the gradients.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from retrieval.datatypes import Features
from retrieval.losses.operator import ForwardOutput
from retrieval.losses.sigmoid import tiled_sigmoid
from retrieval.losses.softmax import tiled_info_nce
from retrieval.losses.tiles import FLOOR, Problem

Both = Tensor | tuple[Tensor, Tensor]

BUDGET = 128 * 2**20  # bytes of logits that are kept for the gradients, unless said


class Loss(Protocol):
    """loss(local, world, first_row): what training asks of a loss. Which options it takes is its own matter."""

    def __call__(self, local: Features, world: Features, first_row: int = 0, *args: Any, **options: Any) -> Tensor:
        """The scalar."""
        ...


class Side(NamedTuple):
    """What one side of a batch (b pictures, or b captions) met: logits, scale times cosine.

    Attributes:
        true: (b,) the best of each one's true pairs.
        hardest: (b, k) its best wrong ones, best first.
        at: (b, k) which rows of the world they are; -1 where there are fewer.
    """

    true: Tensor
    hardest: Tensor
    at: Tensor

    def recall(self, k: int = 1) -> float:
        """How often a true pair is among the first k. Ties, but for rounding, do not count.

        Args:
            k: How many answers count.

        Returns:
            The share, 0 to 1, of those that have a true pair.

        Raises:
            ValueError: Fewer than k hardest were asked for.
        """
        if k > self.hardest.shape[1]:
            raise ValueError(f"recall at {k} needs the {k} hardest: Seen(hardest={k})")
        asked = self.true > FLOOR
        found = self.hardest[:, k - 1] < self.true - 1e-6 * self.true.abs()
        return ((found & asked).sum() / asked.sum()).item()


@dataclass(slots=True)
class Seen:
    """What a loss saw of its batch, for the price of a look at each tile.

    Attributes:
        hardest: How many wrong answers to keep of each picture and each caption.
        pictures: Filled by the loss.
        captions: Filled by the loss; by the sigmoid loss only where world is local.

    Examples:
        >>> seen = Seen(hardest=10)
        >>> info_nce(features, features, seen=seen).backward()
        >>> seen.pictures.recall(10), seen.captions.at[0]
    """

    hardest: int = 1
    pictures: Side | None = None
    captions: Side | None = None


def info_nce(
    local: Features, world: Features, first_row: int = 0, label_smoothing: float = 0.0, *, ids: Both | None = None,
    same: str = "positive", weights: Both | None = None, teacher: Features | None = None, teacher_share: float = 0.5,
    seen: Seen | None = None, budget: int = BUDGET,
) -> Tensor:  # fmt: skip
    """Symmetric InfoNCE with in-batch negatives (van den Oord 2018; CLIP, Radford 2021), the mean of both directions.

    For b local rows: (CE(scale I_local T_world', row) + CE(scale T_local I_world', row)) / 2. Logits are float32
    whatever the features are (float64 of float64). Features at chance give ln(batch size).

    Args:
        local: My rows, image (b, d) and text (b, d) of unit length.
        world: Everyone's, (B, d) each; on one process the same object as local.
        first_row: Where my rows begin in the world.
        label_smoothing: The share of a target's probability that is spread over the whole batch (Szegedy 2016).
        ids: (B,) integers of the world: pairs of one id belong to each other, as captions of one picture do. Or two
            vectors, the pictures' (n,) and the captions' (m,): then n and m may differ (world is local), and one whose
            id has no partner is only ever a wrong answer.
        same: What a pair of equal ids off the diagonal is: a "positive", or "masked": neither right nor wrong. Of
            several positives each is asked for an equal share (SupCon, Khosla 2020).
        weights: (B,) of each pair's loss, or one vector a side: the loss is the weighted mean.
        teacher: Features of another encoder on the world's pairs; its targets are its own softmax.
        teacher_share: How much of the targets is the teacher's.
        seen: Filled with what the pass saw.
        budget: Bytes of logits that may be kept for the gradients.

    Returns:
        The loss in nats, a scalar with gradient to local, world and scale.

    Raises:
        ValueError: Ids, weights, a teacher or the counts of pictures and captions do not fit, or `same` is neither.

    Examples:
        >>> info_nce(features, features, ids=torch.tensor([0, 0, 1])).backward()  # two captions of one picture
    """
    options = _Options(ids, same, weights, teacher, teacher_share, seen, budget, label_smoothing)
    if world is local:
        passed = tiled_info_nce(_problem("image", "text", local, world, first_row, options, 0.5, both=True))
        _fill(seen, passed, passed)
        return passed.loss
    options = options._replace(budget=budget // 2)
    pictures = tiled_info_nce(_problem("image", "text", local, world, first_row, options, 0.5))
    captions = tiled_info_nce(_problem("text", "image", local, world, first_row, options, 0.5))
    _fill(seen, pictures, captions)
    return pictures.loss + captions.loss


def sigmoid(
    local: Features, world: Features, first_row: int = 0, *, ids: Both | None = None, same: str = "positive",
    weights: Both | None = None, teacher: Features | None = None, teacher_share: float = 0.5, seen: Seen | None = None,
    budget: int = BUDGET,
) -> Tensor:  # fmt: skip
    """Pairwise sigmoid loss (SigLIP, Zhai 2023): every picture-caption pair is a yes or no of its own.

    Sum over all pairs of -log sigmoid(z (scale i.t + bias)), z = 1 for the true pair and -1 else, over the local rows;
    divided by their number.

    Args:
        local: My rows, image (b, d) and text (b, d) of unit length, with the bias.
        world: Everyone's, (B, d) each; on one process the same object as local.
        first_row: Where my rows begin in the world.
        ids: As of info_nce.
        same: As of info_nce.
        weights: (B,) of each picture's loss: the loss is the weighted mean. Of two vectors the first counts.
        teacher: Features of another encoder on the world's pairs; its targets are the sigmoids of its own logits.
        teacher_share: How much of the targets is the teacher's.
        seen: Filled with what the pass saw: of a part of the world, pictures alone.
        budget: Bytes of logits that may be kept for the gradients.

    Returns:
        The loss in nats, a scalar with gradient to local.image, world.text, scale and bias.

    Raises:
        ValueError: Ids, weights, a teacher or the counts of pictures and captions do not fit, or `same` is neither.

    Examples:
        >>> sigmoid(features, features, weights=torch.tensor([1.0, 1.0, 0.5])).backward()
    """
    options = _Options(ids, same, weights, teacher, teacher_share, seen, budget, pairwise=True)
    passed = tiled_sigmoid(_problem("image", "text", local, world, first_row, options, 1.0))
    _fill(seen, passed, passed if world is local else None)
    return passed.loss


LOSSES: dict[str, Loss] = {"info_nce": info_nce, "sigmoid": sigmoid}
"""The losses by the name that a configuration gives.

Examples:
    >>> LOSSES["info_nce"](features, features, 0)
"""


class _Options(NamedTuple):
    ids: Both | None
    same: str
    weights: Both | None
    teacher: Features | None
    teacher_share: float
    seen: Seen | None
    budget: int
    label_smoothing: float = 0.0
    pairwise: bool = False


def _problem(
    rows: str, columns: str, local: Features, world: Features, first_row: int, options: _Options, share: float,
    both: bool = False,
) -> Problem:  # fmt: skip
    """local's `rows` ("image" or "text") against the world's `columns`; `both`: and these against those.

    share: of the whole loss, for each of the two directions.
    """
    mine, whole = two_sides(local), two_sides(world)
    _check(whole, world is local, options)
    x, y = mine[rows], whole[columns]
    here, ids = slice(first_row, first_row + len(x)), _by_side(options.ids)
    return Problem(
        x=x, y=y, scale=local.logit_scale, bias=local.bias,
        row_weights=_weights(rows, columns, whole, options)[here] * (share / len(x)),
        column_weights=_weights(columns, rows, whole, options) * (share / len(y)) if both else None,
        row_ids=None if ids is None else ids[rows][here], column_ids=None if ids is None else ids[columns],
        first=first_row, masked=ids is not None and options.same == "masked", smoothing=options.label_smoothing,
        hardest=0 if options.seen is None else options.seen.hardest,
        keep=len(x) * len(y) * torch.finfo(_dtype(x)).bits // 8 <= options.budget,
    )._replace(**_taught(rows, columns, here, options))  # fmt: skip


def _taught(rows: str, columns: str, here: slice, options: _Options) -> dict[str, Any]:
    """The fields of a Problem that a teacher fills."""
    teacher = options.teacher
    if teacher is None:
        return {}
    sides = two_sides(teacher)
    return {
        "teacher_x": sides[rows][here].detach(), "teacher_y": sides[columns].detach(),
        "teacher_scale": teacher.logit_scale.detach(),
        "teacher_bias": None if teacher.bias is None else teacher.bias.detach(),
        "teacher_share": options.teacher_share,
    }  # fmt: skip


def two_sides(features: Features) -> dict[str, Tensor]:
    """Pictures and captions by side, "image" and "text". Raises ValueError where one tower alone has spoken."""
    if features.image is None or features.text is None:
        raise ValueError("a loss needs features of pictures and of captions")
    return {"image": features.image, "text": features.text}


def _by_side(given: Both | None) -> dict[str, Tensor] | None:
    if given is None:
        return None
    image, text = (given, given) if isinstance(given, Tensor) else given
    return {"image": image, "text": text}


def _weights(side: str, other: str, world: dict[str, Tensor], options: _Options) -> Tensor:
    """Weights of a side's rows in the world, 1 on average; 0 without a partner, unless pairwise."""
    features = world[side]
    given, ids, dtype = _by_side(options.weights), _by_side(options.ids), _dtype(features)
    weights = features.new_ones(len(features), dtype=dtype) if given is None else given[side].to(dtype)
    if ids is not None and ids[side] is not ids[other] and not options.pairwise:
        weights = weights * torch.isin(ids[side], ids[other])
    return weights / weights.mean() if given is not None or ids is not None else weights


def _dtype(features: Tensor) -> torch.dtype:
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def _check(world: dict[str, Tensor], alone: bool, options: _Options) -> None:
    """Raises ValueError where the options do not fit the world's features. alone: whether these are the local ones."""
    counts = {side: len(features) for side, features in world.items()}
    if options.same not in ("positive", "masked"):
        raise ValueError(f"same={options.same!r}: use 'positive' or 'masked'")
    fits = alone and options.ids is not None and options.same == "positive"
    if counts["image"] != counts["text"] and not fits:
        raise ValueError(f"{counts['image']} pictures and {counts['text']} captions need ids, as positives, at once")
    teacher = None if options.teacher is None else two_sides(options.teacher)
    for name, given in (("ids", _by_side(options.ids)), ("weights", _by_side(options.weights)), ("teacher", teacher)):
        for side, count in counts.items():
            if given is not None and len(given[side]) != count:
                raise ValueError(f"{name} of {len(given[side])} for {count} of the world's {side} features")


def _fill(seen: Seen | None, pictures: ForwardOutput, captions: ForwardOutput | None) -> None:
    """captions: of their own pass, or of the columns of the pictures'."""
    if seen is None:
        return
    seen.pictures = _side(pictures.row_true, pictures.row_hardest, pictures.row_at)
    if captions is pictures:
        seen.captions = _side(captions.column_true, captions.column_hardest, captions.column_at)
    elif captions is not None:
        seen.captions = _side(captions.row_true, captions.row_hardest, captions.row_at)


def _side(true: Tensor, hardest: Tensor, at: Tensor) -> Side:
    return Side(true.detach(), hardest.detach(), at)
