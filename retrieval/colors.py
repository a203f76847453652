"""Shares as colors, from black over violet and orange to pale yellow: how loud a place is, how near to a query."""

import numpy as np

# As in matplotlib's inferno, lightness only rises: it is read without color too.
_STOPS = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)])


def colors(shares: np.ndarray) -> np.ndarray:
    """Shares from 0 to 1 (...) as RGB from 0 to 255, float32 (..., 3)."""
    at = np.linspace(0, 1, len(_STOPS))
    return np.stack([np.interp(shares, at, channel) for channel in _STOPS.T], -1).astype(np.float32)
