"""torch.compile of the towers' bodies: what a step takes before and after, and how long the compiler does."""

import os
import shutil
import time
from collections.abc import Iterator

from eval.bench.gpu import towers
from eval.bench.gpu.place import Figure, Place, Skipped
from eval.bench.gpu.training import stepper


def figures(place: Place) -> Iterator[Figure]:
    """By inductor; a dry run takes the backend that compiles nothing."""
    compilers = ("cc", "gcc", "clang")
    if place.device == "cuda" and not os.environ.get("CC") and not any(map(shutil.which, compilers)):
        raise Skipped("Triton needs a C compiler, and there is none")
    batch = place.sized(256, 4)
    for backend in ("", place.sized("inductor", "eager")):
        step = stepper(place, towers.large(place), batch, backend)
        started = time.perf_counter()
        step(0)
        place.wait()
        name = f"compile={backend}" if backend else "not compiled"
        yield Figure(f"{name}: first step", time.perf_counter() - started, "s")
        yield Figure(f"{name}: batch {batch}", batch / place.seconds(lambda: step(0)), "pictures/s")  # noqa: B023
