"""Products, lengths and conversions by NumKong: numbers of eight or sixteen bits, as fast as memory is read.

NumKong has kernels for each generation of processors and takes those of this one. It imports in a millisecond. Where
there is none (`can`), rows are searched without a scan: slower, with the same answers.
"""

import importlib.util
from functools import cache

import numpy as np

FEW = 2  # up to so many queries each read all rows: quicker than the kernel for many, which takes sixteen at once


@cache
def can() -> bool:
    """Is NumKong installed?"""
    return importlib.util.find_spec("numkong") is not None


class Columns:
    """Queries as they are multiplied with rows again and again.

    queries: int8 or float16 (q, d).
    """

    def __init__(self, queries: np.ndarray) -> None:
        import numkong

        self.queries, self.count = np.ascontiguousarray(queries), len(queries)
        self._packed = numkong.dots_pack(self.queries) if self.count > FEW else None

    def times(self, rows: np.ndarray) -> np.ndarray:
        """(n, q), int32 and exact for int8, float32 and summed in it for float16. For any thread; others may run.

        rows: (n, d) of the queries' type, contiguous; they may be mapped.
        """
        import numkong

        if self._packed is not None:
            return np.asarray(numkong.dots_packed(rows, self._packed))
        found = np.asarray(numkong.cdist(self.queries, rows, "dot"))  # float64
        return found.astype(np.int32 if rows.dtype == np.int8 else np.float32).T


def squares(rows: np.ndarray) -> np.ndarray:
    """The squared length of each row, (n,): rows float16 (n, d), contiguous."""
    import numkong

    return np.asarray(numkong.dot(rows, rows), np.float64)


def as_float32(rows: np.ndarray) -> np.ndarray:
    """float16 rows (n, d) as float32: twenty times as fast as NumPy."""
    if not can():
        return rows.astype(np.float32)
    import numkong

    return np.asarray(numkong.astype(rows, "float32"))
