"""Mapped rows as a FAISS index, without a copy: FAISS reads float16 from the file and computes in float32."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import faiss


def index(rows: np.ndarray, first: int = 0) -> "faiss.Index":
    """An index (inner product) of float16 rows (n, d), usually mapped, whose ids begin with `first`.

    The rows must outlive it. Its ntotal is `first + n`, but ids below `first` must never be asked for: what lies there
    is not ours. So only an index whose first is 0 can be searched.
    """
    import faiss

    count, dim = rows.shape
    made = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
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
    """The k best rows of each query by float32 scores: offsets int64 (q, k), -1 where there are fewer, and scores.

    dead: offsets that do not count. Quick for few queries, each of which reads all rows.
    """
    import faiss

    known: Any = faiss  # its stubs know no keywords of parameters
    left_out = faiss.IDSelectorBatch(dead)
    selector = known.SearchParameters(sel=faiss.IDSelectorNot(left_out)) if len(dead) else None
    scores, offsets = index(rows).search(queries, k, params=selector)
    return offsets, np.where(offsets < 0, -np.inf, scores).astype(np.float32)
