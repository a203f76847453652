"""Does CUDA give what the CPU gives? Losses, gradients of a step, and encodings, but for what rounding may change.

Float32 products are exact to about 1e-6; cuDNN's convolutions multiply float32 in TF32, to about 1e-3; bfloat16 keeps
eight bits, 4e-3 of each number.
"""

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eval.bench.gpu.place import Figure, Place, distance
from retrieval.datatypes import Features
from retrieval.encoders.build import small_encoder
from retrieval.encoders.encoder import DualEncoder
from retrieval.losses.contrastive import info_nce, sigmoid
from retrieval.towers.tower import Spec
from retrieval.training.dataset import Batch
from retrieval.training.step import backward

CAPTIONS = [f"{color} {thing} {where}" for color in ("a red", "two green", "three blue")
            for thing in ("dog", "house", "boat", "bird") for where in ("at night", "in the snow")]  # fmt: skip
TOWERS: dict[str, tuple[Spec, Spec]] = {
    "conv and transformer": ({}, {}),
    "vit and gru": ({"type": "vit", "layers": 2}, {"type": "gru"}),
    "timm and lstm": ({"type": "timm"}, {"type": "lstm"}),
}
FLOAT32, TF32, BFLOAT16 = 1e-4, 5e-2, 2e-2  # the greatest relative distances


def figures(place: Place) -> Iterator[Figure]:
    """All of it."""
    yield from _losses(place)
    for name, (image, text) in TOWERS.items():
        torch.manual_seed(0)
        size = place.sized(96, 32)
        timm = {"name": place.sized("resnet50", "test_resnet"), "size": size} if image.get("type") == "timm" else {}
        encoder = small_encoder(CAPTIONS, dim=64, image_size=size, image=image | timm, text=text)
        yield from _step(place, name, encoder)
        yield from _encodings(place, name, encoder)


# ---------------------------------------------------------------- losses


def _losses(place: Place) -> Iterator[Figure]:
    count, dim = place.sized((5000, 128), (600, 16))  # several tiles, the last ones cut short
    drawn = torch.Generator().manual_seed(0)
    image, text, teacher = (F.normalize(torch.randn(count, dim, generator=drawn), dim=-1) for _ in range(3))
    ids = torch.arange(count) // 2
    ways: dict[str, Callable[[Features], Tensor]] = {
        "info_nce": lambda f: info_nce(f, f),
        "info_nce, with ids": lambda f: info_nce(f, f, ids=_beside(f, ids)),
        "info_nce, with a teacher": lambda f: info_nce(f, f, teacher=_taught(f, teacher)),
        "sigmoid": lambda f: sigmoid(f, f),
    }
    for name, loss in ways.items():
        for dtype, most in ((torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16)):
            rounded = [side.to(dtype) for side in (image, text)]
            right = _graded(loss, [side.float() for side in rounded], "cpu")
            found = _graded(loss, rounded, place.device)
            kind = f"{name}, {str(dtype).removeprefix('torch.')}"
            yield Figure(f"{kind}: loss", distance(found[0], right[0]), "relative", most=FLOAT32)
            yield Figure(f"{kind}: gradients", _all(found[1:], right[1:]), "relative", most=most)


def _graded(loss: Callable[[Features], Tensor], sides: list[Tensor], device: str) -> list[Tensor]:
    """The loss, and the gradients of both sides, the scale and the bias where it has one."""
    image, text = (side.to(device).requires_grad_() for side in (side.clone() for side in sides))
    scale, bias = (torch.tensor(x, device=device, requires_grad=True) for x in (20.0, -10.0))
    value = loss(Features(image, text, scale, bias))
    value.backward()
    return [value, *(each.grad for each in (image, text, scale, bias) if each.grad is not None)]


def _beside(f: Features, other: Tensor) -> Tensor:
    assert f.image is not None
    return other.to(f.image.device)


def _taught(f: Features, teacher: Tensor) -> Features:
    there = _beside(f, teacher)
    return Features(there, there.roll(1, 0), _beside(f, torch.tensor(10.0)))


def _all(found: list[Tensor], right: list[Tensor]) -> float:
    return max(distance(one, other) for one, other in zip(found, right, strict=True))


# ---------------------------------------------------------------- towers


def _step(place: Place, name: str, encoder: DualEncoder) -> Iterator[Figure]:
    batch = _batch(encoder)
    right = _gradients(encoder, batch, "cpu")
    for pieces in (0, 5):
        found = _gradients(encoder, batch, place.device, pieces)
        of = f"{name}: gradients of a step" + (", a few pairs at a time" if pieces else "")
        yield Figure(of, distance(found, right), "relative", most=TF32)


def _batch(encoder: DualEncoder) -> Batch:
    size = encoder.preprocess.size
    images = torch.randint(0, 256, (len(CAPTIONS), size, size, 3), generator=torch.Generator().manual_seed(1))
    tokens = torch.from_numpy(encoder.tokenize(CAPTIONS))[:, None]
    return Batch(images.float(), tokens, np.arange(len(CAPTIONS)))


def _gradients(encoder: DualEncoder, batch: Batch, device: str, pieces: int = 0) -> Tensor:
    """Of all weights, one behind the other."""
    model = copy.deepcopy(encoder).to(device).train()
    backward(model, batch, info_nce, pieces)
    return torch.cat([each.grad.flatten().cpu() for each in model.parameters() if each.grad is not None])


def _encodings(place: Place, name: str, encoder: DualEncoder) -> Iterator[Figure]:
    size = encoder.preprocess.size
    pictures = list(np.random.default_rng(2).integers(0, 256, (64, size, size, 3), np.uint8))
    right, words = encoder.encode_images(pictures), encoder.encode_texts(CAPTIONS)
    moved = copy.deepcopy(encoder).to(place.device)
    yield Figure(f"{name}: pictures", _lost(moved.encode_images(pictures), right), "1 - cosine, worst", most=1e-4)
    yield Figure(f"{name}: texts", _lost(moved.encode_texts(CAPTIONS), words), "1 - cosine, worst", most=1e-4)
    moved.to_fast_precision("bf16")
    yield Figure(
        f"{name}: pictures, bfloat16", _lost(moved.encode_images(pictures), right), "1 - cosine, worst", most=1e-2
    )


def _lost(found: np.ndarray, right: np.ndarray) -> float:
    return float(1 - (found.astype(np.float64) * right).sum(1).min())
