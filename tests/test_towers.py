"""Towers by their invariances: padding and the rest of the batch change nothing; pooled is what it is by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from retrieval import towers
from retrieval.errors import BadRequest, MissingModel
from retrieval.towers import norms
from retrieval.towers.image import VitTower, place_codes, shrink
from retrieval.towers.layers import ACTIVATIONS, PAD, Block, FeedForward, heads_of
from retrieval.towers.open_clip_towers import OpenClipImageTower
from retrieval.towers.pooling import POOLINGS

LINES = [[5, 9, 3, 7], [4], [8, 2, 2, 6, 3, 1, 9], []]
TEXT = {"vocabulary": 12, "width": 64}
TEXT_SPECS = {
    "transformer": {"type": "transformer", **TEXT},
    "transformer-max": {"type": "transformer", "pooling": "max", "activation": "swiglu", **TEXT},
    "transformer-last": {"type": "transformer", "pooling": "last", "projection": "mlp", **TEXT},
    "transformer-attention": {"type": "transformer", "pooling": "attention", **TEXT},
    "lstm": {"type": "lstm", **TEXT},
    "lstm-2": {"type": "lstm", "layers": 2, "bidirectional": False, "pooling": "last", **TEXT},
    "lstm-both-last": {"type": "lstm", "layers": 2, "pooling": "last", **TEXT},
    "gru": {"type": "gru", "layers": 3, "pooling": "attention", **TEXT},
    "gru-one": {"type": "gru", "bidirectional": False, "pooling": "max", "projection": "mlp", **TEXT},
    "rnn": {"type": "rnn", "pooling": "max", **TEXT},
    "rnn-relu": {"type": "rnn", "activation": "relu", "layers": 2, "pooling": "last", **TEXT},
}
IMAGE_SPECS = {
    "conv": {"type": "conv", "width": 16},
    "conv-mish": {"type": "conv", "width": 16, "activation": "mish", "projection": "mlp"},
    "vit": {"type": "vit", "width": 64, "layers": 2, "patch": 8},
    "vit-swiglu": {"type": "vit", "width": 48, "layers": 1, "activation": "swiglu"},
    "mlp": {"type": "mlp", "widths": [32, 16], "side": 8},
    "resnet": {"type": "timm", "name": "test_resnet", "size": 64},
    "efficientnet": {"type": "timm", "name": "test_efficientnet", "size": 64},
    "timm-vit": {"type": "timm", "name": "test_vit", "size": 64},
    "open_clip": {"type": "open_clip", "name": "mmr-tiny", "size": 32},
}


@pytest.fixture(params=TEXT_SPECS)
def text_tower(request):
    torch.manual_seed(0)
    return towers.build(towers.TEXT_TOWERS, 8, TEXT_SPECS[request.param]).eval()


@pytest.fixture(params=IMAGE_SPECS)
def image_tower(request, tiny_open_clip):
    torch.manual_seed(0)
    return towers.build(towers.IMAGE_TOWERS, 8, IMAGE_SPECS[request.param]).eval()


def padded(lines, more=0):
    longest = max(1, *map(len, lines)) + more
    return torch.tensor([line + [PAD] * (longest - len(line)) for line in lines])


def pixels(count=3, size=64, channels=3, seed=0):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- text


def test_padding_does_not_matter(text_tower):
    expected = text_tower(padded(LINES))
    assert expected.isfinite().all()
    torch.testing.assert_close(text_tower(padded(LINES, 6)), expected, rtol=1e-4, atol=1e-5)


def test_a_text_does_not_see_the_others_of_its_batch(text_tower):
    together = text_tower(padded(LINES))
    for row, line in zip(together, LINES, strict=True):
        torch.testing.assert_close(text_tower(padded([line]))[0], row, rtol=1e-4, atol=1e-5)


def test_the_order_of_words_matters(text_tower):
    dog_bites_man, man_bites_dog = text_tower(padded([[5, 9, 3], [3, 9, 5]]))
    assert (dog_bites_man - man_bites_dog).abs().max() > 1e-4


def test_padding_learns_nothing(text_tower):
    text_tower(padded(LINES)).square().sum().backward()
    gradient = text_tower.words.weight.grad
    assert gradient[PAD].abs().max() == 0
    assert gradient[5].abs().max() > 0


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_last_state_is_torchs_own_of_each_line_alone(cell, layers):
    torch.manual_seed(0)
    tower = towers.build(towers.TEXT_TOWERS, 8, {"type": cell, "layers": layers, "pooling": "last", **TEXT}).eval()
    got = tower(padded(LINES[:3]))
    for row, line in zip(got, LINES[:3], strict=True):
        end = tower.body(tower.words(torch.tensor([line])))[1]
        state = (end[0] if cell == "lstm" else end)[-2:]  # of the last layer: forward, backward
        torch.testing.assert_close(row, tower.project(torch.cat([state[0, 0], state[1, 0]])), rtol=1e-4, atol=1e-5)


def test_pooling_by_hand():
    x = torch.tensor([[[1.0, -5.0], [3.0, -2.0], [99.0, 99.0]], [[4.0, 4.0], [7.0, 7.0], [7.0, 7.0]]])
    seen = torch.tensor([[True, True, False], [False, False, False]])
    empty = [0.0, 0.0]
    assert POOLINGS["mean"](2)(x, seen).tolist() == [[2.0, -3.5], empty]
    assert POOLINGS["max"](2)(x, seen).tolist() == [[3.0, -2.0], empty]
    assert POOLINGS["last"](2)(x, seen).tolist() == [[3.0, -2.0], empty]
    assert POOLINGS["last"](2, 1)(x, seen).tolist() == [[3.0, -5.0], empty]  # one feature was read from the end


def test_attention_pools_the_word_that_it_was_taught_and_no_padding():
    pool = POOLINGS["attention"](2)
    with torch.no_grad():
        pool.score.weight.copy_(torch.tensor([[50.0, 0.0]]))
    x = torch.tensor([[[0.0, 1.0], [1.0, 2.0], [9.0, 3.0]]])
    got = pool(x, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(got, x[:, 1])
    assert pool(x, torch.tensor([[False, False, False]])).tolist() == [[0.0, 0.0]]


# ---------------------------------------------------------------- image


def test_a_picture_does_not_see_the_others_of_its_batch(image_tower):
    together = image_tower(pixels())
    assert together.shape == (3, 8)
    assert (together[0] - together[1]).abs().max() > 1e-4
    for row, picture in zip(together, pixels(), strict=True):
        torch.testing.assert_close(image_tower(picture[None])[0], row, rtol=1e-3, atol=1e-5)


def test_nor_does_it_in_training(image_tower):
    """No batch statistics: what is learned from a batch is the sum of what is learned from its pictures."""
    image_tower.train()
    together, before = image_tower(pixels()), {k: v.clone() for k, v in image_tower.state_dict().items()}
    alone = torch.cat([image_tower(picture[None]) for picture in pixels()])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5)
    for name, value in image_tower.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("size", [32, 48, 96])
def test_pictures_of_other_sizes_are_seen(image_tower, size):
    assert image_tower(pixels(1, size)).isfinite().all()


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("name", IMAGE_SPECS)
def test_any_number_of_channels_each_of_which_counts(name, channels, tiny_open_clip):
    torch.manual_seed(0)
    tower = towers.build(towers.IMAGE_TOWERS, 8, {**IMAGE_SPECS[name], "channels": channels}).eval()
    shown = pixels(1, 64, channels)
    expected = tower(shown)
    for channel in range(channels):
        changed = shown.clone()
        changed[:, channel] = pixels(1, 64, 1, seed=1)[:, 0]
        assert (tower(changed) - expected).abs().max() > 1e-5


def test_resnet50_is_2048_features_that_a_relu_would_not_change():
    torch.manual_seed(0)
    tower = towers.build(towers.IMAGE_TOWERS, 8, {"type": "timm", "name": "resnet50", "size": 64}).eval()
    with torch.inference_mode():
        features = tower.body(pixels(2))
        maps = tower.body.forward_features(pixels(2))
    assert features.shape == (2, 2048)
    assert torch.equal(F.relu(features), features)
    torch.testing.assert_close(features, maps.mean((2, 3)))  # flat, as its layers without the last one give it
    assert (tower(pixels(2)) < 0).any()  # the vector itself has no ReLU: cosines may be negative


def test_the_mlp_of_the_first_lessons():
    tower = towers.build(towers.IMAGE_TOWERS, 10, {"type": "mlp", "widths": [128, 64]})
    shapes = [tuple(layer.weight.shape) for layer in [*tower.body, tower.project]]
    assert shapes == [(128, 3072), (64, 128), (10, 64)]


@pytest.mark.parametrize(("size", "side"), [(24, 8), (12, 8), (8, 8), (4, 8), (11, 8)])
def test_shrinking_is_the_mean_of_each_area(size, side):
    x = pixels(2, size)
    each = np.kron(x.numpy(), np.ones((side, side))).reshape(2, 3, side, size, side, size).mean((3, 5))
    np.testing.assert_allclose(shrink(x, side).numpy(), each, rtol=1e-4, atol=1e-5)


def test_places_differ_and_a_vit_knows_them():
    codes = place_codes(3, 5, 16)
    assert len(torch.unique(codes, dim=0)) == 15
    torch.manual_seed(0)
    tower = VitTower(8, width=32, layers=1, patch=8).eval()
    picture = pixels(1, 16)
    assert (tower(picture) - tower(picture.flip(3).unfold(3, 8, 8).flip(4).flatten(3))).abs().max() > 1e-4


# ---------------------------------------------------------------- activations


def test_activations_are_torchs_own():
    x = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    modules = {
        "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(), "silu": nn.SiLU(), "mish": nn.Mish(), "gelu": nn.GELU(),
    }  # fmt: skip
    assert set(ACTIVATIONS) == {*modules, "swiglu"}
    for name, module in modules.items():
        ours, theirs = (torch.autograd.grad(f(x).sum(), x)[0] for f in (ACTIVATIONS[name], module))
        torch.testing.assert_close(ACTIVATIONS[name](x), module(x))
        torch.testing.assert_close(ours, theirs)


def test_swiglu_by_hand_and_with_as_many_weights():
    value, gate = 3.0, 2.0
    got = ACTIVATIONS["swiglu"](torch.tensor([value, gate]))
    assert got.item() == pytest.approx(value * gate / (1 + np.exp(-gate)))
    for build in (lambda name: FeedForward(96, 384, 96, name), lambda name: Block(96, 2, name)):
        plain, gated = (sum(p.numel() for p in build(name).parameters()) for name in ("gelu", "swiglu"))
        assert gated == pytest.approx(plain, rel=0.02)


def test_heads_divide_the_width():
    assert [heads_of(width) for width in (16, 64, 128, 100, 200, 256)] == [1, 1, 2, 1, 2, 4]


# ---------------------------------------------------------------- what comes from elsewhere


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    """A timm model with statistics that are not those of the start, and its weights as a file."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_resnet")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    file = tmp_path_factory.mktemp("timm") / "weights.safetensors"
    save_file(model.state_dict(), file)
    return model.eval(), file


def timm_spec(file, **more):
    return {"type": "timm", "name": "test_resnet", "size": 64, "pretrained": str(file), **more}


def test_weights_of_a_file_give_timms_own_features_also_in_training(resnet_file):
    model, file = resnet_file
    tower = towers.build(towers.IMAGE_TOWERS, 8, timm_spec(file))
    expected = model.forward_head(model.forward_features(pixels()), pre_logits=True)
    for mode in (False, True):
        torch.testing.assert_close(tower.train(mode).body(pixels()), expected)
    assert tower.mean == model.pretrained_cfg["mean"]
    assert tower.spec["norm"] == "still"
    assert "pretrained" not in tower.spec


def test_gray_pictures_get_the_sum_of_the_colors_weights(resnet_file):
    model, file = resnet_file
    tower = towers.build(towers.IMAGE_TOWERS, 8, timm_spec(file, channels=1)).eval()
    grey = pixels(2, 64, 1)
    expected = model.forward_head(model.forward_features(grey.expand(-1, 3, -1, -1)), pre_logits=True)
    torch.testing.assert_close(tower.body(grey), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"name": "resnet5"}, BadRequest, "timm has no model `resnet5`: did you mean resnet50"),
        ({"name": "resnet50.a1_in1"}, BadRequest, "resnet50 has no weights `a1_in1`: did you mean resnet50.a1_in1k"),
        ({"name": "resnet50", "pretrained": "yes"}, MissingModel, "cannot be reached.*--set pretrained=FILE"),
        ({"name": "resnet50", "pretrained": "none.pt"}, MissingModel, "no weights file none.pt: check"),
        ({"name": "test_nfnet", "pretrained": __file__}, MissingModel, "is no checkpoint of test_nfnet"),
    ],
)
def test_what_timm_cannot_give_is_said_at_once(spec, error, message):
    with pytest.raises(error, match=message):
        towers.build(towers.IMAGE_TOWERS, 8, {"type": "timm", **spec})


def test_weights_of_another_model_are_refused(resnet_file):
    with pytest.raises(MissingModel, match="gives no weights of resnet18.*check --set pretrained=FILE"):
        towers.build(towers.IMAGE_TOWERS, 8, timm_spec(resnet_file[1]) | {"name": "resnet18"})


def test_a_pickle_among_weights_runs_nothing(tmp_path):
    import pickle

    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    (tmp_path / "bad.pth").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(MissingModel, match="is no checkpoint of test_resnet"):
        towers.build(towers.IMAGE_TOWERS, 8, timm_spec(tmp_path / "bad.pth"))
    assert not (tmp_path / "harm").exists()


def test_one_side_of_open_clip_is_open_clips_own(tiny_open_clip):
    model, weights = tiny_open_clip
    image = towers.build(
        towers.IMAGE_TOWERS, 32, {"type": "open_clip", "name": "mmr-tiny", "size": 32, "weights": str(weights)}
    ).eval()
    text = towers.build(towers.TEXT_TOWERS, 32, {"type": "open_clip", "name": "mmr-tiny", "weights": str(weights)})
    tokens = torch.tensor([[49406, 5, 9, 49407] + [0] * 73])
    with torch.inference_mode():
        torch.testing.assert_close(image(pixels(2, 32)), model.encode_image(pixels(2, 32)))
        torch.testing.assert_close(text.eval()(tokens), model.encode_text(tokens))
        torch.testing.assert_close(text(tokens[:, :4]), model.encode_text(tokens))  # without its padding
    assert image.mean == tuple(model.visual.image_mean)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"name": "mmr-tin"}, BadRequest, "open_clip has no model `mmr-tin`: did you mean mmr-tiny"),
        ({"name": "ViT-B-32-256", "weights": "datacomp"}, BadRequest, "did you mean datacomp_s34b_b86k"),
        (
            {"name": "ViT-B-32-256", "weights": "datacomp_s34b_b86k"},
            MissingModel,
            "cannot be reached.*give local weights with --set image_tower=open_clip:ViT-B-32-256/FILE",
        ),
    ],
)
def test_what_open_clip_cannot_give_is_said_at_once(spec, error, message, tiny_open_clip):
    with pytest.raises(error, match=message):
        towers.build(towers.IMAGE_TOWERS, 8, {"type": "open_clip", "size": 256, **spec})


def test_group_norm_takes_the_place_of_batch_norm_with_its_scale():
    body = nn.Sequential(nn.Conv2d(3, 40, 1), nn.BatchNorm2d(40), nn.Sequential(nn.BatchNorm2d(64)))
    nn.init.zeros_(body[1].weight)
    norms.use_group_norm(body)
    assert [type(body[1]), type(body[2][0])] == [nn.GroupNorm, nn.GroupNorm]
    assert (body[1].num_groups, body[2][0].num_groups) == (2, 4)
    assert body[1].weight.abs().max() == 0


def test_random_weights_of_timm_are_normalized_by_groups():
    tower = towers.build(towers.IMAGE_TOWERS, 8, IMAGE_SPECS["resnet"])
    kinds = {type(module) for module in tower.modules()}
    assert nn.GroupNorm in kinds
    assert nn.BatchNorm2d not in kinds


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, 1),
        ({"ls_init_value": 0.1}, 1),
        ({"final_ln_after_pool": True}, 1),
        ({"pool_type": "avg"}, 5),
        ({"attentional_pool": True, "attn_pooler_queries": 3}, 5),
        ({"scale_fc": True}, 5),  # another kind of block
    ],
)
def test_the_last_block_answers_for_what_is_read_and_nothing_changes(options, read):
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    body = VisionTransformer(
        image_size=32, patch_size=16, width=64, layers=2, heads=2, mlp_ratio=2, output_dim=32, **options
    ).eval()
    names = list(body.state_dict())
    before = body(pixels(3, 32))
    tower = OpenClipImageTower(SimpleNamespace(visual=body), {})
    tower.skip_unread()
    seen = []
    body.transformer.resblocks[-1].mlp.register_forward_hook(lambda module, args, out: seen.append(args[0].shape[1]))
    torch.testing.assert_close(tower.eval()(pixels(3, 32)), before.float())
    assert seen == [read]
    assert list(body.state_dict()) == names
