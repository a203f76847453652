"""Ranks and recall with matrices that can be graded by eye, and a brute-force oracle."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import metrics
from eval.report import report

EYE = np.eye(4, dtype=np.float32)


def test_ranks_by_eye():
    # Three queries on axes; items 0 and 1 lie on axis 0, item 2 on axis 1.
    items = EYE[[0, 0, 1]]
    found = metrics.ranks(EYE[[0, 1, 2]], items, np.array([0, 2, 1]), np.arange(3))
    # Query 0: its item ties with the copy, and ties count against it. Query 1: alone in front. Query 2: all tie at 0.
    assert found.tolist() == [2, 1, 3]


def test_any_of_its_captions_counts():
    # Picture 0 owns captions 0 and 1; caption 1 is right on it, caption 0 is far away.
    ranks = metrics.ranks(EYE[[0, 1]], EYE[[3, 0, 1]], np.array([0, 1]), np.array([0, 0, 1]))
    assert ranks.tolist() == [1, 1]


def test_a_collapsed_model_gets_no_credit():
    same = np.tile(EYE[:1], (50, 1))
    got = report(same, same, np.arange(50))
    assert got.text_to_image["recall@10"] == 0.0
    assert got.image_to_text["median_rank"] == 50.0


def test_measures_by_hand():
    assert metrics.measure(np.array([1, 2, 6, 11])) == {
        "recall@1": 0.25, "recall@5": 0.5, "recall@10": 0.75,
        "mrr": (1 + 1 / 2 + 1 / 6 + 1 / 11) / 4, "median_rank": 4.0,
    }  # fmt: skip


@given(st.integers(2, 12), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_ranks_equal_brute_force(items, queries, seed):
    rng = np.random.default_rng(seed)
    # Few distinct values, so that ties happen.
    images = rng.integers(-1, 2, (items, 3)).astype(np.float32)
    texts = rng.integers(-1, 2, (queries, 3)).astype(np.float32)
    owner = rng.integers(items, size=queries)
    expected = []
    for text, own in zip(texts, owner, strict=True):
        scores = [float(text @ image) for image in images]
        expected.append(1 + sum(s >= scores[own] for i, s in enumerate(scores) if i != own))
    assert metrics.ranks(texts, images, owner, np.arange(items)).tolist() == expected


@pytest.mark.parametrize(("k", "items", "right"), [(1, 5, 1), (2, 5, 2), (3, 4, 2), (10, 4, 1)])
def test_chance_equals_counting_every_order(k, items, right):
    orders = list(itertools.permutations(range(items)))
    hit = sum(any(place < right for place in order[:k]) for order in orders) / len(orders)
    assert metrics.chance_recall(k, items, right) == pytest.approx(hit)


def test_a_query_without_an_answer_is_an_error():
    with pytest.raises(ValueError, match="no right answer"):
        metrics.ranks(EYE[:1], EYE[:1], np.array([3]), np.array([0]))


def test_the_interval_holds_the_value_and_narrows_with_more_pictures():
    def width(pictures):
        ranks = np.tile([1, 100], pictures)
        low, high = metrics.confidence(ranks, np.arange(len(ranks)), metrics.recall_at(10))
        assert low < 0.5 < high
        return high - low

    # Standard error sqrt(.25 / n): 100 times the pictures, a tenth of the width.
    assert width(1000) == pytest.approx(width(10) / 10, rel=0.25)
