"""The map of `mmr ears` against what it is a formula of: least squares, likelihoods, inner products."""

import numpy as np
import pytest
import torch
from torch import nn

from retrieval.towers.ears import Ears
from retrieval.training import sound_map
from retrieval.training.sound_map import fit, ridge
from rows import unit


def test_ridge_is_least_squares_where_nothing_is_noise():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((60, 5)), rng.standard_normal((5, 3))
    x -= x.mean(0)
    np.testing.assert_allclose(ridge(x, x @ weight)[0], weight, atol=1e-2)


def test_ridge_takes_the_penalty_that_leaves_one_out_best():
    """By hand: every penalty, every row left out."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((20, 8))
    y = x @ rng.standard_normal((8, 2)) + 3 * rng.standard_normal((20, 2))
    x, y = x - x.mean(0), y - y.mean(0)
    mean = (np.linalg.svd(x, compute_uv=False) ** 2).mean()

    def solved(x, y, penalty):
        return np.linalg.solve(x.T @ x + penalty * mean * np.eye(8), x.T @ y)

    def error(penalty):
        total = 0.0
        for out in range(20):
            rest = np.arange(20) != out
            a, b = x[rest].mean(0), y[rest].mean(0)
            total += ((y[out] - b - (x[out] - a) @ solved(x[rest] - a, y[rest] - b, penalty)) ** 2).sum()
        return total

    best = min(sound_map.PENALTIES, key=error)
    np.testing.assert_allclose(ridge(x, y)[0], solved(x, y, best), atol=1e-6)
    rest = np.arange(20) != 7
    a, b = x[rest].mean(0), y[rest].mean(0)
    np.testing.assert_allclose(ridge(x, y)[1][7], b + (x[7] - a) @ solved(x[rest] - a, y[rest] - b, best), atol=1e-2)


@pytest.fixture
def drawn():
    """(rows, texts, others): texts as unit rows (0.6, 0.8 u, 0, 0), of which a row tells u up to an uneven error."""
    rng = np.random.default_rng(3)
    half = unit(rng.standard_normal((60, 4))).astype(float)
    heard = np.concatenate([half, -half])
    texts = np.concatenate([np.full((120, 1), 0.6), 0.8 * heard, np.zeros((120, 2))], 1)
    noise = rng.standard_normal((120, 4)) * (0.05, 0.1, 0.3, 0.6)
    rows = (heard + noise) @ rng.standard_normal((4, 6))
    others = unit(rng.standard_normal((80, 6)) * (1, 1, 1, 1, 1, 0)).astype(float)
    return rows, np.concatenate([texts, np.zeros((120, 1))], 1)[:, :7], np.concatenate([others, np.zeros((80, 1))], 1)


class Heard(nn.Module):
    """A tower that gives the rows as they are put in its pixels."""

    mean, std, spec = (0.0,), (1.0,), {}

    def __init__(self, rows):
        super().__init__()
        self.rows = torch.tensor(rows, dtype=torch.float32)

    def forward(self, pixels):
        return self.rows[: len(pixels)]


def placed(found, rows):
    """Unit rows as Ears makes them of what its tower hears."""
    made = Ears(Heard(rows), rows.shape[1], len(found.middle))
    made.start(**{name: torch.tensor(getattr(found, name), dtype=torch.float32) for name in found.__slots__})
    return made(torch.zeros((len(rows), 4, 4, 1), dtype=torch.uint8)).detach().numpy().astype(float)


def test_inner_products_with_texts_are_likelihoods(drawn, monkeypatch):
    """Up to a scale and what is of the text alone, by NumPy's inverse."""
    rows, texts, others = drawn
    rows = unit(rows).astype(float)
    monkeypatch.setattr(sound_map, "SMOOTHINGS", (0.5,))
    made = placed(fit(rows, texts, others, others), rows)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    middle = texts.mean(0)
    weight, alone = ridge(rows - rows.mean(0), texts - middle)
    errors, expected = texts - middle - alone, (rows - rows.mean(0)) @ weight
    covariance = errors.T @ errors / 120
    covariance += 0.5 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    apart = (texts - middle)[:, None] - expected[None]
    likely = -0.5 * np.einsum("tsd,de,tse->ts", apart, np.linalg.inv(covariance), apart)
    scores = texts @ made.T
    of_sound = [one - one.mean(1, keepdims=True) for one in (scores, likely)]
    scale = (of_sound[0] * of_sound[1]).sum() / (of_sound[1] ** 2).sum()
    assert scale > 0
    np.testing.assert_allclose(of_sound[0], scale * of_sound[1], atol=1e-5)


def test_sounds_are_as_near_to_texts_that_are_not_theirs_as_others_are(drawn):
    rows, texts, others = drawn
    rows = unit(rows).astype(float)
    made = placed(fit(rows, texts, others, others), rows)
    assert (texts.mean(0) @ made.T).mean() == pytest.approx(others.mean(0) @ texts.mean(0), abs=1e-5)
