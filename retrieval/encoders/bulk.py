"""An encoder for many pictures: by ONNX Runtime and without torch where its name is in WITHOUT_TORCH, else by torch.

Both towers are exported once, in a process of its own (exporting.py), since torch takes seconds to import. What lies in
the cache is compared with its seal before it is believed.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval import cache
from retrieval.callbacks import OnMessage, no_message
from retrieval.encoders import builtin, query_encoder
from retrieval.encoders.protocol import Encoder
from retrieval.encoders.query_encoder import QueryEncoder

if TYPE_CHECKING:
    from retrieval.encoders.encoder import DualEncoder

# The name of an encoder -> its fingerprint, which is known without loading it.
WITHOUT_TORCH: dict[str, Callable[[], str]] = {builtin.NAME: builtin.fingerprint}


def load_for_bulk(name: str, device: str = "cpu", on_message: OnMessage = no_message) -> Encoder:
    """The encoder of that name, ready for many pictures.

    Args:
        name: As `load_encoder` takes it.
        device: "auto", "cpu" or "cuda"; the last is torch's in any case.
        on_message: Called with a line for a person: what takes a while, or is slower than it could be.

    Returns:
        A QueryEncoder with a lane a core, or a DualEncoder in its fastest precision.

    Raises:
        BadRequest, MissingModel: As `load_encoder` does.
    """
    if device != "cuda" and name in WITHOUT_TORCH:
        ready = _ready(name, device, on_message)
        if ready:
            return ready
    from retrieval.encoders.load import load_encoder  # torch

    return load_encoder(name, device).to_fast_precision()


def _ready(name: str, device: str, on_message: OnMessage) -> QueryEncoder | None:
    """The exported encoder, exported now where it is not yet; None where that fails, of which on_message is told."""
    fingerprint = WITHOUT_TORCH[name]()
    if found := _opened(name, fingerprint, device):
        return found
    on_message(f"making {name} ready, once: about half a minute")
    problem = _export(name)
    if not problem and (found := _opened(name, fingerprint, device)):
        return found
    reason = problem or f"what lies in {cache.folder()} is another encoder"
    on_message(f"{name} could not be made ready ({reason}): it is loaded whole, which is slower")
    return None


def _opened(name: str, fingerprint: str, device: str) -> QueryEncoder | None:
    def load() -> "DualEncoder":
        from retrieval.encoders.load import load_encoder

        return load_encoder(name, "cpu" if device == "auto" else device)

    return query_encoder.open_for_bulk(fingerprint, name, load)


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
