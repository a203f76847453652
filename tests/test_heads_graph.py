"""The graph: GATv2 beside dense attention, labels and scores that spread, and that nothing changes without edges."""

import numpy as np
import pytest
import torch

from indexes import Store
from retrieval.heads import fusions, propagation
from retrieval.heads.batch import batch_of
from retrieval.heads.config import HeadConfig
from retrieval.heads.fit import fit
from retrieval.heads.fusions import graph
from retrieval.heads.inputs import Inputs
from rows import unit
from terminal import fails, mmr


def rings(rows, seed=0):
    """Two classes that no line parts: an inner and an outer ring, as unit rows in three dimensions."""
    rng = np.random.default_rng(seed)
    label = np.arange(rows) % 2
    angle, height = rng.uniform(0, 2 * np.pi, rows), np.where(label, 0.2, 0.8) + rng.normal(0, 0.02, rows)
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), height], 1).astype(np.float32), label


def test_gatv2_is_dense_masked_attention():
    torch.manual_seed(0)
    layer, x = graph.GATv2(6), torch.randn(5, 6)
    edges = torch.tensor([[0, 1, 2, 3, 0], [1, 0, 1, 1, 2]])
    adjacent = torch.zeros(5, 5, dtype=torch.bool)
    adjacent[edges[1], edges[0]] = True
    left, right = layer.left(x), layer.right(x)
    scores = layer.score(torch.nn.functional.leaky_relu(left[:, None] + right[None], 0.2))[..., 0]
    weights = scores.masked_fill(~adjacent, -torch.inf).softmax(1).nan_to_num(0.0)
    assert torch.allclose(layer(x, edges), x + weights @ right, atol=1e-6)


def test_a_node_without_edges_comes_out_as_it_went_in():
    layer, x = graph.GATv2(4), torch.randn(3, 4)
    out = layer(x, torch.tensor([[0], [1]]))
    assert torch.equal(out[[0, 2]], x[[0, 2]])
    assert not torch.equal(out[1], x[1])
    assert torch.equal(layer(x, torch.empty(2, 0, dtype=torch.int64)), x)


def test_nearest_is_brute_force_both_ways():
    vectors, _ = rings(30)
    order = np.argsort(-(vectors @ vectors.T) + 9 * np.eye(30), axis=1)[:, :3]
    expected = {(a, b) for a in range(30) for b in order[a]} | {(b, a) for a in range(30) for b in order[a]}
    found = propagation.nearest(vectors, 3)
    assert len(expected ^ set(map(tuple, found.T.tolist()))) <= 4  # ties of float16
    assert {(b, a) for a, b in found.T} == set(map(tuple, found.T))


def test_two_labels_reach_everything_that_hangs_together():
    vectors, label = rings(200)
    known = np.full(200, -1)
    known[:6] = label[:6]
    answers = propagation.propagate(known, 2, propagation.nearest(vectors, 6), 0.99).argmax(1)
    means = np.stack([vectors[:6][label[:6] == c].mean(0) for c in (0, 1)])
    assert (answers == label).mean() >= 0.95
    assert (answers == label).mean() > ((vectors @ means.T).argmax(1) == label).mean()


def test_without_edges_nothing_spreads():
    values = np.random.default_rng(0).normal(size=(8, 3))
    nothing = np.empty((2, 0), np.int64)
    assert np.array_equal(propagation.spread(values, nothing, 0.3), values)
    assert np.allclose(propagation.spread(values, propagation.nearest(rings(8)[0], 2), share=0.0), values)


def test_labels_of_a_few_items_fill_an_index(trained, book, tmp_path):
    rows = [f"{book}/{n:03d}.png,{'' if n > 5 else 'even' if n % 2 else 'odd'}" for n in range(40)]
    (tmp_path / "some.csv").write_text("\n".join(["image,kind", *rows]) + "\n")
    index = tmp_path / "i.mmr"
    assert mmr("index", tmp_path / "some.csv", "--index", index, "--model", trained).exit_code == 0
    fails(mmr("head", "propagate", index, "sort"), 2, "has nothing in `sort`", "label items of two classes")
    with Store.open(index) as store:
        rows = store.rows()
        records = store.records(rows)
        before = {r.id: (v, r.fields) for r, v in zip(records, store.vectors(rows), strict=True)}
    done = mmr("head", "propagate", index, "kind")
    assert done.exit_code == 0, done.output
    assert "predicted_kind of 40 items" in done.stdout
    with Store.open(index) as store:
        records = store.records(store.rows())
        for record, vector in zip(records, store.vectors(store.rows()), strict=True):
            labels, given = record.fields["labels"], record.fields.get("meta", {}).get("kind")
            said, sure = labels["predicted_kind"], labels["predicted_kind_probability"]
            assert said == given if given else said in ("even", "odd")
            assert 1.0 >= sure >= (1.0 if given else 0.5)
            old_vector, old = before[record.id]
            assert np.allclose(vector, old_vector, atol=1e-3)
            assert record.fields == old | {
                "labels": {"predicted_kind": said, "predicted_kind_probability": sure}
            }  # fmt: skip
        assert store.verify() == []
    said = mmr("ls", "--index", index, "--where", "predicted_kind in ('even', 'odd')")
    assert len(said.stdout.splitlines()) == 40
    again = mmr("index", tmp_path / "some.csv", "--index", index, "--model", trained)
    assert "40 as before" in again.stdout


def test_what_no_label_reaches_is_left_out():
    answers = propagation.propagate(np.array([0, -1, 1, -1, -1]), 2, np.array([[0, 1, 3, 4], [1, 0, 4, 3]]))
    assert answers[:2].argmax(1).tolist() == [0, 0]
    assert (answers[3:] == 0).all()


def test_a_row_is_never_its_own_neighbor():
    vectors, label = rings(20)
    module = fusions.build(HeadConfig(fusion="graph", width=16), {"image": 3}, 2)
    data = batch_of(Inputs({"image": vectors}, {"image": np.ones(20, bool)}), label)
    module.remember(data.vectors, data.present, data.target)
    (source, goal), _ = module.edges(data.vectors, data.present)
    assert not (source == goal).any()
    assert torch.bincount(goal).tolist() == [16] * 20


def test_the_graph_beats_two_layers_where_like_keeps_with_like():
    """Clusters of random class: what a row is says nothing, whom it is near says all."""
    rng = np.random.default_rng(0)
    centres, kind = rng.normal(size=(80, 24)), rng.integers(0, 2, 80)

    def draw(rows):
        which = rng.integers(0, 80, rows)
        vectors = unit(centres[which] + rng.normal(0, 0.3, (rows, 24)))
        return Inputs({"image": vectors}, {"image": np.ones(rows, bool)}), [str(k) for k in kind[which]]

    inputs, labels = draw(360)
    test, truth = draw(300)
    right = {}
    for name in ("graph", "image"):
        config = HeadConfig(fusion=name, width=32, dropout=0.0, epochs=12, lr=3e-3, refit=False)
        module = fit(inputs, labels, ["0", "1"], "single", config).module
        data = batch_of(test, np.zeros(300, np.int64))
        answers = module(data.vectors, data.present).argmax(1)
        right[name] = np.mean([str(int(a)) == t for a, t in zip(answers, truth, strict=True)])
    assert right["graph"] >= 0.9
    assert right["graph"] > right["image"]


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_what_spreads_is_the_closed_form(share):
    edges = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])
    matrix = np.zeros((3, 3))
    matrix[edges[1], edges[0]] = 1 / np.sqrt(np.array([1, 2, 1])[edges[0]] * np.array([1, 2, 1])[edges[1]])
    values = np.array([[1.0], [0.0], [3.0]])
    expected = (1 - share) * np.linalg.solve(np.eye(3) - share * matrix, values)
    assert np.allclose(propagation.spread(values, edges, share, steps=300), expected)
