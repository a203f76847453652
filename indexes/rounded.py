"""What an exact search scans instead of float32, and how far from the truth that may be: `Halves`, `Codes`.

Halves are the float16 rows where they lie. A query q is divided by its greatest number w and rounded to float16, h, so
a = w <h, x> is as far from <q, x> as that rounding and float32's in the sum can bring it (Cauchy-Schwarz):

    e = |q - w h| |x| + |w h| |x| d 2^-23

Codes take half the bytes and an eighth of the work. Rows less their mean m, divided by one step s, are rounded to c in
-127..127, and a query to z with a step w of its own. The product of c and z is exact, so a = <q, m> + s w <c, z> and

    e = |q - w z| |s c| + |q| |x - m - s c|, and what float32 loses where the parts were measured
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from indexes import cpu, forks
from indexes.kernels import Columns, as_float32, squares

COPY_BYTES = 6 << 30  # of low-precision rows kept in memory for all segments together
PIECE_ROWS = 1 << 13  # rows rounded, or measured, at once
SAMPLE = 4096  # rows whose mean is taken: any vector keeps the proof, a good one makes it narrow
LOST = 2.0**-22  # of a sum of products, for each of its numbers: twice what float32 loses
_GREATEST = int(np.iinfo(np.int32).max)
_making = forks.Lock()


class Asked:
    """Queries in low precision, with what turns a product into a score: base + scale * product, give or take error.

    base, scale, error: float64 (q,). whole: are the products whole numbers?
    """

    def __init__(
        self, queries: np.ndarray, base: np.ndarray, scale: np.ndarray, error: np.ndarray, whole: bool
    ) -> None:
        self.columns, self.base, self.scale, self.error = Columns(queries), base, scale, error
        self.type = np.dtype(np.int32 if whole else np.float32)
        # What a row that may not answer scores, what any other has at least, and what none has.
        self.dead: float = -_GREATEST if whole else -np.inf
        self.lowest: float = -_GREATEST + 1 if whole else float(np.finfo(np.float32).min)
        self.never: float = _GREATEST if whole else np.inf

    def least(self, floor: np.ndarray) -> np.ndarray:
        """(q,): the least product of a row that may score floor (q,) or more."""
        with np.errstate(over="ignore"):
            least = (floor - self.error - self.base) / self.scale
        if self.type == np.int32:
            return np.clip(np.floor(least), self.lowest, self.never - 1).astype(np.int32)
        return np.clip(np.nextafter(least.astype(np.float32), np.float32(-np.inf)), self.lowest, -self.lowest)


class Rows(Protocol):
    """Rows (n, d) to be scanned, of the vectors (n, d), float16, that they stand for."""

    vectors: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """int8 or float16 (n, d)."""
        ...

    def asked(self, queries: np.ndarray) -> Asked:
        """Queries float32 (q, d) as these rows are asked."""
        ...


class Halves:
    """The rows of a segment as they are stored: nothing is made but the length of the longest, once."""

    nbytes = 0  # that are kept of them

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = self.rows = vectors
        self._greatest: float | None = None

    def asked(self, queries: np.ndarray) -> Asked:
        """As `Rows` says."""
        step, wide = _steps(queries, 1), queries.astype(np.float64)
        halves = (queries / step[:, None]).astype(np.float16)
        lost = np.linalg.norm(wide - halves * step[:, None].astype(np.float64), axis=1)
        error = (lost + queries.shape[1] * LOST * np.linalg.norm(wide, axis=1)) * self.greatest() + 1e-30
        return Asked(halves, np.zeros(len(queries)), step.astype(np.float64), error, whole=False)

    def greatest(self) -> float:
        """No row is longer."""
        if self._greatest is None:
            parts = _in_threads(lambda part: float(squares(self.vectors[part]).max()), _parts(len(self.vectors)))
            self._greatest = max(parts, default=0.0) ** 0.5 * (1 + self.vectors.shape[1] * LOST)
        return self._greatest


class Codes:
    """The rounded rows of a segment, made when they pay: one byte a value.

    vectors: float16 (n, d), usually mapped. family: all that is kept of a store's rows, which share COPY_BYTES.
    """

    def __init__(self, vectors: np.ndarray, family: Mapping[Any, Any]) -> None:
        self.vectors, self.nbytes, self._family = vectors, 0, family
        self.rows: np.ndarray = np.empty((0, vectors.shape[1]), np.int8)
        self._maker: threading.Thread | None = None

    def fits(self) -> bool:
        """Is there room for them?"""
        others = sum(one.nbytes for one in list(self._family.values()))
        return self.nbytes > 0 or self.vectors.size + others <= COPY_BYTES

    def made(self) -> "Codes":
        """These, with their rows."""
        with _making:
            if not self.nbytes:
                self._make(_in_threads)
        return self

    def are_made(self) -> bool:
        """If they are not, begin to make them beside: a thread that ends with the process, or that a fork lost."""
        if not self.nbytes and not (self._maker and self._maker.is_alive()):
            self._maker = threading.Thread(target=self._make_beside, name="codes")
            self._maker.start()
        return self.nbytes > 0

    def _make_beside(self) -> None:
        with _making:
            if not self.nbytes:
                self._make(lambda do, parts: [do(part) for part in parts if threading.main_thread().is_alive()])

    def _make(self, each: "_Each") -> None:
        vectors, parts = self.vectors, _parts(len(self.vectors))
        self.mean = as_float32(vectors[:: max(1, len(vectors) // SAMPLE)]).mean(0)
        widest = each(lambda part: float(np.abs(as_float32(vectors[part]) - self.mean).max()), parts)
        self.step = max(max(widest, default=0.0), 1e-30) / 127
        rows = np.empty(vectors.shape, np.int8)
        measured = each(lambda part: self._round(rows, part), parts)
        if len(widest) == len(measured) == len(parts):  # else the process ends
            self.length, self.error, self.greatest = np.max(measured, axis=0).tolist()
            self.rows = rows
            self.nbytes = rows.nbytes  # last: others look at it without the lock

    def _round(self, rows: np.ndarray, part: slice) -> tuple[float, float, float]:
        """Write a part's codes into rows. Returns the greatest |s c|, |x - m - s c| and |x|."""
        exact = as_float32(self.vectors[part])
        less = exact - self.mean
        code = np.rint(less / np.float32(self.step)).clip(-127, 127)
        rows[part] = code
        code *= np.float32(self.step)
        return _longest(code), _longest(less - code), _longest(exact)

    def asked(self, queries: np.ndarray) -> Asked:
        """As `Rows` says."""
        step, wide, many = _steps(queries, 127), queries.astype(np.float64), queries.shape[1]
        whole = np.rint(queries / step[:, None]).clip(-127, 127)
        lost = np.linalg.norm(wide - whole * step[:, None].astype(np.float64), axis=1)
        length = np.linalg.norm(wide, axis=1)
        base = wide @ self.mean.astype(np.float64)
        summed = many * LOST * length * (self.greatest + np.linalg.norm(self.mean) + self.length)
        error = (lost * self.length + length * self.error) * (1 + many * LOST) + summed + 1e-30
        return Asked(whole.astype(np.int8), base, step.astype(np.float64) * np.float32(self.step), error, whole=True)


def _steps(queries: np.ndarray, most: int) -> np.ndarray:
    """float32 (q,): what brings the greatest number of each query to `most`."""
    return np.maximum(np.abs(queries).max(1), 1e-30) / np.float32(most)


_Part = Callable[[slice], Any]
_Each = Callable[[_Part, Iterable[slice]], list]


def _parts(count: int) -> list[slice]:
    return [slice(start, start + PIECE_ROWS) for start in range(0, count, PIECE_ROWS)]


def _in_threads(do: _Part, parts: Iterable[slice]) -> list:
    with ThreadPoolExecutor(cpu.cores()) as threads:
        return list(threads.map(do, parts))


def _longest(rows: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", rows, rows).max()))
