"""The recipe `bridge` with the real weights: heads between frozen towers, with what builtin knows beside them."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from retrieval import open_pairs, packages, recipes, train
from retrieval.encoders import bridging
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.training import sharing

THERE = all(packages.is_installed(packages.PACKAGES[name]) for name in ("use", "efficientnet-lite2"))
pytestmark = pytest.mark.skipif(not THERE, reason="the packages of builtin's weights are not installed")


@pytest.fixture(scope="module")
def pairs():
    return open_pairs("picturebook:24?size=64")


@pytest.fixture(scope="module")
def config():
    return dataclasses.replace(recipes.bridge(24), views=1, dim=16)


@pytest.fixture(scope="module")
def run(pairs, config, tmp_path_factory):
    """A run in which builtin has a share that is not 0."""
    folder = tmp_path_factory.mktemp("bridge")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "best_share", lambda *given: 0.25)
        said, measured = [], []
        ask = lambda encoder: measured.append(encoder.dim) or {}  # noqa: E731 - one line of a fixture
        made = train(pairs, folder / "run", config, on_message=said.append, on_eval=ask)
        assert measured == [made.encoder.dim]  # what is measured is what people get
        return made, folder / "run", said


def test_scores_are_those_of_what_was_learned_and_of_builtin_by_their_shares(run, pairs):
    encoder = run[0].encoder
    builtin = load_encoder("builtin")
    pixels = encoder.preprocess.normalize(torch.from_numpy(np.stack([encoder.preprocess(_picture(pairs[0]))])))
    tokens = torch.from_numpy(encoder.tokenize(["a red boat", "ein Hund"]))
    with torch.inference_mode():
        learned_image, learned_text = encoder.image_tower.tower(pixels), encoder.text_tower.tower(tokens)
        learned = F.normalize(learned_text, dim=-1) @ F.normalize(learned_image, dim=-1).T
    known = builtin.encode_texts(["a red boat", "ein Hund"]) @ builtin.encode_images([_picture(pairs[0])]).T
    both = encoder.encode_texts(["a red boat", "ein Hund"]) @ encoder.encode_images([_picture(pairs[0])]).T
    assert np.allclose(both, 0.75 * learned.numpy() + 0.25 * known, atol=1e-5)
    assert encoder.dim == 16 + builtin.dim and encoder.languages == builtin.languages


def _picture(pair):
    from retrieval.images import load

    return load.load(pair.item)


def test_the_run_is_read_again_where_no_package_is(run, monkeypatch):
    monkeypatch.setattr(packages, "_folder", lambda package: None)
    again = load_encoder(str(run[1]))
    assert again.fingerprint == run[0].encoder.fingerprint
    words = ["two dogs", "红色的船"]
    assert np.allclose(again.encode_texts(words), run[0].encoder.encode_texts(words), atol=1e-6)


def test_it_says_how_much_of_builtin_there_is(run):
    assert "builtin goes beside what is learned with a share of 25%, by pairs held out" in run[2]


def test_a_share_of_nothing_leaves_the_encoder_as_it_is(run):
    assert bridging.bridged(run[0].encoder, None, 0.0) is run[0].encoder


@pytest.mark.parametrize("form, projection", [("ridge", "bridge"), ("asif", "anchors")])
def test_the_other_closed_forms_are_settings(pairs, config, tmp_path, form, projection):
    changed = dataclasses.replace(config, closed_form=form, projection=projection, prior="")
    made = train(pairs, tmp_path / "run", changed).encoder
    assert made.encode_texts(["a red boat"]).shape == (1, 16)


def test_a_prior_knows_its_own_towers_alone(pairs, config, tmp_path):
    other = dataclasses.replace(config, image_tower="timm:resnet18", image_size=32, freeze="both", unfreeze=1)
    with pytest.raises(BadRequest, match="prior=builtin knows image_tower=package:efficientnet-lite2"):
        train(pairs, tmp_path / "run", other)


def test_of_three_pictures_none_is_said_to_be_held_out(pairs, config, tmp_path):
    said, few = [], [pair for pair in pairs if pair.item.id in sorted({pair.item.id for pair in pairs})[:3]]
    train(few, tmp_path / "run", config, on_message=said.append)
    assert "builtin goes beside what is learned with a share of 95%, since of so few pairs none can be held out" in said
