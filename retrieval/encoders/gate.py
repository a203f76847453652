"""The gate before int8: the first pictures are computed in float32 as well, and decide whether it may go on alone."""

import threading
from collections.abc import Callable

import numpy as np

from retrieval.encoders.engines import INT8, Passed
from retrieval.encoders.onnx_session import FLOAT, Session

PICTURES, NEIGHBORS = 256, 10
COSINE, OVERLAP = 0.999, 0.9  # the least of the mean cosine, and of the share of neighbors

Decided = Callable[[Passed], None]


class Fast:
    """A picture tower of int8 for which the gate is open."""

    numbers = INT8

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, *, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, s, s, c) to float32 (n, d)."""
        return self._session(pixels=pixels)


class Gate:
    """A picture tower by two engines: float32's vectors until PICTURES were compared, then those of the better one.

    For any thread. decided: told once what was found.
    """

    def __init__(self, exact: Session, fast: Session, decided: Decided) -> None:
        self._exact, self._fast, self._decided = exact, fast, decided
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []
        self._found: Passed | None = None
        self._adding = threading.Lock()

    @property
    def numbers(self) -> str:
        """What the vectors are computed in now."""
        return INT8 if self._found and self._found.is_open else FLOAT

    def __call__(self, *, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, s, s, c) to float32 (n, d)."""
        if self._found:
            return (self._fast if self._found.is_open else self._exact)(pixels=pixels)
        exact, fast = self._exact(pixels=pixels), self._fast(pixels=pixels)
        with self._adding:
            self._rows.append((exact, fast))
            if self._found is None and sum(len(rows) for rows, _ in self._rows) >= PICTURES:
                self._found = compared(*(np.concatenate(rows) for rows in zip(*self._rows, strict=True)))
                self._rows = []
                self._decided(self._found)
        return exact


def compared(exact: np.ndarray, fast: np.ndarray) -> Passed:
    """How near unit rows (n, d) of int8 are to those of float32: by themselves, and by whom they find nearest."""
    cosine = float((exact * fast).sum(1).mean())
    same = [len(set(a) & set(b)) for a, b in zip(_nearest(exact, exact), _nearest(exact, fast), strict=True)]
    overlap = float(np.mean(same)) / min(NEIGHBORS, max(1, len(exact) - 1))
    return Passed(cosine >= COSINE and overlap >= OVERLAP, cosine, overlap, len(exact))


def _nearest(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows nearest to each query that are not its own, (n, k)."""
    scores = queries @ rows.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, : min(NEIGHBORS, max(1, len(rows) - 1))]
