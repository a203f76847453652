"""A trial of a second or two: how long each engine takes for a picture of an exported encoder, on one core."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retrieval import engine
from retrieval.encoders import openvino_session
from retrieval.encoders.engines import INT8, ONNX, OPENVINO, TORCH, Tried
from retrieval.encoders.onnx_export import IMAGE, IMAGE_INT8
from retrieval.encoders.onnx_session import Session
from retrieval.encoders.openvino_session import OpenVino

if TYPE_CHECKING:
    from retrieval.encoders.encoder import DualEncoder

PICTURES, ROUNDS, LONG = 8, 3, 1.0  # LONG: seconds of a round after which there is no other


def try_out(encoder: "DualEncoder", folder: Path) -> Tried:
    """Try all engines that there are. The encoder is in its fastest precision afterwards."""
    shape = (PICTURES, encoder.preprocess.size, encoder.preprocess.size, encoder.preprocess.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ways: dict[str, Callable[[], object]] = {}
    for name, file in ((ONNX, folder / IMAGE), (INT8, folder / IMAGE_INT8)):
        if file.is_file():
            ways[name] = functools.partial(Session(file, bulk=True), pixels=pixels)
    if openvino_session.is_installed():
        ways[OPENVINO] = functools.partial(OpenVino(folder / IMAGE), pixels=pixels)
    encoder.to_fast_precision()
    ways[TORCH] = lambda: encoder.encode_images(list(pixels))
    with engine.one_thread():
        return Tried({name: round(_milliseconds(way), 3) for name, way in ways.items()})


def _milliseconds(way: Callable[[], object]) -> float:
    """Of the processor, for a picture: the least of some rounds, since others may use it too."""
    taken = []
    for _ in range(ROUNDS + 1):  # the first makes what is made once
        started = time.process_time()
        way()
        taken.append(time.process_time() - started)
        if taken[-1] > LONG:
            break
    return 1000 * min(taken[1:] or taken) / PICTURES
