"""Places and metrics with matrices that can be graded by eye, a brute-force oracle, and the field's own libraries."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval import intervals, metrics, ranking
from eval.measuring import Measured
from eval.ranking import Right, rank
from eval.report import of

EYE = np.eye(4, dtype=np.float32)
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))
DEVICES = [None, "cpu", CUDA]  # NumPy, torch, torch on a card


def scored(scores, right, grade=None):
    """The ranking of items whose scores are these: float32 (queries, items)."""
    query, item = zip(*right, strict=True)
    scores = np.array(scores, np.float32)
    return rank(scores, np.eye(scores.shape[1], dtype=np.float32), Right.of(query, item, grade))[0]


def brute(scores, right):
    """(query, place with ties against, place with ties for it) of each right answer, by comparing all with all."""
    found = []
    for query, item in sorted(right):
        mine, own = scores[query][item], {other for asked, other in right if asked == query}
        wrong = [score for other, score in enumerate(scores[query]) if other not in own]
        ahead = 1 + sum(scores[query][other] > mine for other in own)
        found.append((query, ahead + sum(one >= mine for one in wrong), ahead + sum(one > mine for one in wrong)))
    return found


# ---------------------------------------------------------------- places


def test_places_by_eye():
    # Three queries on axes; items 0 and 1 lie on axis 0, item 2 on axis 1.
    found, _ = rank(EYE[[0, 1, 2]], EYE[[0, 0, 1]], Right.of([0, 1, 2], [0, 2, 1]))
    # Query 0: its item ties with the copy, and ties count against it. Query 1: alone in front. Query 2: all tie at 0.
    assert found.worst.tolist() == [2, 1, 3]
    assert found.best.tolist() == [1, 1, 1]


@st.composite
def judged(draw):
    queries, items = draw(st.integers(1, 8)), draw(st.integers(1, 40))
    numbers = st.integers(0, draw(st.integers(1, 60)))  # few distinct values, so that ties happen
    scores = draw(st.lists(st.lists(numbers, min_size=items, max_size=items), min_size=queries, max_size=queries))
    pairs = st.tuples(st.integers(0, queries - 1), st.integers(0, items - 1))
    return scores, draw(st.sets(pairs, min_size=1, max_size=60))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # where others work too, drawing takes long
@given(
    judged(), st.sampled_from([1, 3, 16, ranking.TILE]), st.sampled_from([1, ranking.SORTED_FROM]),
    st.sampled_from([None, "cpu"]),
)  # fmt: skip
def test_places_are_those_of_brute_force_in_both_directions(given_scores, tile, sorted_from, device):
    """In tiles of any size, whether they are sorted or not, by NumPy or by torch."""
    scores, right = given_scores
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "TILE", tile)
        patch.setattr(ranking, "SORTED_FROM", sorted_from)
        items = np.eye(len(scores[0]), dtype=np.float32)
        there, back = rank(np.array(scores, np.float32), items, Right.of(*zip(*right, strict=True)), device)
    turned = np.array(scores).T.tolist(), {(item, query) for query, item in right}
    for found, expected in ((there, brute(scores, right)), (back, brute(*turned))):
        for place, column in ((found.worst, 1), (found.best, 2)):
            # Right answers of one score stand in any order among themselves: their places are compared moved apart.
            assert _apart(found.query, place) == _apart([one[0] for one in expected], [one[column] for one in expected])


def _apart(query, place):
    """Places by query, where those that are the same are moved behind each other."""
    found = {}
    for one, at in sorted(zip(np.asarray(query).tolist(), np.asarray(place).tolist(), strict=True)):
        held = found.setdefault(one, [])
        held.append(max(at, held[-1] + 1) if held else at)
    return found


@pytest.mark.parametrize("device", DEVICES)
def test_equal_vectors_are_a_tie_whatever_tile_they_are_in(device):
    """Products of the same rows differ in their last bit from one tile to another."""
    rows = np.random.default_rng(0).standard_normal((3, 300), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    many = np.tile(rows[:1], (2 * ranking.TILE + 7, 1))
    found, _ = rank(rows[:1], many, Right.of([0], [5]), device)
    assert (found.worst.tolist(), found.best.tolist()) == ([len(many)], [1])


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_no_number_is_found_last_and_finds_nothing(device):
    rows = EYE.copy()
    rows[1, 2] = np.nan
    there, back = rank(EYE, rows, Right.of(range(4), range(4)), device)
    assert there.worst.tolist() == [1, 4, 1, 1]
    assert back.worst.tolist() == [1, 4, 1, 1]
    assert there.best.tolist() == [1, 4, 1, 1], "it is no tie that could be for the model"


def test_an_item_that_answers_twice_is_an_error():
    with pytest.raises(ValueError, match="twice"):
        Right.of([0, 0], [1, 1])


def test_a_part_of_the_queries_is_numbered_anew():
    whole = scored([[3, 2, 1], [1, 2, 3], [2, 3, 1]], [(0, 1), (1, 0), (2, 1), (2, 2)])
    part = whole.part(np.array([0, 2]))
    assert (part.query.tolist(), part.worst.tolist(), part.queries, part.items) == ([0, 1, 1], [2, 1, 3], 2, 3)


# ---------------------------------------------------------------- metrics


def test_metrics_by_hand():
    """One query, ten items, three right answers at places 2, 3 and 7."""
    scores = [[90, 80, 70, 60, 50, 40, 30, 20, 10, 0]]
    found = metrics.measure(scored(scores, [(0, 1), (0, 2), (0, 6)]))
    gain = [1 / np.log2(place + 1) for place in (2, 3, 7)]
    ideal = [1 / np.log2(place + 1) for place in (1, 2, 3)]
    expected = {
        "hit@1": 0, "hit@5": 1, "hit@10": 1, "recall@1": 0, "recall@5": 2 / 3, "recall@10": 1,
        "map": (1 / 2 + 2 / 3 + 3 / 7) / 3, "map@10": (1 / 2 + 2 / 3 + 3 / 7) / 3, "r_precision": 2 / 3,
        "ndcg@10": sum(gain) / sum(ideal), "mrr": 1 / 2, "median_rank": 2, "mean_rank": 2,
    }  # fmt: skip
    assert found == pytest.approx(expected)
    assert tuple(found) == metrics.METRICS


def test_what_stands_behind_the_tenth_counts_in_map_alone():
    scores = [list(range(20, 0, -1))]
    found = metrics.measure(scored(scores, [(0, 0), (0, 14)]))
    assert (found["map"], found["map@10"]) == (pytest.approx((1 + 2 / 15) / 2), 0.5)


def test_grades_are_gains_and_ties_between_right_answers_put_the_lower_first():
    ranking_ = scored([[5, 5, 1]], [(0, 0), (0, 1)], np.array([1.0, 3.0]))
    worst = (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))
    assert metrics.measure(ranking_)["ndcg@10"] == pytest.approx(worst)
    assert metrics.measure(ranking_, optimistic=True)["ndcg@10"] == pytest.approx(1)


def test_a_query_without_an_answer_is_an_error():
    with pytest.raises(ValueError, match="no right answer"):
        metrics.measure(scored([[1, 0], [1, 0]], [(0, 0)]))


@pytest.mark.parametrize(("k", "items", "right"), [(1, 5, 1), (2, 5, 2), (3, 4, 2), (10, 4, 1)])
def test_chance_equals_counting_every_order(k, items, right):
    orders = list(itertools.permutations(range(items)))
    hit = sum(any(place < right for place in order[:k]) for order in orders) / len(orders)
    assert metrics.chance_hit(k, items, right) == pytest.approx(hit)


# ---------------------------------------------------------------- how sure


def test_the_interval_holds_the_value_and_narrows_with_more_pictures():
    def width(pictures):
        values = np.tile([1.0, 0.0], pictures)[:, None]
        (low,), (high,) = intervals.confidence(values, np.arange(len(values)))
        assert low < 0.5 < high
        return high - low

    # Standard error sqrt(.25 / n): 100 times the pictures, a tenth of the width.
    assert width(1000) == pytest.approx(width(10) / 10, rel=0.25)


def test_pictures_are_drawn_whole():
    """A picture's captions that are all right or all wrong are no more evidence than one is."""
    once = np.tile([1.0, 0.0], 50)[:, None]
    five = np.repeat(once, 5, axis=0)
    one = np.array(intervals.confidence(once, np.arange(100)))
    assert np.array(intervals.confidence(five, np.repeat(np.arange(100), 5))) == pytest.approx(one)


def test_a_picture_counts_by_its_captions():
    """Whatever is drawn, the mean of ones is one."""
    low, high = intervals.confidence(np.ones((9, 1)), np.array([0, 0, 0, 0, 0, 0, 0, 1, 2]))
    assert (low[0], high[0]) == (1.0, 1.0)


def test_mcnemar_is_the_sign_test_of_what_only_one_finds():
    from scipy.stats import binomtest

    random = np.random.default_rng(0)
    for queries in (10, 200, 40_000):
        one, other = random.random((2, queries)) < [[0.52], [0.5]]
        first, apart = int((one & ~other).sum()), int((one != other).sum())
        expected = binomtest(first, apart).pvalue
        assert intervals.mcnemar(one, other) == pytest.approx(expected, rel=1e-9 if queries < 1000 else 0.02)
    assert intervals.mcnemar(one, one) == 1.0


# ---------------------------------------------------------------- a whole report


def test_a_collapsed_model_gets_no_credit_and_is_told():
    same = np.tile(EYE[:1], (50, 1))
    got = of(Measured("same", "", (), (), same, same, np.arange(50)))
    assert got.text_to_image["hit@10"] == 0.0
    assert got.image_to_text["median_rank"] == 50.0
    assert got.optimistic["text_to_image"]["hit@1"] == 1.0
    assert "ties decide" in str(got)


def test_any_of_its_captions_is_a_hit_and_all_are_recall():
    # Picture 0 owns captions 0 and 1; caption 1 is right on it, caption 0 is far away.
    got = of(Measured("few", "", (), (), EYE[[0, 1]], EYE[[3, 0, 1]], np.array([0, 0, 1])))
    assert (got.image_to_text["hit@1"], got.image_to_text["recall@1"]) == (1.0, 0.75)
    assert got.r_sum == pytest.approx(100 * (2 / 3 + 1 + 1 + 3))
