"""Reduction: of all projections the one that changes the scores of such queries least."""

import numpy as np
import pytest

from indexes.approximate import reduction

RNG = np.random.default_rng(0)
DIM = 12
ROWS = (RNG.standard_normal((4000, DIM)) * np.linspace(3, 0.2, DIM)).astype(np.float32)
# Queries ask about the last directions, where the rows vary least: principal components would drop these.
QUERIES = (RNG.standard_normal((500, DIM)) * np.linspace(0.05, 2, DIM)).astype(np.float32)


def error(learned, queries=QUERIES):
    """The mean square of what the reduction changes in the scores."""
    reduced = (queries @ learned.for_queries) @ (ROWS @ learned.for_rows).T
    return float(((queries @ ROWS.T - reduced) ** 2).mean())


def least_error(rank, queries=QUERIES):
    """What no matrix of that rank can beat: the rest of the singular values of the scores themselves."""
    sizes = np.linalg.svd(np.linalg.qr(queries)[1] @ np.linalg.qr(ROWS)[1].T, compute_uv=False)
    return float((sizes[rank:] ** 2).sum() / len(queries) / len(ROWS))


def plain(monkeypatch):
    monkeypatch.setattr(reduction, "RIDGE", 0)
    monkeypatch.setattr(reduction, "QUERY_ROWS", 0)


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_no_other_reduction_of_that_width_is_nearer_to_the_scores(rank, monkeypatch):
    plain(monkeypatch)
    assert error(reduction.fit(ROWS, QUERIES, rank)) == pytest.approx(least_error(rank), rel=1e-3)


def test_at_full_width_nothing_is_lost():
    learned = reduction.fit(ROWS, QUERIES, DIM)
    np.testing.assert_allclose(learned.for_queries @ learned.for_rows.T, np.eye(DIM), atol=1e-4)


def test_queries_that_lie_in_few_directions_need_no_more(monkeypatch):
    plain(monkeypatch)
    few = (RNG.standard_normal((500, 3)) @ RNG.standard_normal((3, DIM))).astype(np.float32)
    assert error(reduction.fit(ROWS, few, 3), few) == pytest.approx(0, abs=1e-6 * float(((few @ ROWS.T) ** 2).mean()))


def test_queries_come_out_alike_in_every_direction_and_rows_as_large_beside_small(monkeypatch):
    plain(monkeypatch)
    learned = reduction.fit(ROWS, QUERIES, 6)
    queries, rows = QUERIES @ learned.for_queries, ROWS @ learned.for_rows
    moment = queries.T @ queries / len(queries)
    np.testing.assert_allclose(moment, moment[0, 0] * np.eye(6), atol=1e-3 * moment[0, 0])
    sizes = (rows**2).mean(0)
    assert sizes[0] > sizes[2] > sizes[4] > sizes[5] > sizes[3] > sizes[1]
    assert (rows**2).sum(1).mean() == pytest.approx(1, rel=1e-3)


def test_what_queries_never_asked_still_has_some_weight():
    learned = reduction.fit(ROWS, QUERIES[:, :] * (np.arange(DIM) > 3), DIM - 1)
    first = np.eye(DIM, dtype=np.float32)[:1]  # the direction where rows vary most
    exact = first @ ROWS.T
    reduced = (first @ learned.for_queries) @ (ROWS @ learned.for_rows).T
    assert np.corrcoef(exact, reduced)[0, 1] > 0.99
