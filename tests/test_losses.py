"""InfoNCE and the sigmoid loss against numbers worked by hand, a float64 oracle, and the promise about slices."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from retrieval.datatypes import Features
from retrieval.losses import info_nce, sigmoid


def features(image, text, scale, bias=None):
    as_tensor = lambda x: None if x is None else torch.as_tensor(x, dtype=torch.float64).requires_grad_()  # noqa: E731
    return Features(as_tensor(image), as_tensor(text), as_tensor(scale), as_tensor(bias))


def random_features(rows, dim=8, scale=10.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: F.normalize(torch.randn(rows, dim, generator=generator), dim=-1)  # noqa: E731
    return draw(), draw(), torch.tensor(scale)


def test_info_nce_by_hand():
    # Two pairs on the axes, scale ln 3: logits are [[ln 3, 0], [0, ln 3]], so each softmax gives 3/4.
    unit = torch.eye(2)
    f = features(unit, unit, math.log(3))
    assert info_nce(f, f).item() == pytest.approx(-math.log(3 / 4), abs=1e-6)


def test_info_nce_at_chance_is_ln_batch():
    same = torch.ones(7, 3) / math.sqrt(3)
    f = features(same, same, 20.0)
    assert info_nce(f, f).item() == pytest.approx(math.log(7), abs=1e-6)


def test_info_nce_equals_a_float64_reference_written_from_the_formula():
    image, text, scale = random_features(33)
    f = features(image, text, scale)
    logits = (scale.double() * image.double() @ text.double().T).numpy()
    rows = [math.log(sum(math.exp(x) for x in line)) - line[i] for i, line in enumerate(logits)]
    columns = [math.log(sum(math.exp(x) for x in line)) - line[i] for i, line in enumerate(logits.T)]
    assert info_nce(f, f).item() == pytest.approx((sum(rows) + sum(columns)) / 66, rel=1e-6)


def test_sigmoid_by_hand():
    # scale 1, bias 0, orthogonal pairs: the two true logits are 1, the two others 0.
    f = features(torch.eye(2), torch.eye(2), 1.0, 0.0)
    expected = (2 * math.log(1 + math.exp(-1)) + 2 * math.log(2)) / 2
    assert sigmoid(f, f).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", [info_nce, sigmoid])
@pytest.mark.parametrize("slices", [(16,), (8, 8), (4, 12), (1, 5, 10)])
def test_slices_of_a_batch_give_its_loss_and_gradient(loss, slices):
    """The loss knows no ranks: `local` rows against everyone's, added up by their share, are the whole batch."""
    image, text, scale = random_features(16)
    whole = features(image, text, scale, -1.0)
    loss(whole, whole, 0).backward()

    world = features(image, text, scale, -1.0)
    total, first = 0.0, 0
    for size in slices:
        part = slice(first, first + size)
        local = world._replace(image=world.image[part], text=world.text[part])
        total = total + loss(local, world, first) * size / 16
        first += size
    total.backward()
    assert total.item() == pytest.approx(loss(whole, whole, 0).item(), rel=1e-6)
    for ours, expected in zip(world, whole, strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(ours.grad, expected.grad, rtol=1e-5, atol=1e-7)
