"""Heads by a formula, beside other libraries' own and cases by hand."""

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import Ridge

from retrieval.errors import BadRequest
from retrieval.towers.projections import Anchors, Bridge
from retrieval.training import closed_forms
from retrieval.training.closed_forms import Seen


def source(n=80, images=6, texts=5, seed=0):
    """Pictures with one view and one text each, which share two directions."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 2))
    x = shared @ rng.normal(size=(2, images)) + 0.3 * rng.normal(size=(n, images))
    y = shared @ rng.normal(size=(2, texts)) + 0.3 * rng.normal(size=(n, texts))
    return Seen(torch.from_numpy(x).float()[:, None], torch.from_numpy(y).float(), torch.arange(n))


def bridges(dim=4, images=6, texts=5, rooted=False):
    torch.manual_seed(0)
    return Bridge(images, dim, rooted).eval(), Bridge(texts, dim).eval()


def unshrunk(power=0.0):
    return lambda pictures: closed_forms._Shrinkage(0.0, 0.0, power)


def test_without_shrinkage_the_directions_are_those_of_canonical_correlation(monkeypatch):
    monkeypatch.setattr(closed_forms, "_shrinkage", unshrunk())
    seen, heads = source(), bridges(2)
    closed_forms.cca(heads, seen)
    with torch.no_grad():
        ours = [head(rows).numpy() for head, rows in zip(heads, (seen.images[:, 0], seen.texts), strict=True)]
    theirs = CCA(2, scale=False, max_iter=10_000, tol=1e-12).fit_transform(
        seen.images[:, 0].numpy(), seen.texts.numpy()
    )
    for mine, other in zip(ours, theirs, strict=True):
        for place in range(2):
            assert abs(np.corrcoef(mine[:, place], other[:, place])[0, 1]) == pytest.approx(1, abs=1e-3)


def test_a_direction_weighs_as_much_as_its_correlation_to_the_power(monkeypatch):
    seen = source()
    sizes = []
    for power in (0.0, 1.0):
        monkeypatch.setattr(closed_forms, "_shrinkage", unshrunk(power))
        heads = bridges(2)
        closed_forms.cca(heads, seen)
        with torch.no_grad():
            rows = heads[0](seen.images[:, 0]).double()
        sizes.append(rows.std(0))
    x, y = seen.images[:, 0].double(), seen.texts.double()
    theirs = CCA(2, scale=False, max_iter=10_000, tol=1e-12).fit_transform(x.numpy(), y.numpy())
    first, second = (np.corrcoef(theirs[0][:, place], theirs[1][:, place])[0, 1] for place in range(2))
    weights = sizes[1] / sizes[0]
    assert float(weights[1] / weights[0]) == pytest.approx(second / first, abs=1e-3)


@pytest.mark.parametrize("rows", [5, 30])
def test_the_inverse_root_by_definition_whether_rows_are_few_or_many(rows):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(rows, 8)))
    found = closed_forms.inverse_root(x, 0.5)
    covariance = x.T @ x / rows
    shrunk = covariance + 0.5 * covariance.trace() / 8 * torch.eye(8)
    torch.testing.assert_close(found @ shrunk @ found, torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(found, found.T)


@pytest.mark.parametrize(("image", "text"), [(1e9, 0.0), (0.0, 1e9)])
def test_each_side_is_shrunk_by_its_own(monkeypatch, image, text):
    monkeypatch.setattr(closed_forms, "_shrinkage", lambda pictures: closed_forms._Shrinkage(image, text, 0.0))
    seen, heads = source(), bridges(2)
    closed_forms.cca(heads, seen)
    x, y = (rows.double() - rows.double().mean(0) for rows in (seen.images[:, 0], seen.texts))
    # A side that is shrunk without end is left as it is; the other is whitened.
    white = [
        rows if shrunk else rows @ closed_forms.inverse_root(rows, 0.0) for rows, shrunk in ((x, image), (y, text))
    ]
    left, _, right = torch.linalg.svd(white[0].T @ white[1])
    expected = white[0] @ left[:, :2], white[1] @ right.T[:, :2]
    with torch.no_grad():
        found = heads[0](seen.images[:, 0]), heads[1](seen.texts)
    for ours, theirs in zip(found, expected, strict=True):
        for place in range(2):
            assert abs(np.corrcoef(ours[:, place], theirs[:, place])[0, 1]) == pytest.approx(1, abs=1e-4)


def test_less_pictures_are_shrunk_more():
    few, many = closed_forms._shrinkage(100), closed_forms._shrinkage(6000)
    assert few.image > many.image and few.text > many.text and few.power > many.power
    assert closed_forms._shrinkage(300) == closed_forms._Shrinkage(10.0, 1.0, 1.0)


def test_ridge_predicts_the_mean_of_the_captions_as_scikit_learn_does():
    one = source()
    seen = Seen(one.images, torch.cat([one.texts, -2 * one.texts]), torch.cat([one.owner, one.owner]))
    heads = bridges(5)
    closed_forms.ridge(heads, seen)
    x, y = one.images[:, 0].double().numpy(), -0.5 * one.texts.double().numpy()
    about = x - x.mean(0)
    penalty = closed_forms.RIDGE * np.trace(about.T @ about) / 6
    expected = Ridge(penalty).fit(x, y).predict(x) - y.mean(0)
    with torch.no_grad():
        image, text = heads[0](one.images[:, 0]).numpy(), heads[1](seen.texts).numpy()
    assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] == pytest.approx(1, abs=1e-5)
    centred = (seen.texts - seen.texts.mean(0)).numpy()
    assert np.corrcoef(text.ravel(), centred.ravel())[0, 1] == pytest.approx(1, abs=1e-5)


def test_asif_by_hand():
    images = torch.tensor([[3.0, 0.0], [0.0, 4.0], [-3.0, -4.0]])
    seen = Seen(images[:, None], torch.tensor([[1.0], [-1.0], [0.0]]), torch.arange(3))
    image, text = Anchors(2, 3), Anchors(1, 3)
    closed_forms.asif((image, text), seen)
    # The mean is 0: the first picture is like itself (1) and against the third (-.6), which counts as 0; one is kept.
    assert image(images[:1]).tolist() == [[1.0, 0.0, 0.0]]
    assert text(torch.tensor([[5.0]])).tolist() == [[1.0, 0.0, 0.0]]


def test_a_bridge_is_its_closed_form_before_the_first_step():
    seen, (image, text) = source(), bridges()
    closed_forms.cca((image, text), seen)
    rows = seen.images[:, 0]
    assert torch.allclose(image(rows), (rows - image.mean) @ image.skip)
    assert image.outer.abs().max() == 0 and image.rates()["outer"] == pytest.approx(1 / 32)


def test_the_root_keeps_a_sign():
    head = Bridge(3, 2, rooted=True)
    assert head.taken(torch.tensor([4.0, -9.0, 0.0])).tolist() == [2.0, -3.0, 0.0]


def test_some_pictures_have_their_own_captions():
    seen = Seen(torch.arange(6.0).view(3, 1, 2), torch.arange(5.0)[:, None], torch.tensor([0, 0, 1, 2, 2]))
    some = seen.some(torch.tensor([2, 0]))
    assert some.texts[:, 0].tolist() == [0, 1, 3, 4] and some.owner.tolist() == [1, 1, 0, 0]
    assert seen.mean_texts()[:, 0].tolist() == [0.5, 2.0, 3.5]


def test_heads_of_another_kind_are_refused():
    class Towers:
        def get_submodule(self, name):
            return torch.nn.Linear(2, 2)

    class Encoder:
        image_tower = text_tower = Towers()

    with pytest.raises(BadRequest, match="closed_form=asif is of other heads: add --set projection=anchors"):
        closed_forms.fill(Encoder(), "asif", source())
