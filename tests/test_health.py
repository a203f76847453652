"""What goes wrong is said once, with the remedy; what goes well is not spoken of."""

import dataclasses
import math

import pytest
import torch

from retrieval import recipes
from retrieval.datatypes import Features, Item, Pair
from retrieval.training.health import HealthWatch, chance, repeated_captions, say_repeated

CONFIG = dataclasses.replace(recipes.smoke(), lr=3e-3)
LN = math.log(64)


def spread_out(rows=8):
    eye = torch.eye(rows)
    return Features(eye, eye, torch.tensor(1.0))


def said_of(losses, features=None, steps=100):
    said = []
    watch = HealthWatch(CONFIG, 64, steps, said.append)
    for step, loss in enumerate(losses, 1):
        watch(step, loss, features or spread_out())
    return said


def test_collapse_is_said_once():
    one_point = torch.ones(8, 4) / 2
    said = said_of([LN] * 99, Features(one_point, one_point, torch.tensor(1.0)))
    assert len(said) == 1
    assert "collapsed at step 30: pictures have a mean cosine of 1.00" in said[0]


def test_a_loss_that_stays_at_chance_is_said_once():
    said = said_of([LN] * 99)
    assert len(said) == 1
    assert said[0].startswith("after 50 steps the loss is still at chance (4.16 of 4.16")
    assert "--set lr=0.009" in said[0]


def test_a_loss_that_rises_again_is_said_with_a_lower_rate():
    falling = [LN - 0.05 * step for step in range(40)]
    said = said_of([*falling, *[LN + 1] * 40])
    assert len(said) == 1
    assert "the loss has risen from" in said[0]
    assert "--set lr=0.001" in said[0]


def test_a_good_run_is_silent():
    noisy = [LN * 0.98**step + 0.3 * math.sin(step) for step in range(99)]
    assert said_of(noisy) == []


def test_a_short_run_is_not_judged():
    assert said_of([LN] * 19, steps=19) == []


def test_chance_by_hand():
    """An encoder that knows nothing answers 1 / b: the entropy of that, b times, is what the sigmoid loss costs."""
    assert chance("info_nce", 64) == pytest.approx(math.log(64))
    expected = 4 * -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert chance("sigmoid", 4) == pytest.approx(expected)


def pairs_of(captions):
    """A picture for each list of captions."""
    return [
        Pair(Item(str(n), str(n), lambda: b""), text) for n, texts in enumerate(captions) for text in texts
    ]  # fmt: skip


def test_repeated_captions_by_hand():
    # All pictures in one batch: 3 of 4 say "a dog" (spaces and case apart).
    pairs = pairs_of([["A dog"], ["a  dog"], ["a dog"], ["a cat"]])
    assert repeated_captions(pairs, 4) == (pytest.approx(0.75), "a dog")
    # Where each of the others is there one time in three, a dog meets neither of the two others 4 times in 9.
    assert repeated_captions(pairs, 2)[0] == pytest.approx(0.75 * 5 / 9)
    assert repeated_captions(pairs_of([["a"], ["b"], ["c"]]), 3)[0] == 0


def test_captions_of_one_picture_are_not_repeated():
    assert repeated_captions(pairs_of([["a dog", "a dog"], ["a cat"]]), 2)[0] == 0


def test_repeated_captions_match_what_is_drawn():
    """Against counting in drawn batches."""
    import random

    draw = random.Random(0)
    captions = [["a", "b"], ["a", "c"], ["a"], ["d"], ["b", "e", "f"], ["g"], ["a", "g"], ["h"]]
    captions += [[str(n)] for n in range(20)]
    met = 0
    for _ in range(4000):
        batch = [draw.choice(texts) for texts in draw.sample(captions, 14)]
        met += sum(batch.count(text) > 1 for text in batch)
    assert repeated_captions(pairs_of(captions), 14)[0] == pytest.approx(met / 56000, abs=0.005)


def test_many_repeated_captions_are_said_and_few_are_not():
    said = []
    say_repeated(pairs_of([["a dog"]] * 10 + [[str(n)] for n in range(30)]), 32, said.append)
    assert len(said) == 1
    assert "about 25% of the captions are also another picture's, as `a dog`" in said[0]
    say_repeated(pairs_of([[str(n)] for n in range(1000)] + [["0"]]), 32, said.append)
    assert len(said) == 1
