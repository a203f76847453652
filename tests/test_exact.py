"""Exact search is exact: against float64 brute force, with ties, deletions, several segments and both back ends."""

import os
from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes import Record, Store, codes, cpu, exact, mapped, products, segments, ways
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


def taken(way):
    """Have exact.search take this way, whatever is measured: "products" are codes with all queries many."""
    few = {"mapped": 10**6, "faiss": 0, "codes": 10**6, "products": 0}.get(way, ways.FEW)
    chosen = {"mapped": "faiss", "products": "codes"}.get(way, way)
    stack = ExitStack()
    stack.enter_context(mock.patch.object(ways, "choose", lambda *given: chosen))
    stack.enter_context(mock.patch.object(ways, "FEW", few))
    stack.enter_context(mock.patch.object(codes, "FEW_QUERIES", few))
    stack.enter_context(mock.patch.object(mapped, "PART_ROWS", 3))
    return stack


WAYS = ["numpy", "mapped", "faiss", "codes", "products", "torch"]


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)  # an example may be the one that imports FAISS
@given(st.data())
def test_equals_brute_force(way, data):
    """With ties, copies of rows, rows and queries of zeros, deleted rows, fewer rows than k, and several segments."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 50))
    # Small whole numbers: products are exact in every type, so ties are real and the order must be that of the rows.
    rows = rng.integers(-2, 3, (count, 3)).astype(np.float16)
    queries = rng.integers(-2, 3, (data.draw(st.integers(1, 5)), 3)).astype(np.float32)
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=3)))
    dead = data.draw(st.sets(st.integers(0, count - 1)))
    with taken(way):
        got = exact.search(segments_of(rows, cuts, dead), queries, k)
    assert got.rows.tolist() == brute_force(rows, dead, queries, k)
    assert np.isneginf(got.scores[got.rows < 0]).all()


@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_answers(way, count):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5000, 32)).astype(np.float16)
    queries = rng.standard_normal((count, 32)).astype(np.float32)
    dead = {3, 4, 4999}
    with taken(way):
        got = exact.search(segments_of(rows, [1000, 1001], dead), queries, 10)
    expected = np.array(brute_force(rows, dead, queries, 10))
    np.testing.assert_array_equal(got.rows, expected)
    truth = queries.astype(np.float64) @ rows.astype(np.float64).T
    np.testing.assert_allclose(got.scores, np.take_along_axis(truth, expected, 1), rtol=1e-5)


# ---------------------------------------------------------------- codes


NONE = np.empty(0, np.int64)


@given(st.data())
def test_no_bound_of_codes_is_ever_broken(data):
    """For rows of any scale and off their mean, no score from codes is further from the true one than its error."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = 2.0 ** data.draw(st.integers(-6, 6))
    rows = ((unit_rows(rng, 50, 37) + data.draw(st.floats(-1, 1))) * scale).astype(np.float16)
    queries = unit_rows(rng, 3, 37) * np.float32(2.0 ** data.draw(st.integers(-6, 6)))
    made = codes.Codes(rows, {}).made()
    asked = codes._Asked(made, queries)
    truth = queries.astype(np.float64) @ rows.astype(np.float64).T
    whole = asked.whole.astype(np.int64) @ (made.rows.astype(np.int64).T - 128)
    assert (np.abs(asked.base[:, None] + asked.scale[:, None] * whole - truth) <= asked.error[:, None]).all()
    assert (whole >= asked.least(truth[:, 7])[:, None])[:, 7].all()  # so a row is kept where its own score is asked


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("sign", [-127, 127])
def test_products_are_exact_at_their_extremes(monkeypatch, signed, sign):
    """By either graph where it is taken: the trial turns the signed one down where sixteen bits overflow."""
    rows = np.array([[255] * 70, [1] * 70, [128] * 70], np.uint8)
    columns = np.full((70, 2), sign, np.int8)
    if not signed:
        session = products._session(products.UNSIGNED)
        monkeypatch.setattr(products, "_sessions", {os.getpid(): (session, False)})
    assert products.products(rows, columns).tolist() == [[127 * sign * 70] * 2, [-127 * sign * 70] * 2, [0, 0]]
    offsets, scores = mapped.search(rows, NONE, columns.T.astype(np.float32), 3)  # FAISS's, of the same rows
    expected = {127 * sign * 70: 0, -127 * sign * 70: 1, 0: 2}
    assert offsets[0].tolist() == [expected[score] for score in sorted(expected, reverse=True)]
    assert scores[0].tolist() == sorted(expected, reverse=True)


def test_a_signed_graph_that_overflows_is_not_taken(monkeypatch):
    real = products._run
    wrong = lambda session, rows, columns, signed: real(session, rows, columns, signed) - signed  # noqa: E731
    monkeypatch.setattr(products, "_run", wrong)
    monkeypatch.setattr(products, "_sessions", {})
    assert products._opened()[1] is False


def test_the_stored_graphs_are_those_of_onnx():
    import onnx

    for graph, kind in ((products.SIGNED, onnx.TensorProto.INT8), (products.UNSIGNED, onnx.TensorProto.UINT8)):
        model = onnx.load_from_string(graph)
        onnx.checker.check_model(model)
        assert [node.op_type for node in model.graph.node] == ["MatMulInteger"]
        assert model.graph.input[1].type.tensor_type.elem_type == kind


@pytest.mark.parametrize("few", [0, 10**6], ids=["products", "faiss"])
def test_codes_tell_apart_what_they_round_alike(monkeypatch, few):
    monkeypatch.setattr(codes, "FEW_QUERIES", few)
    monkeypatch.setattr(codes, "FIRST_ASKED", 16)
    monkeypatch.setattr(codes, "BLOCK_SCORES", 64)
    rng = np.random.default_rng(0)
    base = unit_rows(rng, 1, 64)
    rows = (base + 2e-3 * rng.standard_normal((500, 64))).astype(np.float16)
    rows[0] = -rows[0]  # makes the step wide
    dead = np.array([3, 4, 499])
    offsets, _, unanswered = codes.search(codes.Codes(rows, {}).made(), dead, base, 10)
    truth = (base.astype(np.float64) @ rows.astype(np.float64).T)[0]
    truth[dead] = -np.inf
    assert not len(unanswered)
    assert offsets[0].tolist() == np.argsort(-truth, kind="stable")[:10].tolist()


@pytest.mark.parametrize("way", ["codes", "products"])
def test_a_query_for_which_codes_keep_too_many_rows_is_given_to_brute_force(monkeypatch, way):
    monkeypatch.setattr(codes, "MOST_KEPT", 100)
    rows = np.tile(np.eye(4, dtype=np.float16), (500, 1))
    queries = np.concatenate([np.eye(4), np.zeros((1, 4))]).astype(np.float32)
    with taken(way):
        assert codes.search(codes.Codes(rows, {}).made(), NONE, queries, 5)[2].tolist() == [0, 1, 2, 3, 4]
        got = exact.search([Segment(7, rows, np.array([0]))], queries, 5)
    assert got.rows[0].tolist() == [7 + 4 * i for i in range(1, 6)]
    assert got.rows[1].tolist() == [8 + 4 * i for i in range(5)]
    assert got.rows[4].tolist() == [8, 9, 10, 11, 12]


def test_codes_that_do_not_fit_are_not_made(monkeypatch):
    monkeypatch.setattr(codes, "COPY_BYTES", 100)
    segment = Segment(0, unit_rows(np.random.default_rng(0), 20, 8).astype(np.float16), NONE)
    with taken("codes"):
        got = exact.search([segment], segment.vectors.astype(np.float32), 1)
    assert got.rows[:, 0].tolist() == list(range(20))
    assert segment.copies["codes", 0].nbytes == 0


# ---------------------------------------------------------------- which way


BARE = {"loaded": False, "installed": False, "products": True}
LOADED = {"loaded": True, "installed": True, "products": True}


@pytest.mark.parametrize(
    ("rows", "queries", "asked", "kind", "here", "way"),
    [
        (1_000, 1, 1, "amx", LOADED, "numpy"),
        (2_000, 1, 1, "amx", LOADED, "torch"),  # NumPy's threads and torch's get in each other's way
        (49_999, 100, 100, "plain", BARE, "numpy"),
        (200_000, 1, 1, "plain", LOADED, "faiss"),  # a query alone: rounding all rows for it does not pay
        (200_000, 1, 1, "amx", BARE, "faiss"),
        (200_000, 1, 299, "plain", LOADED, "faiss"),
        (200_000, 1, 300, "plain", LOADED, "codes"),  # ... and for one of many does, with torch and without
        (200_000, 8, 304, "amx", BARE, "codes"),
        (200_000, 9, 9, "vnni", LOADED, "faiss"),
        (200_000, 32, 32, "vnni", LOADED, "codes"),
        (200_000, 32, 32, "vnni", LOADED | {"products": False}, "torch"),
        (200_000, 32, 32, "amx", LOADED, "torch"),
        (200_000, 32, 32, "plain", LOADED, "torch"),
        (200_000, 32, 32, "plain", BARE, "codes"),
        (200_000, 32, 32, "plain", BARE | {"products": False}, "faiss"),
        (200_000, 149, 149, "amx", LOADED | {"loaded": False}, "codes"),
        (200_000, 150, 150, "amx", LOADED | {"loaded": False}, "torch"),  # worth a second of importing it
        (200_000, 150, 150, "amx", BARE, "codes"),
    ],
)
def test_which_way_is_taken(rows, queries, asked, kind, here, way):
    assert ways.choose(rows, queries, asked, ways.Here(kind, **here)) == way


@pytest.mark.parametrize(
    ("flags", "kind"),
    [("avx2 fma", "plain"), ("avx2 avx_vnni", "vnni"), ("avx512_bf16", "bf16"), ("avx512_bf16 avx512_vnni", "vnni"),
     ("amx_bf16 avx512_vnni", "amx"), ("", "plain")],
)  # fmt: skip
def test_the_kind_of_a_processor(monkeypatch, flags, kind):
    monkeypatch.setattr(cpu, "flags", lambda: frozenset(flags.split()))
    assert cpu.kind() == kind


def test_queries_are_counted_over_the_states_of_a_store(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(ways, "choose", lambda rows, queries, asked_, here: asked.append(asked_) or "numpy")
    with Store.create(tmp_path / "index", 2) as store:
        store.add(np.eye(2, dtype=np.float32), [Record("a"), Record("b")])
        store.search(np.eye(2, dtype=np.float32), 1)
        store.delete(["a"])
        store.search(np.eye(2, dtype=np.float32)[:1], 1)
    assert asked == [2, 3]


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
    with taken("torch"):
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
