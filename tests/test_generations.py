"""Generations: each is taught by the one before it, and a stopped one goes on where it was."""

import dataclasses

import pytest

from retrieval import load_encoder, open_pairs, recipes, train
from retrieval.errors import BadRequest
from retrieval.training.loop import config_of

CONFIG = dataclasses.replace(recipes.smoke(), precision="fp32", batch_size=12, captions=2, epochs=2, generations=2)


@pytest.fixture(scope="module")
def pairs():
    return open_pairs("picturebook:24?size=48")


@pytest.fixture(scope="module")
def straight(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generations") / "run"
    return folder, train(pairs, folder, CONFIG)


def test_two_generations_are_two_runs_by_hand(pairs, straight, tmp_path):
    folder, result = straight
    alone = dataclasses.replace(CONFIG, generations=1)
    first = train(pairs, tmp_path / "first", alone)
    second = train(pairs, tmp_path / "second", dataclasses.replace(alone, teacher=str(tmp_path / "first")))
    assert load_encoder(str(folder / "generation-1")).fingerprint == first.encoder.fingerprint
    assert load_encoder(str(folder)).fingerprint == result.encoder.fingerprint == second.encoder.fingerprint
    assert first.encoder.fingerprint != second.encoder.fingerprint
    assert config_of(folder) == CONFIG


def test_one_generation_is_a_plain_run(pairs, straight, tmp_path):
    """The first of two is what one alone is, and a run of one has no folder of another in it."""
    alone = train(pairs, tmp_path / "run", dataclasses.replace(CONFIG, generations=1))
    assert alone.encoder.fingerprint == load_encoder(str(straight[0] / "generation-1")).fingerprint
    assert not (tmp_path / "run" / "generation-1").exists()


@pytest.mark.parametrize("stop", [1, 5])  # of 4 steps a generation
def test_stopped_in_either_generation_it_goes_on_to_the_same_bits(pairs, straight, tmp_path, stop):
    asked = iter(range(100))
    stopped = train(pairs, tmp_path / "run", CONFIG, should_stop=lambda: next(asked) >= stop - 1)
    assert not stopped.finished
    finished = train(pairs, tmp_path / "run", CONFIG, resume=True)
    assert finished.finished
    assert finished.encoder.fingerprint == straight[1].encoder.fingerprint


def test_what_cannot_be_is_said(pairs, straight, tmp_path, monkeypatch):
    with pytest.raises(BadRequest, match="holds a run already"):
        train(pairs, straight[0], CONFIG)
    with pytest.raises(BadRequest, match="generations must be above 0"):
        CONFIG.settings(["generations=0"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadRequest, match="one process"):
        train(pairs, tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()


def test_the_long_recipe_is_the_usual_one_twice_and_longer():
    longer, usual = recipes.long(6000), recipes.from_scratch(6000)
    assert (longer.generations, longer.image_width, longer.epochs) == (2, 64, 55)
    assert longer.epochs > usual.epochs
    assert recipes.long(1).epochs == 200
    assert recipes.long(10**9).epochs == 4


def test_few_pictures_teach_words_without_order_and_many_teach_order():
    for recipe in (recipes.from_scratch, recipes.long):
        assert (recipe(6000).text_layers, recipe(100_000).text_layers) == (0, 2)
