"""Rows where they lie as a FAISS index, without a copy: FAISS reads float16 or int8 and computes as it reads."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes import cpu

if TYPE_CHECKING:
    import faiss

PART_ROWS = 16_384  # fewer are not worth a thread of their own


def index(rows: np.ndarray, first: int = 0) -> "faiss.Index":
    """An index (inner product) of rows (n, d), usually mapped, whose ids begin with `first`.

    rows: float16; or uint8, for whole numbers of -127..127 with 128 added (codes.py). They must outlive it. Its ntotal
    is `first + n`, but ids below `first` must never be asked for: what lies there is not ours. So only an index whose
    first is 0 can be searched.
    """
    import faiss

    count, dim = rows.shape
    kinds: Any = faiss.ScalarQuantizer
    kind = kinds.QT_fp16 if rows.dtype == np.float16 else kinds.QT_8bit_direct_signed
    made = faiss.IndexScalarQuantizer(dim, kind, faiss.METRIC_INNER_PRODUCT)
    start = rows.ctypes.data - first * rows.strides[0]
    # SWIG cannot call MaybeOwnedVector.create_view, so this sets what it sets: memory that FAISS reads and never frees.
    codes: Any = made.codes  # FAISS's stubs know none of this
    cast: Any = faiss
    codes.is_owned = False
    codes.view_data = codes.c_ptr = cast.cast_integer_to_uint8_ptr(start)
    codes.view_size = codes.c_size = (first + count) * rows.strides[0]
    made.ntotal = first + count
    return made


def search(rows: np.ndarray, dead: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best rows of each query by FAISS's scores: offsets int64 (q, k), -1 where there are fewer, and scores.

    rows: as `index` takes them. dead: offsets that do not count, ascending. Quick for few queries, each of which reads
    all rows: FAISS has one thread a query, so fewer queries than threads have the rows cut in parts.
    """
    parts = _parts(len(rows), len(queries))

    def one(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        among = dead[np.searchsorted(dead, low) : np.searchsorted(dead, high)] - low
        offsets, scores = _search_part(rows[low:high], among, queries, k)
        return np.where(offsets < 0, -1, offsets + low), scores

    if len(parts) == 1:
        return one(*parts[0])
    with ThreadPoolExecutor(len(parts)) as threads:
        found = list(threads.map(lambda part: one(*part), parts))
    offsets, scores = (np.hstack(each) for each in zip(*found, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # parts ascend, so ties go to the lower row
    return np.take_along_axis(offsets, order, 1), np.take_along_axis(scores, order, 1)


def _parts(rows: int, queries: int) -> list[tuple[int, int]]:
    import faiss

    threads = min(faiss.omp_get_max_threads(), cpu.cores())
    count = max(1, min(threads // max(queries, 1), rows // PART_ROWS))
    edges = [rows * part // count for part in range(count + 1)]
    return list(zip(edges, edges[1:], strict=False))


def _search_part(rows: np.ndarray, dead: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    known: Any = faiss  # its stubs know no keywords of parameters
    left_out = faiss.IDSelectorBatch(dead)
    selector = known.SearchParameters(sel=faiss.IDSelectorNot(left_out)) if len(dead) else None
    scores, offsets = index(rows).search(queries, k, params=selector)
    return offsets, np.where(offsets < 0, -np.inf, scores).astype(np.float32)
