"""Rates by hand, rules beside their formulas, deep layers slower than the head; what is kept is what goes on."""

import dataclasses
import json
import math

import pytest
import torch

from retrieval import open_pairs, recipes
from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.training import schedule
from retrieval.training.loop import train
from retrieval.training.optimizer import Optimizer
from retrieval.training.trainable import depths
from retrieval.training.weight_decay import decaying

CONFIG = dataclasses.replace(recipes.smoke(), precision="fp32", warmup=0.0)


@pytest.fixture(scope="module")
def pairs():
    return open_pairs("picturebook:20?size=32")


def tiny():
    torch.manual_seed(0)
    return small_encoder(["a dog"], dim=8, image_size=32, image={"width": 16}, text={"width": 64, "layers": 2})


# ---------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("cooldown", [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),  # the last 4 of 10 steps go down
        ("cosine", [0.5, 1] + [0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]),
    ],
)
def test_schedules_by_hand(name, expected):
    got = [schedule.share(name, step, 10, warmup=0.2, cooldown=0.4) for step in range(10)]
    assert got == pytest.approx(expected)


def test_a_run_of_one_step_has_a_rate():
    for name in schedule.SCHEDULES:
        assert schedule.share(name, 0, 1, warmup=0.0) == 1


# ---------------------------------------------------------------- rules


def test_lion_by_hand():
    """The choice of optimizer=lion, and what of it a checkpoint holds, under the name that older ones have."""
    model, name = tiny(), "text_tower.project.weight"
    weight = model.get_parameter(name)
    with torch.no_grad():
        weight[0, :3] = torch.tensor([1.0, -2.0, 3.0])
    config = dataclasses.replace(
        CONFIG, optimizer="lion", lr=0.1, beta1=0.9, beta2=0.5, weight_decay=0.5, schedule="constant", grad_clip=1e9
    )
    optimizer = Optimizer(model, config, 10)

    def step(*gradient):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        weight.grad[0, :3] = torch.tensor(gradient)
        optimizer.step(0)
        return weight.detach()[0, :3]

    # w (1 - 0.1 * 0.5) - 0.1 sign(0.1 g); m = 0.5 g
    torch.testing.assert_close(step(4.0, -1.0, 0.0), torch.tensor([0.95 - 0.1, -1.9 + 0.1, 2.85]))
    torch.testing.assert_close(optimizer.state()[f"lion/exp_avg/{name}"][0, :3], torch.tensor([2.0, -0.5, 0.0]))
    # 0.9 m + 0.1 g: 0.8 (the momentum still wins), -0.45, 0
    torch.testing.assert_close(step(-10.0, 0.0, 0.0), torch.tensor([0.85 * 0.95 - 0.1, -1.8 * 0.95 + 0.1, 2.85 * 0.95]))


@pytest.mark.parametrize("name", ["adamw", "lion", "sgd"])
def test_each_rule_resumes_bit_for_bit(pairs, tmp_path, name):
    config = dataclasses.replace(CONFIG, optimizer=name, epochs=4, batch_size=10, lr=1e-3)
    straight = train(pairs, tmp_path / "a", config)
    steps = iter([False] * 3 + [True])
    train(pairs, tmp_path / "b", config, should_stop=lambda: next(steps))
    resumed = train(pairs, tmp_path / "b", config, resume=True)
    assert resumed.encoder.fingerprint == straight.encoder.fingerprint


def test_the_rules_differ(pairs, tmp_path):
    found = {
        name: train(pairs, tmp_path / name, dataclasses.replace(CONFIG, optimizer=name, epochs=1)).encoder.fingerprint
        for name in ("adamw", "lion", "sgd")
    }
    assert len(set(found.values())) == 3


# ---------------------------------------------------------------- layers


def test_depths_of_the_small_towers():
    text = depths(tiny().text_tower)
    assert text["words.weight"] == text["places"] == 0
    assert text["body.0.qkv.weight"] == 1
    assert text["body.1.qkv.weight"] == 2
    assert text["norm.weight"] == text["project.weight"] == 3
    image = depths(tiny().image_tower)
    assert image["project.weight"] == max(image.values())
    assert image["body.1.weight"] < image["body.4.first.weight"] < image["body.5.first.weight"]


@pytest.mark.parametrize(
    ("name", "first", "second", "head"),
    [
        ("mmr-toy-vit", "body.conv1.weight", "body.transformer.resblocks.1.ln_1.weight", "body.ln_post.weight"),
        ("mmr-toy-resnet", "body.conv1.weight", "body.layer2.0.conv1.weight", "body.attnpool.c_proj.weight"),
    ],
)
def test_depths_of_open_clips_towers(open_clips, name, first, second, head):
    depth = depths(load_encoder(open_clips[name]).image_tower)
    assert depth[first] == 0
    assert 1 < depth[second] < depth[head]
    assert depth[head] == max(depth.values())


def test_deep_layers_move_less():
    """SGD without momentum: a weight moves by its rate times its gradient."""
    model = tiny()
    config = dataclasses.replace(
        CONFIG,
        optimizer="sgd",
        beta1=0.0,
        lr=0.1,
        schedule="constant",
        layer_decay=0.5,
        weight_decay=0.0,
        grad_clip=1e9,
    )
    optimizer = Optimizer(model, config, 10)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0)
    moved = {name: (before[name] - p.detach()).abs().max().item() for name, p in model.named_parameters()}
    assert moved["text_tower.project.weight"] == pytest.approx(0.1, rel=1e-4)
    assert moved["text_tower.body.1.qkv.weight"] == pytest.approx(0.05, rel=1e-4)
    assert moved["text_tower.body.0.qkv.weight"] == pytest.approx(0.025, rel=1e-4)
    assert moved["text_tower.places"] == pytest.approx(0.0125, rel=1e-4)
    assert moved["log_logit_scale"] == pytest.approx(0.1, rel=1e-4)


# ---------------------------------------------------------------- weight decay


def named(start, *patterns, count=1):
    """start + pattern, with each {} in turn 0, 1, ... count - 1."""
    return {f"{start}.{pattern.format(number)}" for pattern in patterns for number in range(count)}


def of_blocks(start, count):
    return named(start, *(f"{{}}.{name}.weight" for name in ("qkv", "out", "up", "down")), count=count)


RESBLOCKS = [
    f"transformer.resblocks.{{}}.{name}"
    for name in ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
]
VIT_BLOCKS = [f"blocks.{{}}.{name}.weight" for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]


def test_of_our_towers_matrices_and_filters_decay_and_what_is_looked_up_does_not():
    """Not: words, places, biases, norms, the logit scale."""
    filters = {
        name for name, weight in tiny().named_parameters() if name.startswith("image_tower.body") and weight.ndim == 4
    }
    assert len(filters) > 5
    expected = filters | {"image_tower.project.weight", "text_tower.project.weight"}
    assert decaying(tiny()) == expected | of_blocks("text_tower.body", 2)


def test_the_words_of_a_recurrent_net_do_not_decay():
    text = {"type": "lstm", "width": 64, "layers": 1}
    model = small_encoder(["a dog"], dim=8, image_size=32, image={"width": 16}, text=text)
    found = {name for name in decaying(model) if name.startswith("text_tower")}
    of_the_body = {f"body.weight_{what}_l0{way}" for what in ("ih", "hh") for way in ("", "_reverse")}
    assert found == {f"text_tower.{name}" for name in (*of_the_body, "project.weight")}


def test_of_a_vit_of_timm_neither_the_class_token_nor_the_places_decay():
    image = {"type": "timm", "name": "vit_tiny_patch16_224", "size": 32}
    model = small_encoder(["a dog"], dim=8, image_size=32, image=image, text={"width": 64, "layers": 0})
    body = named("image_tower.body", *VIT_BLOCKS, count=12) | {"image_tower.body.patch_embed.proj.weight"}
    assert decaying(model) == body | {"image_tower.project.weight", "text_tower.project.weight"}


def test_of_open_clips_towers_neither_class_token_places_nor_words_decay(open_clips):
    image, text = "image_tower.body", "text_tower.body"
    expected = named(image, *RESBLOCKS, count=3) | named(text, *RESBLOCKS, count=2)
    expected |= {f"{image}.conv1.weight", f"{image}.proj", f"{text}.text_projection"}
    assert decaying(load_encoder(open_clips["mmr-toy-vit"])) == expected


def test_of_open_clips_resnet_the_places_of_its_attention_do_not_decay(open_clips):
    """open_clip does not say so of this tower itself."""
    model = load_encoder(open_clips["mmr-toy-resnet"])
    matrices = {name for name, weight in model.named_parameters() if weight.ndim >= 2}
    looked_up = {
        "image_tower.body.attnpool.positional_embedding",
        "text_tower.body.positional_embedding",
        "text_tower.body.token_embedding.weight",
    }
    assert decaying(model) == matrices - looked_up


def test_a_timm_trunk_within_open_clip_is_asked_as_well(tmp_path):
    import open_clip

    vision = {"image_size": 32, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "timm_proj": "linear"}
    text = {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    (tmp_path / "mmr-toy-trunk.json").write_text(json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path / "mmr-toy-trunk.json")
    image = {"type": "open_clip", "name": "mmr-toy-trunk", "size": 32}
    model = small_encoder(["a dog"], dim=32, image_size=32, image=image, text={"width": 64, "layers": 0})
    trunk = "image_tower.body.trunk"
    expected = named(trunk, *VIT_BLOCKS, count=12) | {f"{trunk}.patch_embed.proj.weight"}
    found = {name for name in decaying(model) if name.startswith("image_tower")}
    assert found == expected | {"image_tower.body.head.proj.weight"}


def test_the_groups_of_the_optimizer_are_what_decays_and_what_does_not():
    """Moved by their decay alone, with no gradient to speak of, the first shrink and the others stay."""
    model = tiny()
    config = dataclasses.replace(
        CONFIG, optimizer="sgd", beta1=0.0, lr=0.1, schedule="constant", weight_decay=0.5, grad_clip=1e9
    )
    optimizer = Optimizer(model, config, 10)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0)
    for name, parameter in model.named_parameters():
        share = 1 - 0.1 * 0.5 if name in decaying(model) else 1
        torch.testing.assert_close(parameter.detach(), share * before[name], msg=name)
