"""What computes an encoder's pictures on this machine: tried once (trial.py), remembered beside what was exported.

    torch     the encoder itself: bfloat16 where the processor multiplies it, else float32
    onnx      ONNX Runtime, float32
    openvino  OpenVINO where it is installed: bfloat16 or float32, as torch
    int8      ONNX Runtime, matrices of int8: only through a gate (gate.py), by the user's own pictures

The vectors of all are those of one encoder. engines.json, in the folder of an exported encoder:

    {PROCESSOR: {"milliseconds": {"torch": 73.1, "onnx": 121.0, "int8": 38.2}, "gate": {...} or null}}
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from indexes import cpu, durable, typed
from indexes.typed import Malformed, Meta
from retrieval import cache
from retrieval.encoders import builtin

TORCH, ONNX, OPENVINO, INT8, AUTO = "torch", "onnx", "openvino", "int8", "auto"
ENGINES = (AUTO, TORCH, ONNX, OPENVINO, INT8)
FILE = "engines.json"
CLEARLY = 1.2  # times as fast: less is within the noise of a short trial, and pays for no import of torch and no gate

Share = Annotated[float, Meta(ge=-1.01, le=1.01)]


@dataclass(frozen=True, slots=True)
class Passed:
    """What the gate found: the mean cosine of int8's vectors to float32's, and the share of ten neighbors they share.

    is_open: both are high enough. pictures: that were compared.
    """

    is_open: bool
    cosine: Share
    overlap: Share
    pictures: Annotated[int, Meta(ge=1)]


@dataclass(frozen=True, slots=True)
class Tried:
    """milliseconds: of one core for a picture, by engine; one that is not there cannot be had. gate: None: not yet."""

    milliseconds: dict[str, Annotated[float, Meta(ge=0)]] = field(default_factory=dict)
    gate: Passed | None = None

    def best(self, torch: bool = True) -> str:
        """The engine to take: a slower one only where the faster one is hardly so, and costs more before it begins.

        torch: it may be taken, too.
        """
        found = ONNX
        for name in (OPENVINO, TORCH, INT8):  # what begins sooner before what begins later
            shut = name == INT8 and self.gate is not None and not self.gate.is_open
            if not shut and (torch or name != TORCH) and self._of(name) * CLEARLY < self._of(found):
                found = name
        return found

    def _of(self, engine: str) -> float:
        return self.milliseconds.get(engine, float("inf"))


def best_for(name: str, tried: Tried) -> str:
    """The engine to take for the encoder of that name. `builtin` is promised to import no torch."""
    return tried.best(torch=name != builtin.NAME)


def recorded(folder: Path) -> Tried | None:
    """What was tried on this processor of the encoder that was exported into a folder; None before that."""
    return _read(folder).get(cpu.processor())


def record(folder: Path, tried: Tried) -> None:
    """Remember it. A cache that cannot be written is no matter: it is tried again."""
    with contextlib.suppress(OSError):
        every = {name: asdict(one) for name, one in (_read(folder) | {cpu.processor(): tried}).items()}
        durable.write_bytes(folder / FILE, json.dumps(every).encode())


def record_gate(folder: Path, found: Passed) -> None:
    """Remember what the gate found."""
    record(folder, replace(recorded(folder) or Tried(), gate=found))


def on_this_machine() -> Iterator[tuple[str, Tried]]:
    """The name of each encoder that was tried on this processor, and what came of it."""
    for cached in cache.encoders():
        if tried := recorded(cached.path):
            yield cached.name or "", tried


def _read(folder: Path) -> dict[str, Tried]:
    try:
        return typed.read(folder / FILE, dict[str, Tried])
    except (OSError, Malformed):
        return {}
