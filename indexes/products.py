"""Products of whole numbers of eight bits, exact, by ONNX Runtime: as fast as the processor has them, without torch."""

import importlib.util
import os
from typing import Any

import numpy as np

from indexes import cpu, forks

# Two graphs of one node, MatMulInteger of rows (uint8 less 128) and columns (int8, or uint8 less 128), of any shapes.
# Stored, since importing onnx to make them takes longer than a search.
_HEAD = "0a01410a01420a017a"
_NODE = (
    "120159220d4d61744d756c496e74656765721201672a0910022a02800142017a5a150a0141"
    "12100a0e0802120a0a0312016e0a031201645a150a"
)
_TAIL = "120a0a031201640a0312017162150a015912100a0e0806120a0a0312016e0a0312017142040a001011"
SIGNED = bytes.fromhex(f"08083a700a1b{_HEAD}{_NODE}014212100a0e0803{_TAIL}")
UNSIGNED = bytes.fromhex(f"08083a730a1e{_HEAD}0a017a{_NODE}014212100a0e0802{_TAIL}")
_making = forks.Lock()
_sessions: dict[int, tuple[Any, bool]] = {}  # by process: a forked child has not its parent's threads, nor ends them


def can() -> bool:
    """Is ONNX Runtime installed?"""
    return importlib.util.find_spec("onnxruntime") is not None


def products(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """int32 (n, q): the products of rows, uint8 (n, d) with 128 added, and columns, int8 (d, q). For any thread."""
    session, signed = _sessions.get(os.getpid()) or _opened()
    return _run(session, rows, columns, signed)


def _run(session: Any, rows: np.ndarray, columns: np.ndarray, signed: bool) -> np.ndarray:
    return session.run(None, {"A": rows, "B": columns if signed else columns.view(np.uint8) ^ 128})[0]


def _opened() -> tuple[Any, bool]:
    """A session of this process, of signed columns where the processor multiplies them without overflow.

    Without VNNI the sum of two products is held in sixteen bits, which is too few: the greatest numbers show it.
    """
    with _making:
        if os.getpid() not in _sessions:
            rows, columns = np.full((64, 64), 255, np.uint8), np.full((64, 64), 127, np.int8)
            session = _session(SIGNED)
            signed = all(
                (_run(session, rows, side, True) == 127 * 64 * int(side[0, 0])).all() for side in (columns, -columns)
            )
            _sessions[os.getpid()] = (session, True) if signed else (_session(UNSIGNED), False)
    return _sessions[os.getpid()]


def _session(graph: bytes) -> Any:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin where they wait would take the cores of what comes next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = cpu.cores()
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
