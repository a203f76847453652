"""Rates by hand, rules beside their formulas, deep layers slower than the head; what is kept is what goes on."""

import dataclasses
import math

import pytest
import torch

from retrieval import open_pairs, recipes
from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.training import schedule
from retrieval.training.loop import train
from retrieval.training.optimizer import Lion, Optimizer
from retrieval.training.trainable import depths

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
    weight = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    rule = Lion([weight], lr=0.1, betas=(0.9, 0.5), weight_decay=0.5)
    weight.grad = torch.tensor([4.0, -1.0, 0.0])
    rule.step()
    # w (1 - 0.1 * 0.5) - 0.1 sign(0.1 g); m = 0.5 g
    torch.testing.assert_close(weight.detach(), torch.tensor([0.95 - 0.1, -1.9 + 0.1, 2.85]))
    torch.testing.assert_close(rule.state[weight]["exp_avg"], torch.tensor([2.0, -0.5, 0.0]))
    weight.grad = torch.tensor([-10.0, 0.0, 0.0])
    rule.step()  # 0.9 m + 0.1 g: 0.8 (the momentum still wins), -0.45, 0
    torch.testing.assert_close(weight.detach(), torch.tensor([0.85 * 0.95 - 0.1, -1.8 * 0.95 + 0.1, 2.85 * 0.95]))


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


def test_what_decays_and_what_does_not():
    optimizer = Optimizer(tiny(), dataclasses.replace(CONFIG, weight_decay=0.3), 10)
    by_decay = {group["weight_decay"]: len(group["params"]) for group in optimizer._rule.param_groups}
    assert set(by_decay) == {0.0, 0.3}
    assert sum(by_decay.values()) == len(list(tiny().parameters()))
