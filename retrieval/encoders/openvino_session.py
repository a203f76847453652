"""OpenVINO, where it is installed: an exported picture tower for many pictures."""

import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np

from indexes import cpu


def is_installed() -> bool:
    """Is it? It is not imported."""
    return importlib.util.find_spec("openvino") is not None


class OpenVino:
    """A graph on the CPU, from pixels to its one output: for many threads, that each compute on one core.

    numbers: bfloat16 where the processor multiplies it, else float32.
    """

    def __init__(self, graph: Path) -> None:
        import openvino

        self.numbers = "bfloat16" if cpu.has_fast_bf16() else "float32"
        precision = {"bfloat16": "bf16", "float32": "f32"}[self.numbers]
        threads = cpu.cores()
        how = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads, "INFERENCE_PRECISION_HINT": precision}
        self._compiled: Any = openvino.Core().compile_model(str(graph), "CPU", how)
        self._of_thread = threading.local()

    def __call__(self, *, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, s, s, c) to float32 (n, d)."""
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        return np.array(request.infer({0: pixels})[0], np.float32)
