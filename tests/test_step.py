"""Micro-batches change nothing but memory: every parameter's gradient is the whole batch's, whatever is dropped."""

import argparse
import copy
import math
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.losses.contrastive import info_nce
from retrieval.training import dropout
from retrieval.training.dataset import Batch
from retrieval.training.step import backward

PAIRS = 12


def batch_for(encoder, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = encoder.preprocess.size
    images = torch.randint(0, 256, (PAIRS, size, size, 3), generator=generator).float()
    texts = [f"{'a b c d e f g h'[: 2 * i % 15]} number {i}" for i in range(PAIRS)]
    return Batch(images, torch.from_numpy(encoder.tokenize(texts))[:, None], np.arange(PAIRS))


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(ours, theirs, rtol=2e-3):
    """Equal but for float32's rounding: to rtol of the largest gradient of each parameter."""
    assert set(ours) == set(theirs)
    for name, grad in theirs.items():
        torch.testing.assert_close(ours[name], grad, rtol=rtol, atol=rtol * grad.abs().max().item() + 1e-9, msg=name)


@pytest.mark.parametrize("size", [1, 5])
def test_patch_dropout_and_dropout_of_open_clip_are_replayed(open_clips, size):
    model = load_encoder(open_clips["mmr-toy-vit"])
    for block in model.text_tower.body.transformer.resblocks:
        block.mlp.append(nn.Dropout(0.3))
    dropout.place_dropout(model, patch_dropout=0.5)
    model.train()
    batch = batch_for(model)
    whole = copy.deepcopy(model)
    _, expected = backward(whole, batch, info_nce, 0, seed=3)
    _, got = backward(model, batch, info_nce, size, seed=3)
    assert got == pytest.approx(expected, rel=1e-4)
    assert_same(gradients(model), gradients(whole))
    model.zero_grad()
    assert backward(model, batch, info_nce, size, seed=4)[1] != pytest.approx(expected, rel=1e-3)


def test_open_clips_accumulation_takes_the_scale_k_times_and_ours_does_not(open_clips):
    """The very loop of open_clip_train 3.3, beside ours, on one batch in k pieces."""
    from open_clip_train.train import train_one_epoch

    k = 3
    ours = load_encoder(open_clips["mmr-toy-vit"]).train()
    batch = batch_for(ours)
    theirs = open_clip.create_model("mmr-toy-vit", output_dict=True)
    theirs.load_state_dict(torch.load(open_clips["mmr-toy-vit"].partition("/")[2]))
    images = ours.preprocess.normalize(batch.images)
    pieces = list(zip(images.chunk(k), batch.tokens[:, 0].chunk(k), strict=True))
    loader = type("Loader", (list,), {"num_batches": k, "num_samples": PAIRS})(pieces)
    data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
    args = argparse.Namespace(
        device="cpu", precision="fp32", distill=False, accum_freq=k, skip_scheduler=True, horovod=False, world_size=1,
        grad_clip_norm=None, rank=0, local_rank=0, log_every_n_steps=100, log_local=False, batch_size=PAIRS // k,
        wandb=False,
    )  # fmt: skip
    rule = torch.optim.SGD(theirs.parameters(), lr=0.0)
    train_one_epoch(theirs, data, open_clip.ClipLoss(), 0, rule, None, None, None, args)

    truth = copy.deepcopy(ours)
    backward(truth, batch, info_nce)
    backward(ours, batch, info_nce, PAIRS // k)
    expected = truth.log_logit_scale.grad.item()
    assert abs(expected) > 1e-4
    assert theirs.logit_scale.grad.item() == pytest.approx(k * expected, rel=1e-3)
    assert ours.log_logit_scale.grad.item() == pytest.approx(expected, rel=1e-3)
    # Their towers are right.
    torch.testing.assert_close(theirs.visual.proj.grad, truth.image_tower.body.proj.grad, rtol=1e-2, atol=1e-6)


def test_statistics_are_not_learned_twice(open_clips):
    """A BatchNorm's averages after one step in pieces are those of seeing each piece once. (Our towers hold theirs.)"""
    model = load_encoder(open_clips["mmr-toy-resnet"]).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    once = copy.deepcopy(model)
    batch = batch_for(model)
    backward(model, batch, info_nce, 4)
    with torch.no_grad():
        for i in range(0, PAIRS, 4):
            once(batch.images[i : i + 4])
    name = "image_tower.body.bn1.running_mean"
    torch.testing.assert_close(model.state_dict()[name], once.state_dict()[name])
    assert model.state_dict()["image_tower.body.bn1.num_batches_tracked"] == 3


# ---------------------------------------------------------------- dropout


def test_patch_dropout_keeps_the_class_token_and_a_share_of_the_patches():
    patches = dropout.PatchDropout(0.25, first=1).train()
    x = torch.arange(2 * 9 * 1.0).view(2, 9, 1)
    got = patches(x)
    assert got.shape == (2, 7, 1)  # 1 + 6 of 8
    assert got[:, 0, 0].tolist() == [0, 9]
    for row in got[:, :, 0]:
        assert row.tolist() == sorted(set(row.tolist()))  # in order, each once
    assert torch.equal(patches.eval()(x), x)


def test_each_patch_is_left_out_as_often():
    patches = dropout.PatchDropout(0.5, first=0).train()
    kept = patches(torch.arange(8.0).view(1, 8, 1).expand(4000, 8, 1)).flatten().long().bincount()
    assert (kept / 4000).tolist() == pytest.approx([0.5] * 8, abs=0.03)


@pytest.mark.parametrize("kind", [dropout.PlacedDropout, dropout.ElementDropout, dropout.PathDropout])
def test_rows_behind_others_get_their_own_masks(kind):
    """What a process that holds the rows from 3 on draws is what it would draw of all."""
    module = kind(0.5).train()
    x = torch.ones(7, 4)
    module.stream.manual_seed(5)
    whole = module(x)
    module.stream.manual_seed(5)
    module.before = 3
    assert torch.equal(module(x[3:]), whole[3:])
    assert 0 < (whole == 0).float().mean() < 1
    assert set(whole.flatten().tolist()) == {0.0, 2.0}


def test_a_tower_without_patches_is_said():
    model = small_encoder(["a dog"], dim=8, image_size=32, image={"width": 16}, text={"width": 64, "layers": 1})
    with pytest.raises(BadRequest, match="needs a picture tower of patches"):
        dropout.place_dropout(model, patch_dropout=0.5)


def test_what_is_drawn_is_what_the_towers_own_dropout_drew():
    """Runs of before go on as they were: RowDropout's masks are the same in its place."""
    model = small_encoder(["a dog"], dim=8, image_size=32, image={"dropout": 0.4}, text={"width": 64, "layers": 1})
    own = copy.deepcopy(model).image_tower.dropout.train()
    dropout.place_dropout(model)
    placed = model.image_tower.dropout.train()
    for module in (own, placed):
        module.stream.manual_seed(math.floor(1e6))
    assert torch.equal(own(torch.ones(5, 64)), placed(torch.ones(5, 64)))


# ---------------------------------------------------------------- captions beside captions


def drawn(encoder, draws):
    """A batch with several draws of captions; dropout-free, so that a second look sees the same."""
    texts = [f"{'a b c d e f g h'[: 2 * i % 15]} {'xyz'[draw]} {i}" for i in range(PAIRS) for draw in range(draws)]
    tokens = torch.from_numpy(encoder.tokenize(texts)).unflatten(0, (PAIRS, draws))
    return batch_for(encoder)._replace(tokens=tokens)


def small():
    torch.manual_seed(3)
    sizes = {"image": {"width": 16}, "text": {"width": 64, "layers": 1}}
    return small_encoder(["a b c d e f g h x y z number"], dim=8, image_size=32, **sizes).train()


@pytest.mark.parametrize("draws", [2, 3])
@pytest.mark.parametrize("micro", [0, 5])
def test_captions_of_a_picture_belong_to_each_other(draws, micro):
    """Beside the loss with the pictures: each draw against the next, written out as a plain cross-entropy."""
    ours, plain = small(), small()
    batch = drawn(ours, draws)
    _, value = backward(ours, batch, info_nce, micro, caption_weight=0.3)
    image, _, scale, _ = plain(batch.images)
    text = plain(tokens=batch.tokens.flatten(0, 1)).text.unflatten(0, (PAIRS, draws))

    def loss(a, b):
        logits, true = scale * a @ b.T, torch.arange(PAIRS)
        return (nn.functional.cross_entropy(logits, true) + nn.functional.cross_entropy(logits.T, true)) / 2

    pictures = sum(loss(image, text[:, draw]) for draw in range(draws)) / draws
    captions = sum(loss(text[:, draw], text[:, (draw + 1) % draws]) for draw in range(draws)) / draws
    (pictures + 0.3 * captions).backward()
    assert value == pytest.approx(pictures.item(), rel=1e-5)  # what is reported is the loss with the pictures
    assert_same(gradients(ours), gradients(plain))


@pytest.mark.parametrize(("draws", "weight"), [(2, 0.0), (1, 0.3)], ids=["no weight", "a single caption"])
def test_where_no_captions_meet_nothing_changes_to_the_bit(draws, weight):
    ours, plain = small(), small()
    batch = drawn(ours, draws)
    assert backward(ours, batch, info_nce, caption_weight=weight)[1] == backward(plain, batch, info_nce)[1]
    for name, grad in gradients(plain).items():
        assert torch.equal(gradients(ours)[name], grad)
