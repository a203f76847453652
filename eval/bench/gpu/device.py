"""What the device can do at best: what other figures are compared with."""

from collections.abc import Iterator

import torch

from eval.bench.gpu.place import Figure, Place

# TFLOP/s of dense bfloat16 by the makers' data sheets (SXM where there are several), by a part of the device's name.
NOMINAL = {
    "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200": 989, "GH200": 989, "B200": 2250, "A100": 312, "L40S": 362,
    "L40": 181, "L4": 121, "A10": 125, "RTX 4090": 165, "RTX 3090": 71,
}  # fmt: skip


def figures(place: Place) -> Iterator[Figure]:
    """Products, memory, and the way from the host."""
    for dtype in (torch.bfloat16, torch.float32):
        note = f"data sheet: {known:g}" if dtype == torch.bfloat16 and (known := nominal(place)) else ""
        yield Figure(
            f"matrix product, {str(dtype).removeprefix('torch.')}", place.matmul_tflops(dtype), "TFLOP/s", note
        )
    size = place.sized(2**30, 2**20)
    here = torch.empty(size, dtype=torch.uint8, device=place.device)
    there, host = torch.empty_like(here), torch.zeros(size, dtype=torch.uint8)
    yield Figure("memory, read and written", 2 * size / place.seconds(lambda: there.copy_(here)) / 1e9, "GB/s")
    yield Figure("host to device, pageable", size / place.seconds(lambda: here.copy_(host)) / 1e9, "GB/s")


def nominal(place: Place) -> float | None:
    """TFLOP/s of bfloat16 by the data sheet; None where that is not known here."""
    name = torch.cuda.get_device_name() if place.device == "cuda" else ""
    return next((float(tflops) for part, tflops in NOMINAL.items() if part in name), None)


def shares(place: Place, tflops: float) -> Iterator[Figure]:
    """What share of the device's best a speed is."""
    yield Figure("speed", tflops, "TFLOP/s")
    yield Figure("share of a large matrix product here", 100 * tflops / place.matmul_tflops(), "%")
    if known := nominal(place):
        yield Figure("share of the data sheet", 100 * tflops / known, "%")
