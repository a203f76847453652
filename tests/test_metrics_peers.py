"""Each metric of every query beside two libraries of Information Retrieval: ranx, and trec_eval by ir_measures.

Where they agree with us: average precision, at any k, is over all right answers, not over those that were found (as
torchmetrics has it) nor over the lesser of both (as sentence-transformers has it); gains are the grades themselves;
scores below 0 count like any other (torchmetrics takes them for not found). Where they do not: a tie. trec_eval puts
the later name first, ranx whatever its sort leaves; ours stand against the model, or for it, and hold both between.
"""

import os

import numpy as np
import pytest

from eval import metrics
from eval.ranking import Right, rank

os.environ["NUMBA_DISABLE_JIT"] = "1"  # ranx compiles for most of a minute what is asked here for milliseconds

ir_measures = pytest.importorskip("ir_measures")
ranx = pytest.importorskip("ranx")

NAMES = {  # ours: (ranx's, trec_eval's)
    **{f"hit@{k}": (f"hit_rate@{k}", f"Success@{k}") for k in metrics.KS},
    **{f"recall@{k}": (f"recall@{k}", f"R@{k}") for k in metrics.KS},
    "map": ("map", "AP"), "map@10": ("map@10", "AP@10"), "r_precision": ("r-precision", "Rprec"),
    "ndcg@10": ("ndcg@10", "nDCG@10"), "mrr": ("mrr", "RR"),
}  # fmt: skip


def ours(scores, grades, optimistic=False):
    """Metric -> the value of each query. scores float32 (q, n), grades (q, n), 0 where an item does not answer."""
    query, item = np.nonzero(grades)
    right = Right.of(query, item, grades[query, item].astype(float))
    found, _ = rank(scores, np.eye(scores.shape[1], dtype=np.float32), right)
    return {name: value for name, value in metrics.of_each(found, optimistic).items() if name in NAMES}


def told(scores, grades, name_of):
    """(qrels, run) as both libraries read them."""
    judged, run = {}, {}
    for number, (row, grade) in enumerate(zip(scores, grades, strict=True)):
        name = [name_of(item, int(grade[item])) for item in range(len(row))]
        judged[f"q{number:03d}"] = {name[item]: int(grade[item]) for item in np.flatnonzero(grade)}
        run[f"q{number:03d}"] = {one: float(score) for one, score in zip(name, row, strict=True)}
    return judged, run


def by_ranx(scores, grades, name_of=lambda item, grade: f"d{item:03d}"):
    judged, run = told(scores, grades, name_of)
    asked = [names[0] for names in NAMES.values()]
    found = ranx.evaluate(ranx.Qrels(judged), ranx.Run(run), asked, return_mean=False)
    return {name: found[theirs] for name, (theirs, _) in NAMES.items()}


def by_trec_eval(scores, grades, name_of=lambda item, grade: f"d{item:03d}"):
    judged, run = told(scores, grades, name_of)
    measures = {ir_measures.parse_measure(names[1]): name for name, names in NAMES.items()}
    found = {name: np.full(len(scores), np.nan) for name in NAMES}
    for one in ir_measures.iter_calc(list(measures), judged, run):
        found[measures[one.measure]][int(one.query_id[1:])] = one.value
    return found


def same(found, expected):
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-9, err_msg=name)


def distinct(queries, items, seed=0):
    """Scores between -1 and 1 without ties."""
    random = np.random.default_rng(seed)
    return np.stack([random.permutation(items) for _ in range(queries)]).astype(np.float32) * (2 / items) - 1


def some(shape, share, most=1, seed=1):
    """Grades up to `most` for a share of the items, at least one a query."""
    random = np.random.default_rng(seed)
    grades = random.integers(1, most + 1, shape) * (random.random(shape) < share)
    grades[np.arange(shape[0]), random.integers(shape[1], size=shape[0])] = most
    return grades


CASES = {
    "one right answer": (distinct(40, 50), some((40, 50), 0)),
    "several": (distinct(40, 50), some((40, 50), 0.1)),
    "more than k": (distinct(40, 50), some((40, 50), 0.5)),
    "graded": (distinct(40, 50), some((40, 50), 0.2, most=4)),
    "all right": (distinct(10, 30), np.ones((10, 30), int)),
    "all right and graded": (distinct(10, 30), some((10, 30), 1.0, most=3)),
    "fewer items than k": (distinct(20, 4), some((20, 4), 0.3, most=2)),
    "one item": (np.full((3, 1), -0.5, np.float32), np.ones((3, 1), int)),
    "all below 0": (distinct(40, 50) - 2, some((40, 50), 0.1)),
    "right answers last": (-np.sort(-distinct(5, 40), 1), np.tile(np.arange(40) >= 36, (5, 1)).astype(int)),
}


@pytest.mark.parametrize("case", CASES)
def test_without_ties_all_three_agree(case):
    scores, grades = CASES[case]
    found = ours(scores, grades)
    same(ours(scores, grades, optimistic=True), found)
    same(by_ranx(scores, grades), found)
    same(by_trec_eval(scores, grades), found)


TIED = {
    "few values": (np.random.default_rng(2).integers(4, size=(60, 30)).astype(np.float32), some((60, 30), 0.2, most=3)),
    "all the same": (np.full((4, 25), 0.5, np.float32), some((4, 25), 0.1, most=2)),
    "all the same, all right": (np.zeros((4, 12), np.float32), some((4, 12), 1.0, most=2)),
}


@pytest.mark.parametrize("case", TIED)
def test_ties_against_the_model_are_trec_evals_where_wrong_answers_have_the_later_names(case):
    """And the lower grade of right ones; and for the model, the other way round."""
    scores, grades = TIED[case]
    same(by_trec_eval(scores, grades, lambda item, grade: f"{9 - grade}-{item:03d}"), ours(scores, grades))
    same(by_trec_eval(scores, grades, lambda item, grade: f"{grade}-{item:03d}"), ours(scores, grades, True))


@pytest.mark.parametrize("theirs", [by_ranx, by_trec_eval])
@pytest.mark.parametrize("case", TIED)
def test_any_order_of_ties_lies_between_ours(case, theirs):
    scores, grades = TIED[case]
    worst, best, found = ours(scores, grades), ours(scores, grades, True), theirs(scores, grades)
    for name in NAMES:
        assert (worst[name] <= found[name] + 1e-9).all() and (found[name] <= best[name] + 1e-9).all(), name
