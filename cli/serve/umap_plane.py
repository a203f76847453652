"""umap-learn, an extra (map): rows on a plane by their neighbors, where PCA goes by two directions."""

import threading
from importlib.util import find_spec

import numpy as np

NEIGHBORS = 15
_alone = threading.Lock()  # numba ends the process where two threads are in its parallel code


def available() -> bool:
    """Is it installed? A folder that is called so is not."""
    found = find_spec("umap")
    return found is not None and found.origin is not None


def plane(vectors: np.ndarray) -> np.ndarray:
    """Where each unit row lies, (n, 2) in 0..1, the same every time. The first call compiles: seconds."""
    import umap

    neighbors = max(2, min(NEIGHBORS, len(vectors) - 1))
    asked = umap.UMAP(n_neighbors=neighbors, metric="cosine", random_state=0, n_jobs=1, init=_begun(vectors))
    with _alone:
        found = asked.fit_transform(vectors)
    low, high = found.min(0), found.max(0)
    return (found - low) / np.maximum(high - low, 1e-9) * 0.96 + 0.02


def _begun(vectors: np.ndarray) -> str:
    return "pca" if len(vectors) > 3 else "random"
