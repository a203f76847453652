"""Exact search is exact: against float64 brute force, with ties, deletions, several segments and both back ends."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes import exact, segments
from indexes.segments import Segment
from rows import unit_rows


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


@pytest.mark.parametrize("few", [8, 0], ids=["mapped", "blocks"])
@pytest.mark.parametrize("faiss_from", [exact.FAISS_FROM_ROWS, 0], ids=["numpy", "faiss"])
@settings(deadline=None)  # an example may be the one that imports FAISS
@given(st.data())
def test_equals_brute_force(faiss_from, few, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 12))
    # Small whole numbers: products are exact in every type, so ties are real and the order must be that of the rows.
    rows = rng.integers(-2, 3, (count, 3)).astype(np.float16)
    queries = rng.integers(-2, 3, (data.draw(st.integers(1, 5)), 3)).astype(np.float32)
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=3)))
    dead = data.draw(st.sets(st.integers(0, count - 1)))
    with mock.patch.multiple(exact, FAISS_FROM_ROWS=faiss_from, FEW_QUERIES=few):
        got = exact.search(segments_of(rows, cuts, dead), queries, k)
    assert got.rows.tolist() == brute_force(rows, dead, queries, k)
    assert np.isneginf(got.scores[got.rows < 0]).all()


@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize("way", ["faiss", "torch"])
def test_every_way_gives_the_same_answers(monkeypatch, way, count):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5000, 32)).astype(np.float16)
    queries = rng.standard_normal((count, 32)).astype(np.float32)
    segments = segments_of(rows, [1000, 1001], {3, 4, 4999})
    never = 10**12
    monkeypatch.setattr(exact, "TORCH_FROM_ROWS", never)
    monkeypatch.setattr(exact, "TORCH_FROM_SCORES", never)
    by_numpy = exact.search(segments, queries, 10)
    if way == "torch":
        monkeypatch.setattr(exact, "TORCH_FROM_ROWS", 0)
        monkeypatch.setattr(exact, "TORCH_FROM_SCORES", 0)
    else:
        monkeypatch.setattr(exact, "FAISS_FROM_ROWS", 0)
    got = exact.search(segments, queries, 10)
    np.testing.assert_array_equal(got.rows, by_numpy.rows)
    np.testing.assert_allclose(got.scores, by_numpy.scores, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_size_of_a_block_changes_nothing(monkeypatch, block):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((100, 8)).astype(np.float16)
    queries = rng.standard_normal((9, 8)).astype(np.float32)
    whole = exact.search(segments_of(rows, [30], {0, 31, 99}), queries, 5)
    monkeypatch.setattr(segments, "BLOCK_ROWS", block)
    monkeypatch.setattr(exact, "MAX_SCORES", 2 * block)
    pieces = exact.search(segments_of(rows, [30], {0, 31, 99}), queries, 5)
    np.testing.assert_array_equal(pieces.rows, whole.rows)


# ---------------------------------------------------------------- certified


@pytest.fixture(params=["bf16", "int8", "fp32"])
def certified(request, monkeypatch):
    """certified.search on small pieces and blocks, with the scan asked for, whatever this processor is fast at."""
    torch = pytest.importorskip("torch")
    from indexes import certified

    monkeypatch.setattr(certified, "has_fast_bf16", lambda: request.param != "fp32")
    monkeypatch.setattr(certified, "INT8_QUERIES", 10**6 if request.param == "int8" else 0)
    monkeypatch.setattr(certified, "PIECE_ROWS", 300)
    monkeypatch.setattr(certified, "BLOCK_SCORES", 64)
    monkeypatch.setattr(certified, "GROUP", 4)
    torch.manual_seed(0)
    return certified


@pytest.mark.parametrize("dim", [3, 64])
@pytest.mark.parametrize("k", [1, 10, 700])
def test_certified_search_is_brute_force(certified, dim, k):
    rng = np.random.default_rng(dim)
    rows = unit_rows(rng, 1003, dim).astype(np.float16)
    dead = np.unique(rng.integers(0, 1003, 50))
    queries = unit_rows(rng, 7, dim)
    offsets, scores, unanswered = certified.search(certified.Copies(rows), dead, queries, k)
    assert not len(unanswered)
    truth = queries.astype(np.float64) @ rows.astype(np.float64).T
    truth[:, dead] = -np.inf
    expected = -np.sort(-truth, axis=1)[:, :k]
    np.testing.assert_allclose(scores, expected, atol=1e-6)  # equal but for float32's own rounding ...
    np.testing.assert_allclose(np.take_along_axis(truth, offsets, 1), expected, atol=1e-6)  # ... and the rows have them
    assert all(len(set(line)) == k for line in offsets.tolist())


def test_what_low_precision_cannot_tell_apart_is_told_apart(certified):
    """Neighbours closer to each other than bfloat16 or int8 can say: the order is still float32's."""
    rng = np.random.default_rng(0)
    base = unit_rows(rng, 1, 64)
    rows = (base + 2e-3 * rng.standard_normal((500, 64))).astype(np.float16)
    offsets, _, unanswered = certified.search(certified.Copies(rows), np.empty(0, np.int64), base, 10)
    assert not len(unanswered)
    truth = (base.astype(np.float64) @ rows.astype(np.float64).T)[0]
    assert offsets[0].tolist() == np.argsort(-truth, kind="stable")[:10].tolist()


@given(st.data())
def test_no_bound_is_ever_broken(data):
    """The proof itself: for rows of any scale, no low-precision score is further from the true one than e."""
    import torch

    from indexes import certified

    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = 2.0 ** data.draw(st.integers(-6, 6))
    rows = torch.from_numpy((unit_rows(rng, 50, 37) * scale).astype(np.float16)).float()
    query = torch.from_numpy(unit_rows(rng, 1, 37))
    truth = (rows.double() @ query[0].double()).numpy()
    low = certified.rounded(rows) if data.draw(st.booleans()) else None
    if low:
        rough = query.to(low.rows.dtype).float()
        scores = low.rows.double() @ rough[0].double()
        bound = certified.error_bound(query, rough, low)
    else:
        low = certified.quantized(rows)
        step = query.abs().max() / 127
        rough = (query / step).round() * step
        scores = (low.rows.double() * low.scale.double()[:, None]) @ rough[0].double()
        bound = certified.error_bound(query[0], rough[0], low)
    assert (np.abs(scores.numpy() - truth) <= bound.numpy() * certified.LOOSER).all()


def test_a_query_that_keeps_too_many_rows_is_given_to_brute_force(certified, monkeypatch):
    monkeypatch.setattr(certified, "MOST_KEPT", 100)
    rows = np.tile(np.eye(4, dtype=np.float16), (500, 1))  # each row 500 times
    queries = np.concatenate([np.eye(4), unit_rows(np.random.default_rng(0), 1, 4)]).astype(np.float32)
    _, _, unanswered = certified.search(certified.Copies(rows), np.empty(0, np.int64), queries, 5)
    assert set(range(4)) <= set(unanswered.tolist())
    monkeypatch.setattr(exact, "TORCH_FROM_ROWS", 0)  # torch is imported, so it is asked first
    got = exact.search([Segment(7, rows, np.array([0]))], queries[:4], 5)
    assert got.rows[0].tolist() == [7 + 4 * i for i in range(1, 6)]
    assert got.rows[1].tolist() == [8 + 4 * i for i in range(5)]


def test_copies_are_kept_up_to_a_limit(certified, monkeypatch):
    rows = unit_rows(np.random.default_rng(0), 900, 8).astype(np.float16)
    monkeypatch.setattr(certified, "COPY_BYTES", 0)
    family = {}
    family[0] = certified.Copies(rows, family)
    none = np.empty(0, np.int64)
    without = certified.search(family[0], none, rows[:3].astype(np.float32), 4)
    assert family[0].nbytes == 0
    monkeypatch.setattr(certified, "COPY_BYTES", 1 << 20)
    for _ in range(2):
        np.testing.assert_array_equal(certified.search(family[0], none, rows[:3].astype(np.float32), 4)[0], without[0])
    assert 0 < family[0].nbytes <= rows.size * 4
