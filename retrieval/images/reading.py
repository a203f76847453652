"""The text in a picture, by RapidOCR on ONNX Runtime (extra `ocr`), whose package carries its models.

It runs in a guarded process alone (worker.py), on one core. Its models are those of the package, compared with what
they should be before they are read: nothing is ever fetched.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from retrieval import packages
from retrieval.packages import Package

PACKAGE = Package(
    name="ocr", distribution="rapidocr", version="3.10.0", module="rapidocr", license="Apache-2.0", megabytes=27,
    extra="ocr",
    files={
        "models/PP-OCRv6_det_small.onnx": "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
        "models/PP-OCRv6_rec_small.onnx": "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
        "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx":
            "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    },
)  # fmt: skip
LONGEST = 1600  # pixels of the longer side as it is looked at: ten points on a page of A4 are 19 of them
AT_LEAST = 1200  # pixels of the shorter side that a picture is decoded with: what is shrunk once more stays sharp
SURE = 0.65  # of a line, as the model says it; leaves and fences that look like letters stay below it
MOST = 10_000  # characters of a picture


class Box(NamedTuple):
    """A piece of text where it stands: the middle of its box from the top and from the left, its height, in pixels."""

    text: str
    top: float
    left: float
    height: float


class Reader:
    """Reads pictures, decoded with `at_least` pixels of the shorter side, where they have them.

    Raises MissingModel where the package is gone, or its models are not what they should be.
    """

    at_least = AT_LEAST

    def __init__(self) -> None:
        detect, recognize, turn = map(str, packages.files_of(PACKAGE).values())
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(1)
        self._ask = RapidOCR(params={
            "Det.model_path": detect, "Rec.model_path": recognize, "Cls.model_path": turn,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1, "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "Global.max_side_len": LONGEST, "Global.text_score": SURE, "Global.log_level": "critical",
        })  # fmt: skip

    def __call__(self, image: Image.Image) -> str:
        """The text of an upright RGB picture, its lines from the top down; "" where there is none."""
        found: Any = self._ask(np.ascontiguousarray(np.asarray(image)[:, :, ::-1]))
        if found.txts is None:
            return ""
        return in_order([_box(text, corners) for text, corners in zip(found.txts, found.boxes, strict=True)])


def _box(text: str, corners: np.ndarray) -> Box:
    """corners: (4, 2), x and y, clockwise from the first of the text."""
    left, top = corners.mean(0)
    return Box(text, float(top), float(left), float(np.linalg.norm(corners[3] - corners[0])))


def in_order(boxes: Sequence[Box]) -> str:
    """The texts from the top down, those of a line from left to right; as many whole lines as MOST characters hold.

    A box is of a line where its middle is within half a height of that of the one before it.
    """
    lines: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box.top):
        last = lines[-1][-1] if lines else None
        if last and box.top - last.top <= min(box.height, last.height) / 2:
            lines[-1].append(box)
        else:
            lines.append([box])
    told = (" ".join(box.text for box in sorted(line, key=lambda box: box.left)) for line in lines)
    return _bounded("\n".join(told))


def _bounded(text: str) -> str:
    if len(text) <= MOST:
        return text
    return text[:MOST].rpartition("\n")[0] or text[:MOST]
