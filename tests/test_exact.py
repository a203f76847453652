"""Exact search is exact: against float64 brute force, with ties, deletions, several segments and both back ends."""

import os
import threading
from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes import Record, Store, cpu, exact, kernels, rounded, scan, segments, ways
from indexes.segments import Segment
from rows import unit_rows
from together import fork, in_child


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
    """Have exact.search take this way, whatever is measured: "-rows" is by cores that share the rows of small blocks,
    "-queries" by cores that have queries of their own, "-beside" where codes are not made yet.
    """
    kind, _, how = way.partition("-")
    stack = ExitStack()
    stack.enter_context(mock.patch.object(ways, "choose", lambda *given: kind))
    stack.enter_context(mock.patch.object(ways, "CODES_AT_ONCE", 10**6 if how == "beside" else 0))
    stack.enter_context(mock.patch.object(scan, "MANY_QUERIES", 1 if how == "queries" else 10**6))
    stack.enter_context(mock.patch.object(scan, "BLOCK_SCORES", 64))
    stack.enter_context(mock.patch.object(scan, "BLOCK_ROWS", 64))
    stack.enter_context(mock.patch.object(cpu, "cores", lambda: 2))
    return stack


SCANS = ["halves-rows", "halves-queries", "codes-rows", "codes-queries", "codes-beside"]
WAYS = ["numpy", *SCANS, "torch"]


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)  # an example may be the one that imports torch
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


# ---------------------------------------------------------------- scans


NONE = np.empty(0, np.int64)
KINDS = {"halves": lambda rows: rounded.Halves(rows), "codes": lambda rows: rounded.Codes(rows, {}).made()}


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_no_bound_of_a_scan_is_ever_broken(kind, data):
    """For rows of any scale and off their mean, no score is further from the true one than its error."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = 2.0 ** data.draw(st.integers(-12, 6))
    rows = ((unit_rows(rng, 50, 37) + data.draw(st.floats(-1, 1))) * scale).astype(np.float16)
    many = data.draw(st.sampled_from([1, 2, 3]))
    queries = unit_rows(rng, many, 37) * np.float32(2.0 ** data.draw(st.integers(-60, 60)))
    scanned = KINDS[kind](rows)
    asked = scanned.asked(queries)
    truth = queries.astype(np.float64) @ rows.astype(np.float64).T
    products = asked.columns.times(scanned.rows).T.astype(np.float64)
    assert (np.abs(asked.base[:, None] + asked.scale[:, None] * products - truth) <= asked.error[:, None]).all()
    assert (products >= asked.least(truth[:, 7])[:, None])[:, 7].all()  # so a row is kept where its own score is asked


@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("sign", [-127, 127])
def test_products_of_whole_numbers_are_exact_at_their_extremes(count, sign):
    rows = np.array([[127] * 4099, [-127] * 4099, [1] * 4099, [0] * 4099], np.int8)
    found = kernels.Columns(np.full((count, 4099), sign, np.int8)).times(rows)
    assert found.dtype == np.int32
    assert found.tolist() == [[times * sign * 4099] * count for times in (127, -127, 1, 0)]


@pytest.mark.parametrize("count", [1, 3])
def test_products_of_halves_are_summed_in_float32(count):
    """4,099 ones are 4,099, and a million times a millionth is one: neither is a number of float16's sums."""
    rows = np.ones((2, 4099), np.float16)
    found = kernels.Columns(np.ones((count, 4099), np.float16)).times(rows)
    assert found.tolist() == [[4099.0] * count] * 2
    wide, narrow = np.full((1, 4), 60_000, np.float16), np.full((count, 4), 60_000, np.float16)
    np.testing.assert_allclose(kernels.Columns(narrow).times(wide), 4 * float(wide[0, 0]) ** 2, rtol=1e-6)


def test_every_half_is_the_same_number_as_float32():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    np.testing.assert_array_equal(kernels.as_float32(every), every.astype(np.float32))
    np.testing.assert_array_equal(kernels.as_float32(every[::3, 1::2]), every[::3, 1::2].astype(np.float32))
    assert kernels.as_float32(every[:0]).shape == (0, 256)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_scan_rounds_alike_is_told_apart(kind):
    rng = np.random.default_rng(0)
    base = unit_rows(rng, 1, 64)
    rows = (base + 2e-3 * rng.standard_normal((500, 64))).astype(np.float16)
    rows[0] = -rows[0]  # makes the step wide
    dead = np.array([3, 4, 499])
    offsets, _, unanswered = scan.search(KINDS[kind](rows), dead, base, 10)
    truth = (base.astype(np.float64) @ rows.astype(np.float64).T)[0]
    truth[dead] = -np.inf
    assert not len(unanswered)
    assert offsets[0].tolist() == np.argsort(-truth, kind="stable")[:10].tolist()


@pytest.mark.parametrize("way", SCANS)
def test_a_query_for_which_too_many_rows_are_kept_is_given_to_brute_force(monkeypatch, way):
    monkeypatch.setattr(scan, "MOST_KEPT", 100)
    rows = np.tile(np.eye(4, dtype=np.float16), (500, 1))
    queries = np.concatenate([np.eye(4), np.zeros((1, 4))]).astype(np.float32)
    with taken(way):
        found = scan.search(KINDS[way.split("-")[0]](rows), NONE, queries, 5)
        assert found[2].tolist() == [0, 1, 2, 3, 4]
        got = exact.search([Segment(7, rows, np.array([0]))], queries, 5)
    assert got.rows[0].tolist() == [7 + 4 * i for i in range(1, 6)]
    assert got.rows[1].tolist() == [8 + 4 * i for i in range(5)]
    assert got.rows[4].tolist() == [8, 9, 10, 11, 12]


def test_codes_that_do_not_fit_are_not_made(monkeypatch):
    monkeypatch.setattr(rounded, "COPY_BYTES", 100)
    segment = Segment(0, unit_rows(np.random.default_rng(0), 20, 8).astype(np.float16), NONE)
    with taken("codes"):
        got = exact.search([segment], segment.vectors.astype(np.float32), 1)
    assert got.rows[:, 0].tolist() == list(range(20))
    assert segment.copies["codes", 0].nbytes == 0


def test_codes_are_made_beside_and_then_taken(monkeypatch):
    """A search that is small does not wait for them; once they are there it takes them, with the same answer."""
    scanned, go = [], threading.Event()
    real, make = scan.search, rounded.Codes._make
    monkeypatch.setattr(scan, "search", lambda rows, *given: scanned.append(type(rows).__name__) or real(rows, *given))
    monkeypatch.setattr(rounded.Codes, "_make", lambda self, each: go.wait(60) and make(self, each))
    segment = Segment(0, unit_rows(np.random.default_rng(0), 20, 8).astype(np.float16), NONE)
    queries = segment.vectors.astype(np.float32)
    with taken("codes-beside"):
        first = exact.search([segment], queries, 3)
        go.set()
        segment.copies["codes", 0]._maker.join()
        second = exact.search([segment], queries, 3)
    assert scanned == ["Halves", "Codes"]
    np.testing.assert_array_equal(first.rows, second.rows)


def test_a_process_that_ends_does_not_wait_for_codes():
    """What is being made is left half-made, and is not taken for whole."""
    codes = rounded.Codes(np.ones((3, 4), np.float16), {})
    with mock.patch.object(threading.main_thread(), "is_alive", lambda: False):
        codes._make_beside()
    assert codes.nbytes == 0
    assert codes.made().rows.tolist() == [[0] * 4] * 3  # rows less their mean


@fork
@pytest.mark.parametrize("kind", KINDS)
def test_a_forked_child_scans_as_its_parent_does(kind):
    """After the parent used all its threads."""
    rng = np.random.default_rng(0)
    rows, queries = unit_rows(rng, 3000, 16).astype(np.float16), unit_rows(rng, 40, 16)
    with taken(f"{kind}-rows"):
        expected = scan.search(KINDS[kind](rows), NONE, queries, 5)[0]
        child = os.fork()
        if not child:
            same = np.array_equal(scan.search(KINDS[kind](rows), NONE, queries, 5)[0], expected)
            os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@fork
@pytest.mark.parametrize("waits", [True, False])
def test_a_child_forked_while_codes_are_made_makes_them_itself(monkeypatch, waits):
    """The thread that makes them is not in the child, and the lock it holds is free there."""
    real, making, go = rounded.Codes._make, threading.Event(), threading.Event()

    def held(self, each):
        making.set()
        go.wait(60)
        real(self, each)

    monkeypatch.setattr(rounded.Codes, "_make", held)
    segment = Segment(0, unit_rows(np.random.default_rng(0), 300, 8).astype(np.float16), NONE)
    queries = segment.vectors[:20].astype(np.float32)

    def asked_in_child():
        monkeypatch.setattr(rounded.Codes, "_make", real)
        with taken("codes" if waits else "codes-beside"):
            found = [exact.search([segment], queries, 3).rows]
            codes = segment.copies["codes", 0]
            if not waits:
                codes._maker.join()
            found.append(exact.search([segment], queries, 3).rows)
        return codes.nbytes, [rows.tolist() == expected for rows in found]

    with taken("codes-beside"):
        exact.search([segment], queries, 3)
        assert making.wait(60)
    expected = brute_force(segment.vectors, set(), queries, 3)
    try:
        assert in_child(asked_in_child) == "(2400, [True, True])"
    finally:
        go.set()
        segment.copies["codes", 0]._maker.join()
    assert segment.copies["codes", 0].nbytes == 2400  # and the parent's are made all the same


# ---------------------------------------------------------------- which way


@pytest.mark.parametrize(
    ("rows", "queries", "asked", "kind", "loaded", "way"),
    [
        (999, 500, 5_000, "vnni", True, "numpy"),
        (1_000, 1, 1, "vnni", True, "halves"),
        (200_000, 1, 1, "plain", False, "halves"),
        (200_000, 32, 999, "plain", True, "halves"),
        (200_000, 1, 1_000, "vnni", True, "codes"),
        (200_000, 1_000, 1_000, "plain", False, "codes"),
        (200_000, 8, 8, "amx", True, "halves"),
        (200_000, 9, 9, "amx", True, "torch"),
        (200_000, 9, 9, "amx", False, "halves"),
    ],
)
def test_which_way_is_taken(rows, queries, asked, kind, loaded, way):
    assert ways.choose(rows, queries, asked, ways.Here(kind, loaded)) == way
    without = "torch" if loaded and rows >= 1_000 else "numpy"
    assert ways.choose(rows, queries, asked, ways.Here(kind, loaded, kernels=False)) == without


def test_halves_are_float32_without_kernels_too(monkeypatch):
    monkeypatch.setattr(kernels, "can", lambda: False)
    rows = np.array([[1.5, -0.25]], np.float16)
    assert kernels.as_float32(rows).tolist() == [[1.5, -0.25]]
    assert kernels.as_float32(rows).dtype == np.float32


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


@pytest.fixture(params=["bf16", "fp32"])
def certified(request, monkeypatch):
    """certified.search on small pieces and blocks, with the scan asked for, whatever this processor is fast at."""
    torch = pytest.importorskip("torch")
    from indexes import certified

    monkeypatch.setattr(certified, "has_fast_bf16", lambda: request.param != "fp32")
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
    """Neighbours closer to each other than bfloat16 can say: the order is still float32's."""
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
    low = certified.rounded(rows)
    rough = query.to(low.rows.dtype).float()
    scores = low.rows.double() @ rough[0].double()
    bound = certified.error_bound(query, rough, low)
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
