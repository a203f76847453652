"""Products, lengths and conversions by NumKong: numbers of eight or sixteen bits, as fast as memory is read.

NumKong has kernels for each generation of processors and takes those of this one. It imports in a millisecond. Where
there is none (`can`), rows are searched without a scan: slower, with the same answers.
"""

import importlib.util
from functools import cache

import numpy as np

SCORED_AT_ONCE = 1 << 12  # rows whose float32 is made at once
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
    """float16 rows (n, d) as float32: twenty times as fast as NumPy. Those of float32 stay."""
    if rows.dtype == np.float32 or not can():
        return rows.astype(np.float32, copy=False)
    import numkong

    return np.asarray(numkong.astype(rows, "float32"))


def scores(vectors: np.ndarray, queries: np.ndarray, numbers: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """float32 (n,): the inner product of each query, by its number, and the stored row at its offset.

    One pair at a time: to the last bit the same whatever else is asked, and in however many parts the rows lie.
    """
    found = np.empty(len(numbers), np.float32)
    for start in range(0, len(numbers), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        found[part] = np.einsum("ij,ij->i", as_float32(vectors[offsets[part]]), queries[numbers[part]])
    return found
