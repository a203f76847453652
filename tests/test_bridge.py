"""The recipe `bridge` with the real weights: heads between frozen towers, with what builtin knows beside them."""

import dataclasses
import errno
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from indexes import durable
from retrieval import open_pairs, packages, recipes, train
from retrieval.encoders import bridging
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest, MissingModel
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


def test_a_setting_that_has_the_towers_asked_in_each_pass_is_refused_before_a_picture_is_read(pairs, config, tmp_path):
    with pytest.raises(
        BadRequest, match="crop=0.5 has them asked in each pass: leave it out, or add --set closed_form="
    ):
        train(pairs, tmp_path / "run", config.settings(["crop=0.5"]), on_decode=lambda *_: pytest.fail("read"))
    with pytest.raises(BadRequest, match="freeze must be image, text or nothing beside lora"):
        config.settings(["lora=4"])
    assert not (tmp_path / "run").exists()


def test_resumed_after_its_end_a_run_of_no_step_is_the_same(pairs, config, tmp_path):
    first = train(pairs, tmp_path / "run", config).encoder.fingerprint
    again = train(pairs, tmp_path / "run", config, resume=True)
    assert again.finished and again.encoder.fingerprint == first
    assert load_encoder(str(tmp_path / "run")).fingerprint == first


@pytest.fixture
def full_disk(monkeypatch):
    """Called with a text: nothing whose path has it can be written any more. Called with "": there is room again."""
    write, no_room = durable.write_bytes, [""]

    def written(path, data):
        if no_room[0] and no_room[0] in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data)

    monkeypatch.setattr(durable, "write_bytes", written)
    return lambda part: no_room.__setitem__(0, part)


def test_a_disk_that_is_full_when_the_run_is_written_leaves_none_and_it_goes_on(pairs, config, tmp_path, full_disk):
    full_disk("encoder.safetensors")
    with pytest.raises(OSError, match="No space left"):
        train(pairs, tmp_path / "run", config)
    with pytest.raises(MissingModel, match="holds no trained encoder: go on with"):
        load_encoder(str(tmp_path / "run"))
    full_disk("")
    assert train(pairs, tmp_path / "run", config, resume=True).finished
    assert load_encoder(str(tmp_path / "run")).dim == 16 + load_encoder("builtin").dim


def test_a_disk_that_is_full_when_features_are_kept_changes_nothing(pairs, config, tmp_path, full_disk, monkeypatch):
    monkeypatch.setenv("MMR_CACHE", str(tmp_path / "cache"))
    full_disk("features")
    first = train(pairs, tmp_path / "one", config).encoder.fingerprint
    assert not list((tmp_path / "cache" / "features").glob("*"))
    full_disk("")
    assert train(pairs, tmp_path / "two", config).encoder.fingerprint == first
    assert list((tmp_path / "cache" / "features").glob("*"))


def test_the_last_blocks_of_a_bridged_run_are_tuned_and_what_builtin_knows_stays(run, pairs, tmp_path):
    before = load_encoder(str(run[1])).state_dict()
    tuned = dataclasses.replace(
        recipes.finetune(), encoder=str(run[1]), freeze="both", unfreeze=2, layer_decay=0.5, batch_size=8, epochs=0.3
    )
    after = train(pairs, tmp_path / "tuned", tuned).encoder.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in changed if ".prior." in name]
    assert "image_tower.tower.project.skip" in changed and any("image_tower.tower.body" in name for name in changed)
