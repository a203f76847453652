"""Heads on one vector: each equals what it must equal, and is chosen on rows held out only."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression, Ridge

from retrieval.errors import BadRequest
from retrieval.heads import probes, zero_shot
from retrieval.heads.config import HeadConfig
from retrieval.heads.probes import adapters, linear
from retrieval.heads.probes.linear import Rows
from rows import unit_tensor
from toy import ToyEncoder


def rows(count=60, classes=3, dim=8, held=20, noise=0.5, seed=0):
    """Vectors around the words of their classes, and the words."""
    words = unit_tensor(classes, dim, seed=seed)
    target = torch.arange(count + held) % classes
    vectors = F.normalize(words[target] + noise * unit_tensor(count + held, dim, seed=seed + 1), dim=1)
    return Rows(vectors[:count], target[:count], vectors[count:], target[count:], classes, words)


def test_zero_shot_is_open_clips_own():
    """Its builder, given a model that encodes as the toy does, makes the same weights."""
    import open_clip

    toy, names = ToyEncoder(), ["red", "green", "red blue"]
    templates = ["a photo of a {}.", "the {} one", "{}"]

    class Model:
        @staticmethod
        def encode_text(texts, normalize):
            assert normalize
            return torch.from_numpy(toy.encode_texts(texts))

    class Texts(list):
        def to(self, device):
            return self

    weights = open_clip.build_zero_shot_classifier(
        Model(), Texts, names, [lambda name, t=t: t.format(name) for t in templates], device="cpu"
    )
    ours = zero_shot.class_vectors(toy, names, templates)
    assert np.abs(ours - weights.numpy().T).max() < 1e-6


def test_a_template_twice_counts_twice_and_their_order_not():
    toy = ToyEncoder()
    once = zero_shot.class_vectors(toy, ["red"], ["{}", "{} green"])
    assert np.allclose(once, zero_shot.class_vectors(toy, ["red"], ["{} green", "{}"]), atol=1e-7)
    twice = zero_shot.class_vectors(toy, ["red"], ["{}", "{}", "{} green"])
    assert twice[0, 0] > once[0, 0]
    with pytest.raises(BadRequest, match="has no {}"):
        zero_shot.class_vectors(toy, ["red"], ["a photo"])


def test_one_neighbor_is_its_label_and_k_are_a_brute_force_vote():
    data = rows(noise=2.0)
    one = linear.filled(data.vectors, data.target, 3, 1)
    assert one(data.vectors).argmax(1).equal(data.target)
    five = linear.filled(data.vectors, data.target, 3, 5)
    near = (data.held @ data.vectors.half().float().T).topk(5)
    votes = torch.zeros(20, 3).scatter_add_(1, data.target[near.indices], (near.values / five.temperature).softmax(1))
    assert torch.allclose(five(data.held), votes.clamp(min=1e-4).log(), atol=1e-3)


def test_ridge_is_scikit_learns():
    data = rows(noise=1.5)
    goal = 2 * F.one_hot(data.target, 3).numpy() - 1.0
    for (weight, bias), penalty in zip(
        linear.ridge_path(data.vectors, data.target, 3, torch.tensor([1e-4, 1e-1])), (1e-4, 1e-1), strict=True
    ):
        oracle = Ridge(penalty * len(data.vectors)).fit(data.vectors.numpy(), goal)
        assert np.abs(weight.numpy() - oracle.coef_).max() < 1e-4
        assert np.abs(bias.numpy() - oracle.intercept_).max() < 1e-4


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_logistic_is_scikit_learns(penalty):
    data = rows(count=120, noise=1.5)
    weight, bias = linear.lbfgs(data.vectors, data.target, 3, penalty)
    oracle = LogisticRegression(C=1 / penalty, max_iter=2000, tol=1e-8).fit(data.vectors.numpy(), data.target.numpy())
    ours = (data.held @ weight.T + bias).softmax(1).numpy()
    assert np.abs(ours - oracle.predict_proba(data.held.numpy())).max() < 2e-3


def test_the_search_finds_the_top_of_a_hill_with_few_looks():
    for top in (0, 13, 50, 95):
        seen = set()

        def height(step, top=top, seen=seen):
            seen.add(step)
            return -abs(step - top)

        assert abs(linear.search(height) - top) <= 1
        assert len(seen) <= 7 + 2 * 5
    assert linear.penalty_of(0) == 1e-6
    assert linear.penalty_of(95) == pytest.approx(1e6)


def test_prototypes_are_the_means():
    data = rows(held=0)
    probe, _ = linear.prototypes(data)
    mean = F.normalize(data.vectors[data.target == 1].mean(0), dim=0)
    assert torch.allclose(F.normalize(probe.weight[1], dim=0), mean, atol=1e-6)


def test_tip_adapter_without_its_cache_is_zero_shot_and_with_a_steep_one_the_nearest():
    data = rows(noise=2.0)
    probe = adapters.Tip(8, 3, 60).set(data.words, data.vectors, data.target, 0.0, 5.5)
    assert torch.equal(probe(data.held), 100 * data.held @ data.words.T)
    probe.set(data.words, data.vectors, data.target, 1e30, 300.0)
    nearest = data.target[(data.held @ data.vectors.T).argmax(1)]
    assert probe(data.held).argmax(1).equal(nearest)


def test_tip_adapter_f_starts_as_tip_adapter(monkeypatch):
    data = rows(noise=2.0)
    monkeypatch.setattr(adapters, "EPOCHS", 0)
    ours, plain = adapters.tip_f(data)[0], adapters.tip(data)[0]
    assert torch.equal(ours(data.held), plain(data.held))


def test_the_few_shot_heads_are_at_least_zero_shot_where_they_choose():
    """alpha 0 and step 0 are among what they choose from."""
    data = rows(count=90, held=60, noise=3.0, seed=3)
    plain = (data.held @ data.words.T).argmax(1).eq(data.held_target).float().mean()
    for fit in (adapters.tip, adapters.tip_f):
        before = fit(data)[1]
        assert before(data.held).argmax(1).eq(data.held_target).float().mean() >= plain


def test_nothing_is_chosen_on_other_rows_than_those_held_out():
    """Poisoned labels of the held-out rows change the choice; the rows to be judged are not given at all."""
    data = rows(noise=1.0)
    turned = Rows(data.vectors, data.target, data.held, (data.held_target + 1) % 3, 3, data.words)
    assert float(adapters.tip(data)[1].alpha) != float(adapters.tip(turned)[1].alpha) or torch.equal(
        adapters.tip(data)[1].keys, adapters.tip(turned)[1].keys
    )
    assert len(adapters.tip(data)[0].keys) == 80


def test_clip_adapter_with_no_share_is_zero_shot():
    data = rows()
    probe = adapters.ClipAdapter(8, 3, 0.0)
    probe.words.copy_(data.words)
    assert torch.allclose(probe(data.held), 100 * data.held @ data.words.T, atol=1e-4)


def test_lp_plus_plus_never_rises_and_starts_at_the_words():
    data = rows(noise=2.0)
    probe = adapters.LpPlusPlus(8, 3)
    probe.words.copy_(data.words)
    assert torch.allclose(probe(data.held), 100 * data.held @ data.words.T, atol=1e-4)
    truth = F.one_hot(data.target, 3).float()
    losses = [adapters.descend(probe, data.vectors, truth) for _ in range(60)]
    assert all(after <= before + 1e-5 for before, after in zip(losses, losses[1:], strict=False))
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("name", probes.HEADS)
def test_every_head_learns_what_is_there_and_comes_back_from_its_tensors(name):
    data = rows(noise=0.4)
    there = torch.ones(60, dtype=torch.bool)
    config = HeadConfig(fusion="image", head=name)
    learn = ({"image": data.vectors}, {"image": there}, data.target)
    held = ({"image": data.held}, {"image": there[:20]}, data.held_target)
    module, _ = probes.fit_probe(config, {"image": 8}, learn, held, 3, data.words)
    answers = module(*held[:2])
    assert (answers.argmax(1) == data.held_target).float().mean() >= 0.95
    again = probes.rebuild(config, {"image": 8}, 3, module.state_dict())
    assert torch.equal(again(*held[:2]), answers)


def test_several_modalities_stand_side_by_side_and_a_missing_one_adds_nothing():
    module = probes.OneVector(("image", "text"), False, torch.nn.Identity())
    image, text = unit_tensor(2, 4), unit_tensor(2, 3, seed=1)
    there, not_first = torch.tensor([True, True]), torch.tensor([False, True])
    joined = module.joined({"image": image, "text": text}, {"image": there, "text": not_first})
    assert torch.allclose(joined[0], torch.cat([image[0], torch.zeros(3)]), atol=1e-6)
    assert torch.allclose(joined[1], torch.cat([image[1], text[1]]) / 2**0.5, atol=1e-6)


def test_a_head_that_needs_one_vector_says_which():
    dims = {"image": 4, "text": 4}
    with pytest.raises(BadRequest, match="use --fusion with one of image, text, mean, concat"):
        probes.names_of(HeadConfig(fusion="transformer", head="knn"), dims)
    with pytest.raises(BadRequest, match="did you mean `ridge`"):
        probes.names_of(HeadConfig(fusion="image", head="rige"), dims)
