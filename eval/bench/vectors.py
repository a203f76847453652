"""What the benchmarks of search share: random rows, and FAISS's own indexes of rows, which they stand beside.

NumPy alone is imported at once: some of this runs in the peers' environments, and where no torch may be loaded.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import faiss

TRAINED_ON = 65_536  # rows, for the lists of `inverted_lists`


def unit_rows(count: int, dim: int, seed: int) -> np.ndarray:
    """Random directions: float32 (count, dim)."""
    rows = np.random.default_rng(seed).standard_normal((count, dim), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def save(file: Path, vectors: dict[str, np.ndarray]) -> None:
    """An .npz file of arrays by name."""
    np.savez(file, allow_pickle=False, **vectors)


def flat(rows: np.ndarray) -> "faiss.IndexFlatIP":
    """FAISS's exact index of float32 rows."""
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index


def inverted_lists(rows: np.ndarray) -> "faiss.Index":
    """IVF1024,Flat of float32 rows."""
    import faiss

    index = faiss.index_factory(rows.shape[1], "IVF1024,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(rows[:: max(1, len(rows) // TRAINED_ON)])
    index.add(rows)
    return index


def nearest(index: "faiss.Index", queries: np.ndarray, k: int, params: Any = None) -> np.ndarray:
    """What an index of FAISS's answers: rows, int64 (q, k)."""
    return index.search(queries, k, params=params)[1]


def parameters(kind: str, **values: object) -> Any:
    """FAISS's search parameters of the class `kind`, with these values.

    By name, for FAISS adds the keywords, and some of the classes, when it is imported: its stubs know neither.
    """
    import faiss

    return getattr(faiss, kind)(**values)
