"""Losses are pure functions of features; they know no ranks, no loop and no model.

    loss(local, world, first_row) -> scalar

`local` are my rows, `world` everyone's (on one process `world is local`), and my rows are
`world[first_row : first_row + len(local)]`. The mean of the losses over ranks is the loss of the whole batch.
To add one, write such a function and name it in LOSSES.

The logits are made in tiles (operator.py): the square of the batch is never in memory, unless it fits in `budget`
bytes, which saves making it again for the gradients.

Both take, beside what is said of each, and always of the whole world:

    ids       (B,) integers: pairs of one id belong to each other, as captions of one picture do. Or two vectors, the
              pictures' (n,) and the captions' (m,): then n and m may differ (world is local), and one whose id has no
              partner is only ever a wrong answer.
    same      what a pair of equal ids off the diagonal is: a "positive", or "masked": neither right nor wrong.
    weights   (B,) of each pair's loss, or one vector a side: the loss is the weighted mean.
    teacher   Features of another encoder on the same pairs: its answers are teacher_share of the targets.
    seen      a Seen, to be filled with what the pass saw.
    budget    bytes of logits that may be kept for the gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from retrieval.datatypes import Features
from retrieval.losses.operator import Made
from retrieval.losses.sigmoid import tiled_sigmoid
from retrieval.losses.softmax import tiled_info_nce
from retrieval.losses.tiles import FLOOR, Problem

Loss = Callable[[Features, Features, int], Tensor]
Both = Tensor | tuple[Tensor, Tensor]

BUDGET = 128 * 2**20  # bytes of logits that are kept for the gradients, unless said


class Side(NamedTuple):
    """What one side of a batch (pictures, or captions) met: logits, scale times cosine.

    true (b,): the best of its true pairs. hardest (b, k): its best wrong ones, best first. at (b, k): which rows of the
    world they are; -1 where there are fewer.
    """

    true: Tensor
    hardest: Tensor
    at: Tensor

    def recall(self, k: int = 1) -> float:
        """Of those with a true pair, the share that has one among the first k. Ties, but for rounding, do not count.

        Raises ValueError where fewer than k hardest were asked for.
        """
        if k > self.hardest.shape[1]:
            raise ValueError(f"recall at {k} needs the {k} hardest: Seen(hardest={k})")
        asked = self.true > FLOOR
        found = self.hardest[:, k - 1] < self.true - 1e-6 * self.true.abs()
        return ((found & asked).sum() / asked.sum()).item()


@dataclass(slots=True)
class Seen:
    """What a loss saw of its batch, for the price of a look at each tile. hardest: how many wrong answers to keep.

    pictures and captions are filled by the loss; the sigmoid loss of a part of the world fills pictures alone.
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

    For b local rows: (CE(scale I_local T_world', row) + CE(scale T_local I_world', row)) / 2, in nats. Logits are
    float32 whatever the features are (float64 of float64). Features at chance give ln(batch size).
    label_smoothing: the share of a target's probability that is spread over the whole batch (Szegedy 2016). Of several
    positives each is asked for an equal share (SupCon, Khosla 2020). The teacher's targets are its own softmax.
    Raises ValueError where ids or sizes do not fit.
    """
    options = _Options(ids, same, weights, teacher, teacher_share, seen, budget, label_smoothing)
    if world is local:
        made = tiled_info_nce(_problem("image", "text", local, world, first_row, options, 0.5, both=True))
        _fill(seen, made, made)
        return made.loss
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
    divided by their number. weights are the pictures'. The teacher's targets are the sigmoids of its own logits.
    Raises ValueError where ids or sizes do not fit.
    """
    options = _Options(ids, same, weights, teacher, teacher_share, seen, budget, pairwise=True)
    made = tiled_sigmoid(_problem("image", "text", local, world, first_row, options, 1.0))
    _fill(seen, made, made if world is local else None)
    return made.loss


LOSSES: dict[str, Loss] = {"info_nce": info_nce, "sigmoid": sigmoid}


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
    _check(local, world, options)
    x, y, teacher = getattr(local, rows), getattr(world, columns), options.teacher
    mine, ids = slice(first_row, first_row + len(x)), _sides(options.ids)
    return Problem(
        x=x, y=y, scale=local.logit_scale, bias=local.bias,
        row_weights=_weights(rows, columns, world, options)[mine] * (share / len(x)),
        column_weights=_weights(columns, rows, world, options) * (share / len(y)) if both else None,
        row_ids=None if ids is None else ids[rows][mine], column_ids=None if ids is None else ids[columns],
        first=first_row, masked=ids is not None and options.same == "masked", smoothing=options.label_smoothing,
        teacher_x=None if teacher is None else getattr(teacher, rows)[mine].detach(),
        teacher_y=None if teacher is None else getattr(teacher, columns).detach(),
        teacher_scale=None if teacher is None else teacher.logit_scale.detach(),
        teacher_bias=None if teacher is None or teacher.bias is None else teacher.bias.detach(),
        teacher_share=0.0 if teacher is None else options.teacher_share,
        hardest=0 if options.seen is None else options.seen.hardest,
        keep=len(x) * len(y) * torch.finfo(_dtype(x)).bits // 8 <= options.budget,
    )  # fmt: skip


def _sides(given: Both | None) -> dict[str, Tensor] | None:
    if given is None:
        return None
    image, text = (given, given) if isinstance(given, Tensor) else given
    return {"image": image, "text": text}


def _weights(side: str, other: str, world: Features, options: _Options) -> Tensor:
    """Of the world's rows of a side, one on average; nothing for those that have no partner and ask for none."""
    features = getattr(world, side)
    given, ids, dtype = _sides(options.weights), _sides(options.ids), _dtype(features)
    weights = features.new_ones(len(features), dtype=dtype) if given is None else given[side].to(dtype)
    if ids is not None and ids[side] is not ids[other] and not options.pairwise:
        weights = weights * torch.isin(ids[side], ids[other])
    return weights / weights.mean() if given is not None or ids is not None else weights


def _dtype(features: Tensor) -> torch.dtype:
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def _check(local: Features, world: Features, options: _Options) -> None:
    counts = {"image": len(world.image), "text": len(world.text)}
    if options.same not in ("positive", "masked"):
        raise ValueError(f"same={options.same!r}: use 'positive' or 'masked'")
    fits = world is local and options.ids is not None and options.same == "positive"
    if counts["image"] != counts["text"] and not fits:
        raise ValueError(f"{counts['image']} pictures and {counts['text']} captions need ids, as positives, at once")
    teacher = None if options.teacher is None else {"image": options.teacher.image, "text": options.teacher.text}
    for name, given in (("ids", _sides(options.ids)), ("weights", _sides(options.weights)), ("teacher", teacher)):
        for side, count in counts.items():
            if given is not None and len(given[side]) != count:
                raise ValueError(f"{name} of {len(given[side])} for {count} of the world's {side} features")


def _fill(seen: Seen | None, pictures: Made, captions: Made | None) -> None:
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
