"""Exact search is exact: against float64 brute force, with ties, deletions, several segments and both back ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes import exact
from indexes.exact import Segment


def segments_of(rows, cuts, dead):
    """Cut float16 rows into segments; `dead` are row numbers."""
    edges = [0, *cuts, len(rows)]
    return [
        Segment(low, rows[low:high], np.array([r - low for r in sorted(dead) if low <= r < high], np.int64))
        for low, high in zip(edges, edges[1:], strict=False)
    ]


def brute_force(rows, dead, queries, k):
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    found = [[r for r in np.lexsort((np.arange(len(rows)), -line)) if r not in dead][:k] for line in scores]
    return [line + [-1] * (k - len(line)) for line in found]


@given(st.data())
def test_equals_brute_force(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 12))
    # Small whole numbers: products are exact in every type, so ties are real and the order must be that of the rows.
    rows = rng.integers(-2, 3, (count, 3)).astype(np.float16)
    queries = rng.integers(-2, 3, (data.draw(st.integers(1, 5)), 3)).astype(np.float32)
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=3)))
    dead = data.draw(st.sets(st.integers(0, count - 1)))
    got = exact.search(segments_of(rows, cuts, dead), queries, k)
    assert got.rows.tolist() == brute_force(rows, dead, queries, k)
    assert np.isneginf(got.scores[got.rows < 0]).all()


def test_faiss_and_numpy_give_the_same_answers(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5000, 32)).astype(np.float16)
    queries = rng.standard_normal((40, 32)).astype(np.float32)
    segments = segments_of(rows, [1000, 1001], {3, 4, 4999})
    by_numpy = exact.search(segments, queries, 10)
    monkeypatch.setattr(exact, "FAISS_FROM_ROWS", 0)
    by_faiss = exact.search(segments, queries, 10)
    np.testing.assert_array_equal(by_faiss.rows, by_numpy.rows)
    np.testing.assert_allclose(by_faiss.scores, by_numpy.scores, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_size_of_a_block_changes_nothing(monkeypatch, block):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((100, 8)).astype(np.float16)
    queries = rng.standard_normal((9, 8)).astype(np.float32)
    whole = exact.search(segments_of(rows, [30], {0, 31, 99}), queries, 5)
    monkeypatch.setattr(exact, "BLOCK_ROWS", block)
    monkeypatch.setattr(exact, "MAX_SCORES", 2 * block)
    pieces = exact.search(segments_of(rows, [30], {0, 31, 99}), queries, 5)
    np.testing.assert_array_equal(pieces.rows, whole.rows)
