"""Reduction: rows and queries in fewer dimensions, chosen so that the scores of *words* change least.

Words lie in few directions of the space that pictures fill, so a projection that asks what queries ask keeps in a
quarter of the dimensions what principal components of the rows lose (LeanVec-OOD, Tepper et al. 2024, here in closed
form). Of all pairs of matrices (A, B) of rank r the one with the least E[(q.x - qA.xB)^2] comes from the singular
vectors of C_q^(1/2) C_x^(1/2), where C are the second moments of queries and rows.
"""

from dataclasses import dataclass

import numpy as np

QUERY_ROWS = 0.1  # so much of the rows' own moment is mixed in: pictures are queries too ...
RIDGE = 0.1  # ... and so much of no direction at all: words nobody had thought of
_LEAST = 1e-9  # of the largest eigenvalue: smaller ones are noise


@dataclass(frozen=True, slots=True)
class Reduction:
    """Matrices (d, r) float32: `queries @ for_queries` and `rows @ for_rows` have nearly the products of the whole."""

    for_queries: np.ndarray
    for_rows: np.ndarray


def fit(rows: np.ndarray, queries: np.ndarray, dim: int) -> Reduction:
    """Learn it from samples of rows (n, d) and of text queries (q, d).

    Queries come out with equal variance in every direction, so that a quantiser of the rows, which sees plain
    distances, errs least where queries look most. A direction of large variance is followed by one of small: product
    quantisation of pairs then spends its bits on the large one.
    """
    of_rows = _second_moment(rows)
    of_queries = _second_moment(queries)
    of_queries += QUERY_ROWS * of_rows + RIDGE * np.trace(of_queries) / len(of_queries) * np.eye(len(of_queries))
    left, sizes, right = np.linalg.svd(_power(of_queries, 0.5) @ _power(of_rows, 0.5))
    order = np.stack([np.arange(dim), np.arange(dim)[::-1]], 1).ravel()[:dim]  # 0, last, 1, last but one, ...
    for_queries = _power(of_queries, -0.5) @ left[:, order]
    for_rows = _power(of_rows, -0.5) @ right[order].T * sizes[order]
    scale = np.sqrt((sizes[:dim] ** 2).sum())  # rows come out about as long as they were
    return Reduction((for_queries * scale).astype(np.float32), (for_rows / scale).astype(np.float32))


def _second_moment(vectors: np.ndarray) -> np.ndarray:
    return (vectors.T @ vectors / len(vectors)).astype(np.float64)


def _power(matrix: np.ndarray, power: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, _LEAST * values[-1]) ** power) @ vectors.T
