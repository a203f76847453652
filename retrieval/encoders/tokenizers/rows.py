"""Token rows of any length as one array."""

from collections.abc import Sequence

import numpy as np

PAD = 0


def pad(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Token rows of any length as one int64 array (n, longest), filled with PAD; at least one column."""
    tokens = np.full((len(rows), max([1, *map(len, rows)])), PAD, np.int64)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = row
    return tokens
