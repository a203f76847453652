"""Rows of unit length: given, random, or one a number."""

import numpy as np


def unit(rows):
    """Each row scaled to unit length: float32 (n, dim)."""
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def unit_rows(rng, count, dim):
    """Random directions: float32 (count, dim)."""
    return unit(rng.standard_normal((count, dim)))


def numbered(*numbers, dim=8):
    """One row for each number; the same number gives the same row."""
    return np.concatenate([unit_rows(np.random.default_rng(number), 1, dim) for number in numbers])


def unit_tensor(*shape, seed=0):
    """Random directions along the last axis, as torch draws them."""
    import torch  # late: most tests of the store do without

    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)
