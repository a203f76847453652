"""Which pictures meet: each once in a batch, as often as their weights say, beside those that are like them."""

import numpy as np
import pytest

from indexes import Record, Store
from indexes.errors import StoreError
from retrieval import open_pairs
from retrieval.errors import BadRequest
from retrieval.sources.registry import open_mixture
from retrieval.training import hard_negatives
from retrieval.training.dataset import TrainingSet
from retrieval.training.sampler import Order


def test_a_pass_shows_each_picture_once():
    order = Order(0, 20, 5)
    assert sorted(np.concatenate([order(step) for step in range(4)])) == list(range(20))
    assert not np.array_equal(order(0), order(4))


def test_weights_are_how_often_a_picture_is_drawn():
    """100 pictures, the first 20 with weight 4: in a batch of 9 half are of them (80 of 160), a little less without
    putting back."""
    order = Order(0, 100, 9, np.array([4.0] * 20 + [1.0] * 80))
    batches = [order(step) for step in range(3000)]
    assert all(len(set(batch)) == 9 for batch in batches)
    counts = np.bincount(np.concatenate(batches), minlength=100) / 3000
    assert counts[:20].sum() / 9 == pytest.approx(0.485, abs=0.015)
    assert counts[:20].std() < 0.02
    assert np.array_equal(order(7), Order(0, 100, 9, np.array([4.0] * 20 + [1.0] * 80))(7))


def test_equal_weights_change_nothing():
    assert np.array_equal(Order(3, 20, 5, np.full(20, 2.0))(2), Order(3, 20, 5)(2))


def test_neighbors_fill_their_share_of_the_batch():
    near = np.arange(40).reshape(40, 1) ^ 1  # pictures 2i and 2i + 1 are like each other
    order = Order(0, 40, 8, near=near, share=0.5)
    for step in range(30):
        batch = order(step)
        assert len(set(batch)) == 8
        pairs = sum(int(i) ^ 1 in set(batch) for i in batch)
        assert pairs >= 6  # all but where two of the four that began are each other's
    seen = np.concatenate([order(step)[:4] for step in range(10)])
    assert sorted(seen) == list(range(40))  # the plain part still passes over all


def test_pictures_without_neighbors_get_any_other():
    order = Order(0, 40, 8, near=np.full((40, 3), -1), share=0.5)
    assert all(len(set(order(step))) == 8 for step in range(20))


# ---------------------------------------------------------------- neighbors of an index


@pytest.fixture
def circle(tmp_path):
    """Eight vectors around a circle, 45 degrees apart, `twin` beside `p0`, and `stranger`, no training picture."""
    angles = np.array([*np.arange(8) * np.pi / 4, 0.01, 0.4])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    store = Store.create(tmp_path / "i", 2)
    store.add(vectors, [Record(name) for name in (*(f"p{n}" for n in range(8)), "twin", "stranger")])
    store.close()
    return tmp_path / "i"


def test_the_nearest_are_those_beside(circle):
    ids = ["p3", "p0", "missing", "p1", "twin", "p7"]
    near = hard_negatives.nearest(circle, ids, 4)[:, :2]
    assert hard_negatives.nearest(circle, ids, 3).shape == (6, 3)
    # p0: p1 and p7 beside it; not its twin (the same picture), not itself, not the stranger between p0 and p1.
    assert set(near[1]) == {3, 5}
    assert near[0].tolist() == [3, 4]  # p3: p1 at 90 degrees, then the twin, a hair nearer than p0
    assert near[2].tolist() == [-1, -1]


def test_an_index_of_other_pictures_is_refused(circle, tmp_path):
    with pytest.raises(BadRequest, match="holds none of the pictures: fill it with mmr index SOURCE"):
        hard_negatives.nearest(circle, ["a", "b"])
    with pytest.raises(StoreError, match="no index at"):
        hard_negatives.nearest(tmp_path / "none", ["p1"])


# ---------------------------------------------------------------- several sources


def test_sources_are_mixed_with_their_weights(book):
    pairs = open_mixture([f"csv:{book}/pairs.csv?split=dev", "2.5:picturebook:5?size=32"])
    assert {pair.weight for pair in pairs} == {1.0, 2.5}
    assert {len({p.item.id for p in pairs if p.weight == w}) for w in (1.0, 2.5)} == {10, 5}


def test_ids_of_two_sources_do_not_meet(book):
    one = open_pairs(f"csv:{book}/pairs.csv?split=dev")
    both = open_mixture([f"csv:{book}/pairs.csv?split=dev"] * 2)
    assert len(both) == 2 * len(one)
    assert len({pair.item.id for pair in both}) == 20
    assert {pair.item.id for pair in both[: len(one)]} == {pair.item.id for pair in one}


@pytest.mark.parametrize("text", ["0:picturebook:5", "0.0:picturebook:5"])
def test_a_weight_of_nothing_is_refused(text):
    with pytest.raises(BadRequest, match="weight is a number above 0, as in 2:picturebook:5"):
        open_mixture([text])


def test_a_training_set_draws_by_weight():
    import dataclasses

    from retrieval import recipes
    from retrieval.encoders.build import small_encoder

    pairs = open_mixture(["picturebook:10?size=32", "9:picturebook:10?split=test&size=32"])
    config = dataclasses.replace(recipes.smoke(), batch_size=4)
    model = small_encoder([p.caption for p in pairs], dim=8, image_size=32, image={"width": 16}, text={"width": 64})
    data = TrainingSet(pairs, model, config)
    drawn = np.concatenate([data.order(step) for step in range(500)])
    assert 0.75 < (drawn >= 10).mean() < 0.9
