"""Pictures a second, encoded in bulk: the towers alone, and from JPEG files on, which a few threads decode."""

import time
from collections.abc import Iterator

from torch.utils.flop_counter import FlopCounterMode

from eval.bench.gpu import device, towers
from eval.bench.gpu.place import Figure, Place
from retrieval.encoders.encoding import encode


def figures(place: Place) -> Iterator[Figure]:
    """ViT-B/16 in the precision that is taken by itself."""
    encoder = towers.large(place).to(place.device).eval().to_fast_precision()
    size, count = encoder.preprocess.size, place.sized(4096, 16)
    pictures = list(towers.noise(count, size))
    with FlopCounterMode(display=False) as counted:
        encoder.encode_images(pictures[:8])
    seconds = place.seconds(lambda: encoder.encode_images(pictures, encoder.bulk))
    yield Figure("ViT-B/16 of arrays", count / seconds, "pictures/s")
    yield from device.shares(place, counted.get_total_flops() / 8 * count / seconds / 1e12)
    words = towers.CAPTIONS * place.sized(40, 1)
    yield Figure("texts", len(words) / place.seconds(lambda: encoder.encode_texts(words)), "texts/s", "float32")
    items = towers.items(place.sized(2048, 16), place.sized(512, 64))
    started = time.perf_counter()
    done = sum(len(part.vectors) for part in encode(items, encoder))
    assert done == len(items)  # none is damaged
    yield Figure(
        f"from JPEG files of {place.sized(512, 64)} pixels on", done / (time.perf_counter() - started), "pictures/s"
    )
