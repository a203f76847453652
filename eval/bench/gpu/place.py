"""What a part is given and what it gives: where it runs, figures, and a reason to be left out."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

Size = TypeVar("Size")
ROUNDS = 3


class Skipped(Exception):
    """This part, or what is left of it, cannot run here. The message says why."""


class Figure(NamedTuple):
    """Something measured. value: None where it could not be. most: what it may be; above that, the part has failed."""

    name: str
    value: float | None
    unit: str
    note: str = ""
    most: float | None = None

    @property
    def is_wrong(self) -> bool:
        """Is it above what it may be, or no number?"""
        return self.most is not None and not (self.value is not None and self.value <= self.most)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part runs. device: "cuda", or "cpu" for a dry run, which is tiny. folder: for its files."""

    device: str
    folder: Path

    def sized(self, real: Size, tiny: Size) -> Size:
        """One of two sizes: the second for a dry run."""
        return real if self.device == "cuda" else tiny

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], rounds: int = ROUNDS) -> float:
        """The median time of some rounds, after one that does not count."""
        times = []
        for _ in range(rounds + 1):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - started)
        return sorted(times[1:])[rounds // 2]

    def generator(self, seed: int) -> torch.Generator:
        """Of random numbers on the device."""
        return torch.Generator(self.device).manual_seed(seed)

    def matmul_tflops(self, dtype: torch.dtype = torch.bfloat16) -> float:
        """TFLOP/s of a large matrix product: what this device reaches, whatever its data sheet says."""
        side = self.sized(8192, 256)
        x = torch.randn(side, side, device=self.device, generator=self.generator(0)).to(dtype)
        return 2 * side**3 / self.seconds(lambda: x @ x, 5) / 1e12


def distance(found: torch.Tensor, right: torch.Tensor) -> float:
    """|found - right| / |right|, in float64 on the CPU."""
    found, right = found.detach().double().cpu(), right.detach().double().cpu()
    return float((found - right).norm() / right.norm().clamp(min=1e-300))


def plain(value: float | None) -> float | None:
    """A number as JSON can hold it, at six digits; None for what is no number."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
