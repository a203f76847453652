"""An encoder for many pictures, by the engine that is fastest on this machine (engines.py).

Its towers are exported once, and the engines tried, in a process of its own (exporting.py), since torch takes seconds
to import: where another engine is taken, this process never does. What lies in the cache is compared with its seal
before it is believed.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from indexes import distribution
from retrieval import cache
from retrieval.callbacks import OnMessage, no_message
from retrieval.encoders import engines, openvino_session, query_encoder, sealed, weights
from retrieval.encoders.engines import AUTO, INT8, ONNX, OPENVINO, TORCH, Passed
from retrieval.encoders.gate import COSINE, OVERLAP, Fast, Gate
from retrieval.encoders.onnx_export import IMAGE, IMAGE_INT8
from retrieval.encoders.onnx_session import Session
from retrieval.encoders.openvino_session import OpenVino
from retrieval.encoders.protocol import Encoder
from retrieval.encoders.query_encoder import QueryEncoder, Tower
from retrieval.errors import BadRequest

if TYPE_CHECKING:
    from retrieval.encoders.encoder import DualEncoder

FEW = 64  # pictures that are encoded sooner than an encoder is made ready


def load_for_bulk(
    name: str, device: str = "cpu", on_message: OnMessage = no_message, engine: str = AUTO,
    are_few: Callable[[], bool] = lambda: False,
) -> Encoder:  # fmt: skip
    """The encoder of that name, ready for many pictures.

    Args:
        name: As `load_encoder` takes it.
        device: "auto", "cpu" or "cuda"; a GPU is torch's in any case.
        on_message: Called with a line for a person: what takes a while, or is slower than it could be.
        engine: One of engines.ENGINES; "auto" takes the fastest.
        are_few: Asked where the encoder is not ready on this machine: True where that is not worth its time.

    Returns:
        A QueryEncoder with a lane a core, or a DualEncoder in its fastest precision.

    Raises:
        BadRequest, MissingModel: As `load_encoder` does; BadRequest also for an unknown engine.
    """
    if engine not in engines.ENGINES:
        raise BadRequest(f"unknown engine `{engine}`: use one of {', '.join(engines.ENGINES)}")
    if engine == OPENVINO and not openvino_session.is_installed():
        raise BadRequest(f"engine openvino is not installed: {distribution.install(OPENVINO)}, or leave it to auto")
    if engine != TORCH and device != "cuda" and not (device == "auto" and _may_have_gpu()):
        ready = _ready(name, engine, on_message, are_few)
        if ready:
            return ready
    from retrieval.encoders.load import load_encoder  # torch

    return load_encoder(name, device).to_fast_precision()


def _may_have_gpu() -> bool:
    """Is there a driver of one? torch, which knows, takes seconds to import."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and (Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None)


def _ready(name: str, asked: str, on_message: OnMessage, are_few: Callable[[], bool]) -> QueryEncoder | None:
    """The exported encoder, exported now where it is not yet; None where torch is to be taken.

    Where it cannot be exported on_message is told.
    """
    found = _opened(name, asked, on_message)
    if not found and not are_few():
        on_message(f"making {name} ready for this machine, once: about half a minute")
        problem = _export(name)
        found = _opened(name, asked, on_message)
        if not found:
            reason = problem or f"what lies in {cache.folder()} is another encoder"
            on_message(f"{name} could not be made ready ({reason}): it is loaded whole, which is slower")
    return found if isinstance(found, QueryEncoder) else None


def _opened(name: str, asked: str, on_message: OnMessage) -> QueryEncoder | Literal["torch"] | None:
    """The encoder by an engine of ONNX Runtime's, or that torch is to be taken.

    None where it is not exported, was not tried on this processor, or what lies in the cache is damaged.
    """
    fingerprint = weights.fingerprint(name)
    tried = engines.recorded(cache.folder(cache.QUERY) / fingerprint) if fingerprint else None
    if not fingerprint or not tried:
        return None
    engine = engines.best_for(name, tried) if asked == AUTO else asked
    if engine == OPENVINO and not openvino_session.is_installed():  # any more
        engine = ONNX
    if engine == TORCH:
        return "torch"

    def load() -> "DualEncoder":
        from retrieval.encoders.load import load_encoder

        return load_encoder(name)

    def tower(folder: Path) -> Tower | None:
        if engine == INT8:
            return _int8_tower(folder, asked, on_message)
        return _openvino(folder / IMAGE) if engine == OPENVINO else _session(folder / IMAGE)

    return query_encoder.open_for_bulk(fingerprint, name, load, tower)


def _session(graph: Path) -> Session | None:
    return Session(graph, bulk=True) if sealed.is_whole(graph) else None


def _openvino(graph: Path) -> Tower | None:
    return OpenVino(graph) if sealed.is_whole(graph) else None


def _int8_tower(folder: Path, asked: str, on_message: OnMessage) -> Tower | None:
    """int8 where the gate is open, float32 where it is shut or there is no int8; both while that is not known."""
    tried = engines.recorded(folder)
    gate = tried.gate if tried else None
    if not (folder / IMAGE_INT8).is_file() or gate and not gate.is_open:
        if asked == INT8:
            on_message(
                _shut(gate) if gate else "this encoder has no int8 form, as it is no transformer: float32 is used"
            )
        return _session(folder / IMAGE)
    fast = _session(folder / IMAGE_INT8)
    if fast is None or gate:
        return fast and Fast(fast)
    exact = _session(folder / IMAGE)

    def decided(found: Passed) -> None:
        engines.record_gate(folder, found)
        on_message(_opened_gate(found) if found.is_open else _shut(found))

    return exact and Gate(exact, fast, decided)


def _opened_gate(found: Passed) -> str:
    return (
        f"int8 from here on: of {found.pictures} pictures its vectors have a mean cosine of {found.cosine:.4f} to "
        f"float32's, and {found.overlap:.0%} of their neighbors (--engine {ONNX} for float32)"
    )


def _shut(found: Passed) -> str:
    return (
        f"float32 is used: int8's vectors have a mean cosine of {found.cosine:.4f} to its own ({COSINE} is asked) and "
        f"{found.overlap:.0%} of their neighbors ({OVERLAP:.0%})"
    )


def _export(name: str) -> str:
    """Export in a process of its own; "" or what was wrong, on one line."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), *sys.path)))
    with contextlib.suppress(OSError):  # -P: a picture folder that one is in may hold a numpy.py
        done = subprocess.run(
            [sys.executable, "-P", "-m", "retrieval.encoders.exporting", name],
            env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip
        said = done.stderr.strip().splitlines()
        return "" if done.returncode == 0 else said[-1] if said else f"its process ended with {done.returncode}"
    return "no process could be started"
