"""The encoders that are measured: large ones of known cost, and pictures for them that need no file."""

import io
from functools import partial

import numpy as np
from PIL import Image

from eval.bench.gpu.place import Place
from retrieval.datatypes import Item
from retrieval.encoders.build import small_encoder
from retrieval.encoders.encoder import DualEncoder

CAPTIONS = [f"number {number} of the drawn scenes, with a {word} in it" for number in range(50)
            for word in ("dog", "house", "boat", "red bird")]  # fmt: skip


def large(place: Place) -> DualEncoder:
    """ViT-B/16 of timm at 224 pixels, beside CLIP's text transformer: 12 layers of 512."""
    name, size = place.sized(("vit_base_patch16_224", 224), ("test_vit", 32))
    width, layers = place.sized((512, 12), (64, 1))
    return small_encoder(
        CAPTIONS, dim=512, image_size=size, image={"type": "timm", "name": name, "size": size},
        text={"type": "transformer", "width": width, "layers": layers, "pooling": "mean"}, context=64,
    )  # fmt: skip


def noise(count: int, size: int) -> np.ndarray:
    """Pictures of no content: uint8 (count, size, size, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def items(count: int, size: int) -> list[Item]:
    """Pictures as JPEG files in memory; few different ones, for what they show costs nothing."""
    files = []
    for picture in noise(min(count, 16), size // 8):
        file = io.BytesIO()
        Image.fromarray(picture).resize((size, size)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return [Item(str(i), str(i), partial(files.__getitem__, i % len(files))) for i in range(count)]
