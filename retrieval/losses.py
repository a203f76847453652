"""Losses are pure functions of features; they know no ranks, no loop and no model.

    loss(local, world, first_row) -> scalar

`local` are my rows, `world` everyone's (on one process `world is local`), and my rows are
`world[first_row : first_row + len(local)]`. The mean of the losses over ranks is the loss of the whole batch.
To add one, write such a function and name it in LOSSES.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the ecosystem's name for it

from retrieval.datatypes import Features

Loss = Callable[[Features, Features, int], torch.Tensor]


def info_nce(local: Features, world: Features, first_row: int = 0, label_smoothing: float = 0.0) -> torch.Tensor:
    """Symmetric InfoNCE with in-batch negatives (van den Oord 2018; CLIP, Radford 2021), the mean of both directions.

    For b local rows: (CE(scale I_local T_world', row) + CE(scale T_local I_world', row)) / 2, in nats. Logits are
    float32 whatever the features are. Features at chance give ln(batch size). label_smoothing: the share of a target's
    probability that is spread over the whole batch (Szegedy 2016).
    """
    scale = local.logit_scale.float()
    target = torch.arange(first_row, first_row + len(local.image), device=local.image.device)
    per_image = scale * (local.image.float() @ world.text.float().T)  # (b, B)
    if world is local:
        per_text = per_image.T
    else:
        per_text = scale * (local.text.float() @ world.image.float().T)
    both = (F.cross_entropy(logits, target, label_smoothing=label_smoothing) for logits in (per_image, per_text))
    return sum(both) / 2


def sigmoid(local: Features, world: Features, first_row: int = 0) -> torch.Tensor:
    """Pairwise sigmoid loss (SigLIP, Zhai 2023): every picture-caption pair is a yes or no of its own.

    Sum over all pairs of -log sigmoid(z (scale i.t + bias)), z = 1 for the true pair and -1 else, over the local rows.
    """
    scale = local.logit_scale.float()
    bias = local.bias.float() if local.bias is not None else 0.0
    logits = scale * (local.image.float() @ world.text.float().T) + bias  # (b, B)
    rows = torch.arange(len(logits), device=logits.device)
    signs = -torch.ones_like(logits)
    signs[rows, rows + first_row] = 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


LOSSES: dict[str, Loss] = {"info_nce": info_nce, "sigmoid": sigmoid}
