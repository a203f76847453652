"""FUSIONS: every way to bring modalities together, by name.

To add one, write a Fusion (heads/blocks.py) and name it here: training, saving, `mmr head` and the tests that hold for
all fusions pick it up. A modality's own name (image, text, ...) is that modality alone.
"""

import difflib
from collections.abc import Iterable

from torch import Tensor, nn

from retrieval.errors import BadRequest
from retrieval.heads import probes
from retrieval.heads.blocks import Fusion
from retrieval.heads.config import HeadConfig
from retrieval.heads.fusions import graph, multitask, pooled, sequences, stacking, structure

# By the name that --fusion and HeadConfig.fusion take. FUSIONS["attention"](dims, outputs, width=..., dropout=...) is
# an untrained module, as `build` makes it from a config; its forward(vectors, present) gives logits (b, outputs).
FUSIONS: dict[str, type[Fusion]] = {
    "concat": pooled.Concat,
    "mean": pooled.Mean,
    "max": pooled.Max,
    "weighted": pooled.Weighted,
    "attention": pooled.Attention,
    "gated": pooled.Gated,
    "bilinear": pooled.Bilinear,
    "conv": sequences.Conv,
    "self_attention": sequences.SelfAttention,
    "transformer": sequences.Transformer,
    "cross_attention": sequences.CrossAttention,
    "common_space": structure.CommonSpace,
    "align": structure.Align,
    "ensemble": structure.Ensemble,
    "experts": structure.Experts,
    "stacking": stacking.Stacking,
    "graph": graph.Graph,
}


def check(fusion: str, modalities: Iterable[str]) -> None:
    """Raise BadRequest for a name that is neither a modality nor a fusion, with the nearest one."""
    known = [*modalities, *FUSIONS]
    if fusion not in known:
        near = difflib.get_close_matches(fusion, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"use --fusion with one of {', '.join(known)}"
        raise BadRequest(f"no fusion `{fusion}`: {hint}")


def looks_inside(fusion: str) -> bool:
    """Does it tell the elements of a sequence apart?"""
    return fusion in FUSIONS and FUSIONS[fusion].looks_inside


def build(config: HeadConfig, dims: dict[str, int], outputs: int) -> Fusion:
    """The fusion that a config names, untrained. Raises BadRequest for one that is not known, or does not fit."""
    options: dict = {"width": config.width, "dropout": config.dropout}
    check(config.fusion, dims)
    if config.fusion in dims:
        return pooled.Only(dims, outputs, config.fusion, **options)
    if config.concepts and config.fusion != "graph":
        raise BadRequest("--set concepts= is for --fusion graph: use that, or leave it out")
    options["width"] //= FUSIONS[config.fusion].narrow
    if config.fixed_weights is not None:
        options["weights"] = config.fixed_weights
    try:
        return FUSIONS[config.fusion](dims, outputs, **options)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"--fusion {config.fusion} cannot be made so ({error}): change --set") from error


def rebuild(config: HeadConfig, dims: dict[str, int], outputs: int, tensors: dict[str, Tensor]) -> nn.Module:
    """The module that was saved: built from its config and filled. Raises what torch raises where they do not fit."""
    if config.head not in probes.TRAINED:
        return probes.rebuild(config, dims, outputs, tensors)
    body = build(config, dims, config.shared or outputs)
    module = multitask.TaskPart(body, nn.Linear(body.outputs, outputs)) if config.shared else body
    module.like(tensors)
    module.load_state_dict(tensors)
    return module
