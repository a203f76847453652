"""Heads trained on features that were kept: what the bodies say is asked once."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from retrieval import TrainConfig, open_pairs, towers, train
from retrieval.encoders import onnx_export
from retrieval.encoders.load import load_encoder
from retrieval.encoders.onnx_session import Session
from retrieval.encoders.views import views
from retrieval.images import load
from retrieval.towers.layers import RowDropout
from retrieval.towers.tower import TextTower
from retrieval.training import checkpoints, features, setup
from retrieval.training.dataset import TrainingSet
from retrieval.training.optimizer import Optimizer
from retrieval.training.step import backward


class Bag(TextTower):
    """The mean of random words, never trained."""

    has_features, new_parts = True, ("project",)
    asked = 0

    def __init__(self, dim, vocabulary, width=16, context=64, dropout=0.0, **rest):
        super().__init__()
        self.spec = {"type": "rnn", "vocabulary": vocabulary, "width": width, "context": context}
        self.body = nn.ModuleList([nn.EmbeddingBag(vocabulary, width, padding_idx=0)])
        self.body[0].register_buffer("statistics", torch.zeros(3))
        self.dropout, self.project, self.width = RowDropout(dropout), nn.Linear(width, dim), width

    def features(self, tokens):
        Bag.asked += len(tokens)
        return self.body[0](tokens)

    def head(self, features):
        return self.project(self.dropout(features))

    def forward(self, tokens):
        return self.head(self.features(tokens))


@pytest.fixture(autouse=True)
def bag(tmp_path, monkeypatch):
    monkeypatch.setitem(towers.TEXT_TOWERS, "rnn", Bag)
    monkeypatch.setenv("MMR_CACHE", str(tmp_path / "cache"))
    return Bag


def config(**changed):
    return TrainConfig(
        image_tower="timm:resnet18", text_tower="rnn", image_size=32, dim=8, batch_size=4, epochs=3, freeze="both",
        unfreeze=1, crop=1.0, views=2, flip="no", evaluations=0, dropout=0.25, **changed,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pairs():
    return open_pairs("picturebook:10?size=32")


def test_features_are_what_the_bodies_say_of_each_view_and_caption(pairs, tmp_path):
    torch.manual_seed(0)
    encoder = setup.first_encoder(pairs, config())
    setup._choose_what_is_trained(encoder, config())
    assert features.what_changes(encoder, config()) == ""
    data = features.FeatureSet(pairs, encoder, config())
    assert data.pixels.shape == (10, 2, 512)
    item = data._items[3]
    shown = encoder.preprocess.normalize(torch.from_numpy(encoder.preprocess(load.load(item))[None]))
    with torch.no_grad():
        expected = torch.cat([encoder.image_tower.features(look) for look in views(shown, 2)])
    assert np.allclose(data.pixels[3], expected, rtol=1e-3, atol=1e-3)  # kept as float16
    captions = [pair.caption for pair in pairs if pair.item.id == item.id]
    for row, caption in zip(data.tokens[3], captions, strict=True):
        tokens = torch.from_numpy(encoder.tokenize([caption]))
        assert np.allclose(row, encoder.text_tower.features(tokens).detach()[0], atol=2e-3)
    batch = data.batch(0)
    assert batch.images.shape == (4, 512) and batch.tokens.shape[::2] == (4, 256)
    assert all(
        any(np.array_equal(row, view) for view in data.pixels[i])
        for row, i in zip(batch.images, batch.items, strict=True)
    )


def test_a_second_run_asks_no_body_and_is_the_same(pairs, tmp_path, bag):
    first = train(pairs, tmp_path / "one", config())
    asked, bag.asked = bag.asked, 0
    again = train(pairs, tmp_path / "two", config())
    assert asked > 1 and bag.asked == 0
    assert again.encoder.fingerprint == first.encoder.fingerprint == load_encoder(str(tmp_path / "one")).fingerprint


def test_stopped_and_resumed_it_is_the_run_that_was_not(pairs, tmp_path):
    whole = train(pairs, tmp_path / "whole", config(checkpoints=2))
    count = iter(range(100))
    stopped = train(pairs, tmp_path / "cut", config(checkpoints=2), should_stop=lambda: next(count) == 2)
    assert not stopped.finished
    resumed = train(pairs, tmp_path / "cut", config(checkpoints=2), resume=True)
    assert resumed.encoder.fingerprint == whole.encoder.fingerprint


def test_the_bodies_stay_as_they_were(pairs, tmp_path):
    torch.manual_seed(0)
    before = setup.first_encoder(pairs, config()).state_dict()
    after = train(pairs, tmp_path / "run", config()).encoder.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        "log_logit_scale", "image_tower.project.weight", "image_tower.project.bias", "text_tower.project.weight",
        "text_tower.project.bias",
    }  # fmt: skip


@pytest.mark.parametrize(
    "setting",
    [
        "crop=0.5",
        "color_jitter=0.1",
        "word_dropout=0.1",
        "frames=4",
        "unfreeze=2",
        "freeze=image",
        "text_tower=transformer",
    ],
)
def test_what_changes_in_each_pass_is_asked_in_each_and_its_setting_is_known(pairs, setting):
    settings = config().settings([setting])
    encoder = setup.first_encoder(pairs, settings)
    setup._choose_what_is_trained(encoder, settings)
    assert features.what_changes(encoder, settings) == setting


def test_a_picture_that_cannot_be_read_is_skipped_the_second_time_too(pairs, tmp_path):
    import dataclasses

    bad = dataclasses.replace(
        pairs[0].item, id="bad", uri="bad.png", content=lambda: b"no picture", captions=("a red dog",)
    )
    given = [*pairs, dataclasses.replace(pairs[0], item=bad, caption="a red dog")]
    for name in ("one", "two"):
        assert [uri for uri, _ in train(given, tmp_path / name, config()).skipped] == ["bad.png"]


def test_the_graph_of_a_body_says_what_the_body_says(tmp_path):
    encoder = setup.first_encoder(open_pairs("picturebook:4?size=32"), config()).eval()
    onnx_export.export_features(encoder, tmp_path / "features.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    shown = encoder.preprocess.normalize(torch.from_numpy(pixels))
    with torch.inference_mode():
        expected = torch.cat([encoder.image_tower.features(look) for look in views(shown, 2)], 1)
    found = Session(tmp_path / "features.onnx", bulk=True)(pixels=pixels)
    assert np.allclose(found, expected, atol=1e-4)


def test_of_more_pairs_only_the_new_pictures_are_asked(pairs, tmp_path, monkeypatch):
    asked = []
    whole = features._Seen.encode_images
    monkeypatch.setattr(
        features._Seen, "encode_images", lambda self, images: asked.append(len(images)) or whole(self, images)
    )
    known = {pair.item.id for pair in pairs}
    new = sorted(known)[-3:]
    train([pair for pair in pairs if pair.item.id not in new], tmp_path / "some", config())
    assert sum(asked) == len(known) - 3
    train(pairs, tmp_path / "all", config())
    assert sum(asked) == len(known)


def test_pictures_of_which_none_can_be_read_are_said(pairs, tmp_path):
    import dataclasses

    from retrieval.errors import NothingReadable

    bad = [
        dataclasses.replace(pair, item=dataclasses.replace(pair.item, content=lambda: b"no picture")) for pair in pairs
    ]
    with pytest.raises(NothingReadable, match="0 usable picture"):
        train(bad, tmp_path / "run", config())
    assert not (tmp_path / "run").exists()


def test_pictures_that_are_prepared_in_another_way_are_asked_again(pairs, tmp_path, monkeypatch):
    asked = []
    whole = features._Seen.encode_images
    monkeypatch.setattr(
        features._Seen, "encode_images", lambda self, images: asked.append(len(images)) or whole(self, images)
    )
    train(pairs, tmp_path / "one", config())
    train(pairs, tmp_path / "two", config(resize="shortest"))
    assert sum(asked) == 2 * len({pair.item.id for pair in pairs})


def test_a_checkpoint_holds_what_is_taught_and_no_statistics_of_a_frozen_body(pairs, tmp_path):
    train(pairs, tmp_path / "run", config(checkpoints=3))
    (*_, last) = checkpoints.all_of(tmp_path / "run")
    names = load_file(last / "state.safetensors").keys()
    assert any(name.startswith("master/image_tower.project") for name in names)
    assert not any("_tower.body" in name for name in names)


def test_a_weight_is_trained_with_the_rate_that_its_module_wants(pairs):
    settings = config(projection="bridge", lr=0.5)
    encoder = setup.first_encoder(pairs, settings)
    setup._choose_what_is_trained(encoder, settings)
    bridge, optimizer = encoder.image_tower.project, Optimizer(encoder, settings, 10)
    shares = {
        name: group["share"] for group in optimizer._rule.param_groups
        for name in ("skip", "outer", "bias") if any(p is getattr(bridge, name) for p in group["params"])
    }  # fmt: skip
    size = float(bridge.skip.detach().square().mean().sqrt())
    assert shares == {"skip": pytest.approx(size), "outer": pytest.approx(1 / 32), "bias": 1.0}


def lit():
    """A picture tower that stays, beside a text tower that is trained."""
    return TrainConfig(
        image_tower="timm:resnet18", text_tower="transformer", text_layers=0, image_size=32, dim=8, batch_size=4,
        epochs=2, freeze="image", unfreeze=1, crop=1.0, flip="no", evaluations=0,
    )  # fmt: skip


def test_pictures_are_asked_once_beside_a_text_tower_that_is_trained(pairs, monkeypatch):
    """And a step is the same as where they are asked in it: the same pictures, captions, loss and gradients."""
    torch.manual_seed(0)
    encoder = setup.first_encoder(pairs, lit())
    setup._choose_what_is_trained(encoder, lit())
    assert features.sees_the_same(encoder, lit())
    sets = [kind(pairs, encoder, lit()) for kind in (features.SeenOnce, TrainingSet)]
    assert sets[0].pixels.shape == (10, 1, 512)
    losses, gradients = [], []
    for data in sets:
        batch = data.batch(1)
        encoder.zero_grad()
        losses.append(backward(encoder, batch, setup.loss_of(lit()))[1])
        gradients.append(encoder.image_tower.project.weight.grad.clone())
    assert (sets[0].batch(1).tokens == sets[1].batch(1).tokens).all()
    assert losses[0] == pytest.approx(losses[1], abs=5e-3)
    assert torch.allclose(*gradients, rtol=1e-2, atol=1e-2)  # features are kept as float16


@pytest.mark.parametrize(
    "setting", ["crop=0.5", "color_jitter=0.1", "frames=4", "unfreeze=2", "flip=auto", "views=2", "small_share=0.5"]
)
def test_what_shows_another_picture_has_it_asked_in_each_pass(pairs, setting):
    settings = lit().settings([setting])
    encoder = setup.first_encoder(pairs, settings)
    setup._choose_what_is_trained(encoder, settings)
    assert not features.sees_the_same(encoder, settings)
