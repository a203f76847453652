"""`builtin`: pictures found by words of sixteen languages, without a pair and without a download.

It is made of two packages' weights and of the words in words/ (towers/space.py). What that takes seconds for is kept in
the cache. Its fingerprint is known without it.

    words/classes.txt   the classes of ImageNet, a line each, in the order of the logits
    words/seen.txt      CLASSES: what else is in pictures of a class; a sentence; a sentence
    words/scenes.txt    CLASSES: a scene, and what a classifier of ImageNet makes of it

CLASSES are numbers of lines of the first file, from 0, and ranges of them, as in 12-20.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retrieval import packages
from retrieval.errors import MissingModel

if TYPE_CHECKING:
    from torch import Tensor

    from retrieval.encoders.encoder import DualEncoder
    from retrieval.towers.space import ImageSpace, TextSpace
    from retrieval.towers.use_tower import UseTower

NAME, DIM = "builtin", 768
PARTS = ("efficientnet-lite2", "use")  # of which packages it is made
_RECIPE = 1  # another number for other vectors, where neither weights nor words are others
_WORDS = Path(__file__).parent / "words"
_CLASSES, _SEEN, _SCENES = "classes.txt", "seen.txt", "scenes.txt"


class Anchor(NamedTuple):
    """A text, and the classes that pictures of it show."""

    text: str
    classes: tuple[int, ...]


def require() -> None:
    """Raise MissingModel where a package of its is not installed; whether it is whole is seen when it is read."""
    for name in PARTS:
        if not packages.is_installed(package := packages.PACKAGES[name]):
            raise MissingModel(
                f"`{NAME}` needs the weights of {package.distribution}, which are not installed: "
                f"{packages.way_on(package)}"
            )


@cache
def fingerprint() -> str:
    """16 hex digits of the SHA-256 of all that decides its vectors: the packages' weights, the words, the recipe."""
    digest = hashlib.sha256(f"{NAME} {_RECIPE} {DIM}\n".encode())
    for name in PARTS:
        for file, known in sorted(packages.PACKAGES[name].files.items()):
            digest.update(f"{file} {known}\n".encode())
    for file in (_CLASSES, _SEEN, _SCENES):
        digest.update((_WORDS / file).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def load() -> "DualEncoder":
    """Make it, on the CPU. Raises MissingModel where a package is gone or altered."""
    from retrieval import engine  # torch
    from retrieval.encoders.build import small_encoder

    require()
    anchors, named = read_anchors()
    with engine.one_thread():
        encoder = small_encoder(
            [], dim=DIM, image_size=224, image={"type": NAME, "pretrained": "yes"},
            text={"type": NAME, "anchors": len(anchors), "named": named, "pretrained": "yes"},
        )  # fmt: skip
        _fill(encoder, anchors)
    encoder.eval().known_as(fingerprint())
    return encoder


def read_anchors() -> tuple[list[Anchor], int]:
    """All anchors, and how many of them the nearest are looked for in: the classes' names and what is seen of each."""
    names = [Anchor(name, (place,)) for place, name in enumerate(_lines(_CLASSES))]
    seen = [anchor for line in _lines(_SEEN) for anchor in parse(line)]
    scenes = [anchor for line in _lines(_SCENES) for anchor in parse(line)]
    return [*names, *seen, *scenes], len(names) + len(seen)


def parse(line: str) -> list[Anchor]:
    """ "7 9-11: a hen; a bird" as two anchors, each of the classes 7, 9, 10 and 11."""
    numbers, _, texts = line.partition(":")
    classes: list[int] = []
    for part in numbers.split():
        first, _, last = part.partition("-")
        classes += range(int(first), int(last or first) + 1)
    return [Anchor(text.strip(), tuple(sorted(set(classes)))) for text in texts.split(";")]


def _lines(file: str) -> list[str]:
    lines = (_WORDS / file).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _fill(encoder: "DualEncoder", anchors: list[Anchor]) -> None:
    """Give both sides their space: the one in the cache, or a new one, which is kept."""
    import torch

    from retrieval.encoders import kept
    from retrieval.towers.builtin import BuiltinImageTower, BuiltinTextTower

    image, text = encoder.image_tower, encoder.text_tower
    assert isinstance(image, BuiltinImageTower) and isinstance(text, BuiltinTextTower), "built so"
    sides = torch.nn.ModuleDict({"image": image.space, "text": text.space})
    found = kept.read(NAME, fingerprint())
    if found is None:
        _fit(image.space, text.space, _vectors(encoder, text.use, anchors), anchors)
        kept.write(NAME, fingerprint(), {name: tensor.numpy() for name, tensor in sides.state_dict().items()})
    else:
        sides.load_state_dict({name: torch.from_numpy(array) for name, array in found.items()})


def _vectors(encoder: "DualEncoder", use: "UseTower", anchors: list[Anchor]) -> "Tensor":
    import torch

    with torch.inference_mode():
        return use.features(torch.from_numpy(encoder.tokenize([anchor.text for anchor in anchors])))


def _fit(image: "ImageSpace", text: "TextSpace", vectors: "Tensor", anchors: list[Anchor]) -> None:
    import torch

    from retrieval.towers import space

    about = torch.zeros(len(anchors), len(image.basis))
    for row, anchor in zip(about, anchors, strict=True):
        row[list(anchor.classes)] = 1
    space.fit(image, text, vectors, about)
