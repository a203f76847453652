"""ONNX Runtime: a graph is opened for queries, or rewritten once for good."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from indexes import cpu, forks

FLOAT = "float32"  # what a graph computes in, if nothing else is said

# Of parents: a forked child has not their threads, and must not wait for them when it lets go of a session.
_inherited: list[Any] = []


class Session:
    """A graph on the CPU, from named inputs to its one output. For any thread; a forked child opens its own.

    bulk: for many inputs, from many threads that each compute on one core. once: it is asked once or seldom. Its
    threads then sleep where they wait: else they take a core for as long as the graph is opened, which lasts three
    times as long by that where cores are few. steady: it is asked now and then, for hours: its weights are packed, by
    which a text takes a third of the time, and its threads sleep too.
    """

    numbers = FLOAT

    def __init__(self, file: Path, *, bulk: bool = False, once: bool = False, steady: bool = False) -> None:
        self._file, self._bulk, self._once, self._opening = file, bulk, once, forks.Lock()
        self._steady = steady
        self._session, self._process = self._opened(), os.getpid()

    def _opened(self) -> Any:
        onnxruntime = _runtime()
        options = onnxruntime.SessionOptions()
        if self._bulk:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
            options.intra_op_num_threads = 1
        elif self._steady:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
            options.intra_op_num_threads = cpu.cores()
        else:
            # A query runs the tower once: packing its weights for speed takes longer than it saves, and so does
            # rewriting the graph, which was done when it was exported.
            options.add_session_config_entry("session.disable_prepacking", "1")
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if self._once or self._steady:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self._file, options, providers=["CPUExecutionProvider"])

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        """The first output for these inputs, by name."""
        if self._process != os.getpid():
            with self._opening:
                if self._process != os.getpid():
                    _inherited.append(self._session)
                    self._session, self._process = self._opened(), os.getpid()
        return self._session.run(None, inputs)[0]


def optimize(traced: Path, graph: Path, weights: str) -> None:
    """Write `traced` anew as `graph`, rewritten for speed, with its weights in the file `weights` beside it."""
    onnxruntime = _runtime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1  # it computes nothing
    options.optimized_model_filepath = str(graph)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(traced, options, providers=["CPUExecutionProvider"])


def quantize(traced: Path, graph: Path, operations: Sequence[str], *, reduce_range: bool) -> None:
    """Write `traced` anew as `graph`, with the weights of these operations as int8, a scale for each of their columns.

    What they are multiplied with is brought to int8 where it comes. reduce_range: weights of 7 bits.
    """
    _runtime()
    from onnxruntime import quantization

    with _quiet():
        quantization.quantize_dynamic(
            traced, graph, op_types_to_quantize=list(operations), per_channel=True, reduce_range=reduce_range,
            weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that its quantization gives through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _runtime() -> Any:
    """The module, told to report nothing: retrieval/reporting.py came too late where it was imported before."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
