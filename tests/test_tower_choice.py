"""Every tower through the one trainer: it learns, micro-batches change nothing, its run folder and its ONNX are it."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from retrieval import recipes
from retrieval.datatypes import Item, Pair
from retrieval.encoders import config as towers_asked
from retrieval.encoders import onnx_export, query_encoder
from retrieval.encoders.build import new_encoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.losses.contrastive import info_nce
from retrieval.towers import TEXT_TOWERS, build
from retrieval.training.config import TrainConfig
from retrieval.training.dataset import TrainingSet
from retrieval.training.loop import train
from retrieval.training.optimizer import Optimizer
from retrieval.training.step import backward

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (250, 250, 250)}
CHINESE = {"red": "红色方块", "green": "绿色方块", "blue": "蓝色方块", "white": "白色方块"}
CONFIG = dataclasses.replace(
    recipes.smoke(),
    batch_size=8,
    epochs=24,
    captions=2,
    lr=3e-3,
    flip="no",
    checkpoints=0,
    evaluations=0,
    precision="fp32",
)
_PLAIN = "image_tower=mlp image_width=64"
CHOICES = [
    "image_tower=conv image_activation=mish projection=mlp",
    "image_tower=vit image_width=64 image_layers=2 image_patch=8 image_activation=swiglu text_activation=swiglu",
    "image_tower=mlp image_width=64 image_activation=leaky_relu text_activation=relu pooling=last",
    "image_tower=timm:test_resnet pooling=max",
    "image_tower=timm:test_vit pooling=attention",
    "image_tower=open_clip:mmr-tiny text_tower=open_clip:mmr-tiny",
    f"{_PLAIN} text_tower=open_clip:mmr-tiny projection=mlp",
    f"{_PLAIN} text_tower=lstm",
    f"{_PLAIN} text_tower=lstm text_layers=2 bidirectional=no pooling=last",
    f"{_PLAIN} text_tower=gru text_layers=2 pooling=attention",
    f"{_PLAIN} text_tower=rnn pooling=max",
]


def square(rgb):
    image = Image.new("RGB", (32, 32), (128, 128, 128))
    image.paste(rgb, (8, 8, 24, 24))
    return image


@pytest.fixture(scope="module")
def pairs():
    """Two pictures of each colour, with an English and a Chinese caption."""
    return [
        Pair(Item(f"{name}{i}", name, lambda rgb=rgb: square(rgb)), caption)
        for name, rgb in COLOURS.items()
        for i in range(2)
        for caption in (f"a {name} square", CHINESE[name])
    ]


@pytest.fixture(scope="module", params=[*CHOICES, "image_tower=resnet50 lr=3e-4 epochs=8"], ids=lambda text: text)
def run(request, pairs, tmp_path_factory, tiny_open_clip):
    """A run folder of that choice, trained for 24 steps, with its encoder and the losses."""
    losses = []
    out = tmp_path_factory.mktemp("runs") / "run"
    config = CONFIG.settings(request.param.split())
    encoder = train(pairs, out, config, on_step=lambda progress: losses.append(progress.loss)).encoder
    return out, encoder, losses


def test_it_learns_in_two_languages(run):
    _, encoder, losses = run
    # Each batch holds each colour twice, so ln 2 = 0.69 is as far as it goes down; ln 8 = 2.08 is chance.
    assert np.mean(losses[-3:]) < 0.75 * np.log(8)
    pictures = encoder.encode_images([square(rgb) for rgb in COLOURS.values()])
    for captions in ([f"a {name} square" for name in COLOURS], list(CHINESE.values())):
        found = (encoder.encode_texts(captions) @ pictures.T).argmax(1)
        assert found.tolist() == [0, 1, 2, 3]


def test_its_run_folder_and_its_onnx_are_it(run):
    out, encoder, _ = run
    loaded = load_encoder(str(out))
    assert loaded.fingerprint == encoder.fingerprint
    texts = ["a red square", "", "绿", "square " * 9]
    pictures = [Image.effect_noise((40, 30), 80).convert("RGB"), square((9, 200, 30))]
    np.testing.assert_array_equal(loaded.encode_texts(texts), encoder.encode_texts(texts))
    np.testing.assert_array_equal(loaded.encode_images(pictures), encoder.encode_images(pictures))

    folder = query_encoder.ensure_exported(loaded)
    query = query_encoder.open_query_encoder(loaded.fingerprint, lambda: loaded)
    np.testing.assert_allclose(query.encode_texts(texts), loaded.encode_texts(texts), atol=1e-5)
    for text in texts:
        np.testing.assert_allclose(query.encode_texts([text]), loaded.encode_texts([text]), atol=1e-5)
    assert not (folder / onnx_export.IMAGE).exists()  # with the first picture that asks
    np.testing.assert_allclose(query.encode_images(pictures), loaded.encode_images(pictures), atol=1e-5)
    assert (folder / onnx_export.IMAGE).exists()
    np.testing.assert_allclose(query.encode_images(pictures[:1]), loaded.encode_images(pictures[:1]), atol=1e-5)


# ---------------------------------------------------------------- the trainer's promises


@pytest.fixture(params=CHOICES, ids=lambda text: text)
def fresh(request, pairs, tiny_open_clip):
    """An untrained encoder of that choice in training, its config and a batch."""
    config = dataclasses.replace(CONFIG, dropout=0.2).settings(request.param.split())
    torch.manual_seed(0)
    model = new_encoder(config, [pair.caption for pair in pairs]).train()
    return model, config, TrainingSet(pairs, model, config).batch(0)


def test_micro_batches_change_no_loss_and_no_gradient(fresh):
    model, _, batch = fresh
    whole = copy.deepcopy(model)
    _, expected = backward(whole, batch, info_nce, 0, seed=3)
    _, got = backward(model, batch, info_nce, 3, seed=3)
    assert got == pytest.approx(expected, rel=1e-5)
    for (name, ours), theirs in zip(model.named_parameters(), whole.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=5e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("frozen", ["image_tower", "text_tower"])
def test_frozen_means_bit_equal(fresh, frozen):
    model, config, batch = fresh
    for parameter in getattr(model, frozen).parameters():
        parameter.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = Optimizer(model, config, 3)
    for step in range(3):
        backward(model, batch, info_nce, 0, step, optimizer.collect)
        optimizer.step(step)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith(frozen) for name in moved)
    assert any(name.startswith("text_tower" if frozen == "image_tower" else "image_tower") for name in moved)


def test_bfloat16_bodies_train(fresh):
    model, config, batch = fresh
    for tower in (model.image_tower, model.text_tower):
        tower.body.to(torch.bfloat16)
    optimizer = Optimizer(model, config, 2)
    features, loss = backward(model, batch, info_nce, 0, 0, optimizer.collect)
    optimizer.step(0)
    assert np.isfinite(loss)
    assert features.image.dtype == features.text.dtype == torch.float32


def test_pretrained_weights_reach_the_run_and_its_preprocess(pairs, tmp_path):
    import timm

    torch.manual_seed(1)
    model = timm.create_model("test_resnet")
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    settings = ["image_tower=timm:test_resnet", f"pretrained={tmp_path}/weights.safetensors", "lr=1e-9"]
    encoder = train(pairs, tmp_path / "run", CONFIG.settings(settings)).encoder
    stem = encoder.image_tower.body.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(stem, model.state_dict()["conv1.0.weight"], atol=1e-5, rtol=0)
    assert encoder.preprocess.mean == (0.5, 0.5, 0.5)
    (tmp_path / "weights.safetensors").unlink()  # a run folder is whole without it
    assert load_encoder(str(tmp_path / "run")).fingerprint == encoder.fingerprint


def stripes(name, channels, seed):
    """A pattern in the last channel, noise in the others; of one channel it is an RGB picture, to be made grey."""
    across, down = np.meshgrid(np.arange(32), np.arange(32))
    pattern = {"upright": across // 4 % 2, "level": down // 4 % 2, "plain": 0 * across}[name] * 255
    if channels == 1:
        return Image.fromarray(pattern.astype(np.uint8)).convert("RGB")
    array = np.random.default_rng(seed).integers(0, 256, (32, 32, channels), np.uint8)
    array[..., -1] = pattern
    return array


@pytest.mark.parametrize(("tower", "channels"), [("conv", 5), ("vit", 1), ("mlp", 5), ("timm:test_resnet", 1)])
def test_pictures_of_other_channels_are_trained_on(tower, channels, tmp_path):
    names = ["upright", "level", "plain"]
    pairs = [
        Pair(Item(f"{name}{i}", name, lambda name=name, i=i: stripes(name, channels, i)), name)
        for name in names
        for i in range(3)
    ]
    settings = ["batch_size=3", "epochs=12", "color_jitter=0.1", "crop=1", "image_width=32", "image_layers=1"]
    config = CONFIG.settings([f"image_tower={tower}", f"image_channels={channels}", *settings])
    encoder = train(pairs, tmp_path / "run", config).encoder
    loaded = load_encoder(str(tmp_path / "run"))
    assert loaded.fingerprint == encoder.fingerprint
    pixels = [loaded.preprocess(stripes(name, channels, 1)) for name in names]
    assert pixels[0].shape == (32, 32, channels)
    scores = loaded.encode_texts(names) @ loaded.encode_images(pixels).T
    assert scores.argmax(1).tolist() == [0, 1, 2]
    query_encoder.ensure_exported(loaded)
    query = query_encoder.open_query_encoder(loaded.fingerprint, lambda: loaded)
    np.testing.assert_allclose(query.encode_images(pixels), loaded.encode_images(pixels), atol=1e-5)


# ---------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_tower=resnet", "no image_tower `resnet`: did you mean `resnet50`"),
        ("image_tower=zzz", "no image_tower `zzz`: use one of conv, resnet50, timm:NAME"),
        ("image_tower=timm", "timm takes a name behind it, as in image_tower=timm:NAME"),
        ("image_tower=vit:16", "vit takes no name behind it"),
        ("text_tower=lstn", "did you mean `lstm`"),
        ("text_tower=timm:resnet18", "no text_tower `timm:resnet18`"),
        ("pooling=first", "pooling must be one of mean, max, last, attention"),
        ("text_activation=tanh", "text_activation must be one of auto, relu"),
        ("image_activation=swiglu", "swiglu is for feed-forward layers.*use image_tower=vit"),
        ("image_tower=resnet50 image_activation=relu", "has its own: add --set projection=mlp"),
        ("text_tower=gru text_activation=relu", "has its own: add --set projection=mlp"),
        ("text_tower=open_clip:mmr-tiny pooling=max", "pooling is open_clip's own: leave it out"),
        ("bidirectional=both", "bidirectional takes yes or no, as in bidirectional=yes"),
        ("pretrained=yes", "pretrained is for timm's models: use image_tower=resnet50"),
        ("image_channels=0", "image_channels must be above 0"),
        ("image_patch=3", "image_patch must be one of 0, 2, 4"),
        ("frame_pooling=max", "frame_pooling must be one of mean, attention, transformer"),
    ],
)
def test_a_choice_that_makes_no_sense_is_said(text, message):
    with pytest.raises(BadRequest, match=message):
        TrainConfig().settings(text.split())


def test_no_layers_are_none_of_a_transformer_and_the_own_number_of_a_recurrent_net():
    assert towers_asked.text_spec(TrainConfig().settings(["text_layers=0"]))["layers"] == 0
    recurrent = towers_asked.text_spec(TrainConfig().settings(["text_layers=0", "text_tower=gru"]))
    assert "layers" not in recurrent
    assert build(TEXT_TOWERS, 32, recurrent | {"vocabulary": 300}).body.num_layers == 1


@pytest.mark.parametrize(
    "text", ["text_tower=rnn text_activation=relu", "image_tower=resnet50 projection=mlp image_activation=swiglu"]
)
def test_a_choice_that_makes_sense_is_taken(text):
    assert TrainConfig().settings(text.split())
