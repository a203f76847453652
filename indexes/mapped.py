"""Rows where they lie as a FAISS index, without a copy: FAISS reads float16 and computes as it reads."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import faiss


def index(rows: np.ndarray, first: int = 0) -> "faiss.Index":
    """An index (inner product) of rows (n, d), usually mapped, whose ids begin with `first`.

    rows: float16, which must outlive it. Its ntotal is `first + n`, but ids below `first` must never be asked for: what
    lies there is not ours. So only an index whose first is 0 can be searched.
    """
    import faiss

    count, dim = rows.shape
    kinds: Any = faiss.ScalarQuantizer
    made = faiss.IndexScalarQuantizer(dim, kinds.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    start = rows.ctypes.data - first * rows.strides[0]
    # SWIG cannot call MaybeOwnedVector.create_view, so this sets what it sets: memory that FAISS reads and never frees.
    codes: Any = made.codes  # FAISS's stubs know none of this
    cast: Any = faiss
    codes.is_owned = False
    codes.view_data = codes.c_ptr = cast.cast_integer_to_uint8_ptr(start)
    codes.view_size = codes.c_size = (first + count) * rows.strides[0]
    made.ntotal = first + count
    return made
