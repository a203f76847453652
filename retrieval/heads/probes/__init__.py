"""HEADS: every head on one vector, by name; how one is fitted, and built again from a file.

The vector is that of one modality (`--fusion image`), of all of them side by side (`concat`), or their mean direction
(`mean`, of those that share the encoder's space). A missing modality adds nothing.
"""

import difflib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrieval.errors import BadRequest
from retrieval.heads.blocks import Vectors, pooled
from retrieval.heads.config import HeadConfig
from retrieval.heads.probes import adapters, linear
from retrieval.heads.probes.linear import Rows

# By the name that --head and HeadConfig.head take. HEADS["ridge"](rows) fits twice: to all rows, and without those held
# out, on which its score and its surety are measured. Both are modules: unit vectors (b, d) to logits (b, classes).
HEADS: dict[str, Callable[[Rows], tuple[nn.Module, nn.Module]]] = {
    "zero_shot": linear.zero_shot,
    "knn": linear.knn,
    "prototypes": linear.prototypes,
    "ridge": linear.ridge,
    "logistic": linear.logistic,
    "tip": adapters.tip,
    "tip_f": adapters.tip_f,
    "clip_adapter": adapters.clip_adapter,
    "lp++": adapters.lp_plus_plus,
}
WITH_WORDS = ("zero_shot", "tip", "tip_f", "clip_adapter", "lp++")
TRAINED = ("fusion", "mlp")  # the fusion itself is trained; of one modality that is an MLP


class OneVector(nn.Module):
    """Modalities as one vector of unit length, and a probe on it."""

    def __init__(self, names: tuple[str, ...], mean: bool, probe: nn.Module) -> None:
        super().__init__()
        self.names, self.mean, self.probe = names, mean, probe

    def joined(self, vectors: Vectors, present: Vectors) -> Tensor:
        """(b, d): side by side, or added; of unit length, zeros where nothing is there."""
        parts = [F.normalize(pooled(vectors[name], present[name])[0], dim=-1) for name in self.names]
        together = torch.stack(parts).sum(0) if self.mean else torch.cat(parts, 1)
        return F.normalize(together, dim=1)

    def forward(self, vectors: Vectors, present: Vectors) -> Tensor:
        """Logits (b, outputs)."""
        return self.probe(self.joined(vectors, present))


def names_of(config: HeadConfig, dims: dict[str, int]) -> tuple[tuple[str, ...], bool]:
    """Which modalities make the vector, and whether they are added. Raises BadRequest."""
    if config.head not in HEADS:
        near = difflib.get_close_matches(config.head, HEADS, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"use --head with one of {', '.join([*TRAINED, *HEADS])}"
        raise BadRequest(f"no head `{config.head}`: {hint}")
    if config.fusion in dims:
        return (config.fusion,), False
    if config.fusion == "concat" and config.head not in WITH_WORDS:
        return tuple(dims), False
    one_space = tuple(name for name in dims if name in ("image", "sound", "text") and dims[name] == dims.get("text"))
    if config.fusion == "mean" and len(one_space) > 1:
        return one_space, True
    able = [*dims, "mean", *(["concat"] if config.head not in WITH_WORDS else [])]
    raise BadRequest(f"--head {config.head} wants one vector: use --fusion with one of {', '.join(able)}")


def fit_probe(
    config: HeadConfig, dims: dict[str, int], learn: tuple[Vectors, Vectors, Tensor],
    held: tuple[Vectors, Vectors, Tensor], classes: int, words: Tensor | None,
) -> tuple[OneVector, OneVector]:  # fmt: skip
    """The head that `config` names, fitted to `learn` (vectors, present, target) and chosen on `held`; without them.

    words: unit vectors of the classes' names, (classes, d). Raises BadRequest where the vector is not of their space.
    """
    names, mean = names_of(config, dims)
    module = OneVector(names, mean, nn.Identity())
    vectors, others = (module.joined(part[0], part[1]) for part in (learn, held))
    if config.head in WITH_WORDS and words is not None and vectors.shape[1] != words.shape[1]:
        raise BadRequest(f"--head {config.head} compares with the words of classes: use --fusion image, text or mean")
    rows = Rows(vectors, learn[2], others, held[2], classes, words, config.seed)
    both = [OneVector(names, mean, probe).requires_grad_(False).eval() for probe in HEADS[config.head](rows)]
    return both[0] if config.refit else both[1], both[1]


def rebuild(config: HeadConfig, dims: dict[str, int], outputs: int, tensors: dict[str, Tensor]) -> OneVector:
    """The head that was saved. Raises KeyError or what torch raises where the tensors do not fit."""
    names, mean = names_of(config, dims)
    module = OneVector(names, mean, _untrained(config, outputs, tensors))
    module.load_state_dict(tensors)
    return module.requires_grad_(False)


def _untrained(config: HeadConfig, outputs: int, tensors: dict[str, Tensor]) -> nn.Module:
    """A probe of the size that these tensors have."""
    shapes = {name.removeprefix("probe."): tensor.shape for name, tensor in tensors.items()}
    if config.head == "knn":
        return linear.NearestRows(shapes["vectors"][1], outputs, shapes["vectors"][0])
    if config.head in ("tip", "tip_f"):
        return adapters.Tip(shapes["keys"][1], outputs, shapes["keys"][0])
    if config.head == "clip_adapter":
        return adapters.ClipAdapter(shapes["words"][1], outputs)
    if config.head == "lp++":
        return adapters.LpPlusPlus(shapes["weight"][1], outputs)
    return linear.Linear(shapes["weight"][1], outputs)
