"""Towers: an image tower and a text tower, each (batch) -> (batch, dim), not yet of unit length.

Every tower (tower.py) has a `body`, which may run in bfloat16, and ends in float32. What a tower needs to be built
again is the dict it was built from (`spec`), so that a run folder can hold it. Parameters that weight decay is to spare
it names in `no_weight_decay`, if it has any beside biases, norms and nn.Embedding (training/weight_decay.py).
docs/reference/towers.md has the towers in one table; a TrainConfig's settings become specs in encoders/config.py. To
add one, write such a module and name it in IMAGE_TOWERS or TEXT_TOWERS.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from torch import nn

from retrieval.towers.anchored import AnchoredTower
from retrieval.towers.bridged import BridgedTower, ImagePrior, TextPrior
from retrieval.towers.builtin import BuiltinImageTower, BuiltinTextTower
from retrieval.towers.combined import BesideTower, EnsembleTower
from retrieval.towers.conv import ConvTower
from retrieval.towers.image import PixelMlp, VitTower
from retrieval.towers.listening import AstTower, MelTower
from retrieval.towers.open_clip_towers import image_side, text_side
from retrieval.towers.packaged import image_side as packaged_image
from retrieval.towers.packaged import text_side as packaged_text
from retrieval.towers.places_tower import PlacesTower
from retrieval.towers.products import TextProducts
from retrieval.towers.recurrent import RecurrentTower
from retrieval.towers.sentence_tower import sentence_side
from retrieval.towers.static_tower import StaticTower
from retrieval.towers.text import TextTransformer
from retrieval.towers.timm_tower import TimmTower
from retrieval.towers.tower import ImageTower, Spec, TextTower, Tower

IMAGE_TOWERS: dict[str, Callable[..., ImageTower]] = {
    "conv": ConvTower, "vit": VitTower, "mlp": PixelMlp, "timm": TimmTower, "open_clip": image_side,
    "package": packaged_image, "products": PlacesTower, "builtin": BuiltinImageTower, "mel": MelTower, "ast": AstTower,
}  # fmt: skip
TEXT_TOWERS: dict[str, Callable[..., TextTower]] = {
    "transformer": TextTransformer, "lstm": partial(RecurrentTower, cell="lstm"),
    "gru": partial(RecurrentTower, cell="gru"), "rnn": partial(RecurrentTower, cell="rnn"), "open_clip": text_side,
    "package": packaged_text, "products": TextProducts, "sentence": sentence_side, "static": StaticTower,
    "builtin": BuiltinTextTower,
}  # fmt: skip


Side = TypeVar("Side", bound=Tower)


def build(towers: Mapping[str, Callable[..., Side]], dim: int, spec: Spec) -> Side:
    """A tower from its spec: {"type": name in the dict, ...arguments}. Random weights come from torch's generator."""
    arguments = {
        key: tuple(value) if isinstance(value, list) else value for key, value in spec.items() if key != "type"
    }
    return towers[spec["type"]](dim, **arguments)


def _ensemble(
    towers: Mapping[str, Callable[..., Tower]], dim: int, parts: Sequence[Spec], dims: Sequence[int],
    shares: Sequence[float],
) -> EnsembleTower:  # fmt: skip
    built = [build(towers, size, part) for size, part in zip(dims, parts, strict=True)]
    return EnsembleTower(built, dims, shares)


def _beside(dim: int, parts: Sequence[Spec], **settings: Any) -> BesideTower:
    return BesideTower(dim, [build(TEXT_TOWERS, 1, part) for part in parts], **settings)


def _bridged(
    towers: Mapping[str, Callable[..., Tower]], prior: Callable[..., nn.Module], dim: int, tower: Spec, inner: int,
    how: Spec, share: float,
) -> BridgedTower:  # fmt: skip
    return BridgedTower(build(towers, inner, tower), inner, prior(**how), how, share)


def _anchored(dim: int, tower: Spec) -> AnchoredTower:
    return AnchoredTower(build(TEXT_TOWERS, dim, tower), dim)


TEXT_TOWERS["anchored"] = _anchored
IMAGE_TOWERS["bridged"] = partial(_bridged, IMAGE_TOWERS, ImagePrior)
TEXT_TOWERS["bridged"] = partial(_bridged, TEXT_TOWERS, TextPrior)
IMAGE_TOWERS["ensemble"] = partial(_ensemble, IMAGE_TOWERS)
TEXT_TOWERS["ensemble"] = partial(_ensemble, TEXT_TOWERS)
TEXT_TOWERS["beside"] = _beside
