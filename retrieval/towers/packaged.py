"""Towers whose weights come by pip (retrieval/packages.py): `image_tower=package:NAME`, `text_tower=package:NAME`.

Such a tower is `features(inputs)`, its body as it was trained, then a last layer of its own. Its spec holds its name; a
saved run holds all its weights, so that it opens where the package is gone. To add one, write such a module and name it
in IMAGES or TEXTS by its package's short name.
"""

from collections.abc import Callable
from typing import Any

from retrieval import packages
from retrieval.errors import BadRequest
from retrieval.towers import efficientnet_lite
from retrieval.towers.efficientnet_lite import LiteTower
from retrieval.towers.sentence_tower import minilm_side
from retrieval.towers.tower import ImageTower, TextTower
from retrieval.towers.use_tower import UseTower

IMAGES: dict[str, type[ImageTower]] = {efficientnet_lite.NAME: LiteTower}
TEXTS: dict[str, Callable[..., TextTower]] = {"use": UseTower, "minilm": minilm_side}


def short_name(name: str, known: dict[str, Any]) -> str:
    """The key of `known` for a package by either of its names. Raises BadRequest where there is none."""
    package = packages.named(name)
    if package is None or package.name not in known:
        have = ", ".join(f"package:{one}" for one in known)
        raise BadRequest(f"no tower `package:{name}` for this side: {f'use {have}' if have else 'use another kind'}")
    return package.name


def image_side(dim: int, name: str, **settings: Any) -> ImageTower:
    """The image tower of a package. settings: as its class has them."""
    return IMAGES[short_name(name, IMAGES)](dim, **settings)


def text_side(dim: int, name: str, **settings: Any) -> TextTower:
    """The text tower of a package. settings: as its class has them."""
    return TEXTS[short_name(name, TEXTS)](dim, **settings)
