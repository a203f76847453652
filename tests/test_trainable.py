"""Frozen means equal to the bit; LoRA is merged at the end; a local open_clip checkpoint is tuned and learns."""

import dataclasses

import numpy as np
import pytest
import torch

from eval import evaluate
from retrieval import open_pairs, recipes
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.training.config import TrainConfig
from retrieval.training.loop import train
from retrieval.training.trainable import depths

TUNE = dataclasses.replace(
    recipes.finetune(), batch_size=20, epochs=2, lr=1e-3, warmup=0.0, checkpoints=2, precision="fp32", seed=1
)
TOYS = ("mmr-toy-vit", "mmr-toy-resnet")


@pytest.fixture(scope="module")
def pairs():
    every = open_pairs("picturebook:40?size=32")
    return [*{pair.item.id: pair for pair in every}.values()]  # the last caption of each says the most


def weights(encoder, start):
    return {name: tensor for name, tensor in encoder.state_dict().items() if name.startswith(start)}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def assert_resumes_bit_for_bit(pairs, config, folder):
    """Stopped after its second step and gone on with, a run ends with the weights of one that never stopped."""
    straight = train(pairs, folder / "a", config)
    steps = iter([False, True])
    train(pairs, folder / "b", config, should_stop=lambda: next(steps))
    resumed = train(pairs, folder / "b", config, resume=True)
    assert not changed(straight.encoder.state_dict(), resumed.encoder.state_dict())


# ---------------------------------------------------------------- a local open_clip checkpoint


@pytest.mark.parametrize("name", TOYS)
def test_a_local_open_clip_checkpoint_is_tuned_and_learns(open_clips, pairs, tmp_path, name):
    config = dataclasses.replace(TUNE, encoder=open_clips[name], epochs=12)
    losses = []
    train(pairs, tmp_path / "run", config, on_step=lambda progress: losses.append(progress.loss))
    before, after = load_encoder(open_clips[name]), load_encoder(str(tmp_path / "run"))
    recall = [evaluate(encoder, pairs).text_to_image["hit@5"] for encoder in (before, after)]
    assert recall[0] < 0.25  # chance is 0.125
    # The ResNet learns less: its statistics are held, and those of random weights are no good.
    assert recall[1] > recall[0] + (0.1 if name == "mmr-toy-vit" else 0.03)
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.1
    assert after.preprocess == before.preprocess


@pytest.mark.parametrize("name", TOYS)
def test_tuning_open_clip_resumes_bit_for_bit(open_clips, pairs, tmp_path, name):
    config = dataclasses.replace(TUNE, encoder=open_clips[name], micro_batch_size=7, ema=0.9)
    assert_resumes_bit_for_bit(pairs, config, tmp_path)


def test_a_run_goes_on_from_the_very_checkpoint_it_began_with(open_clips, pairs, tmp_path):
    file = tmp_path / "weights.pt"
    state = torch.load(open_clips["mmr-toy-vit"].partition("/")[2])
    torch.save(state, file)
    config = dataclasses.replace(TUNE, encoder=f"open_clip:mmr-toy-vit/{file}")
    train(pairs, tmp_path / "run", config, should_stop=lambda: True)
    state["visual.conv1.weight"][0] += 1
    torch.save(state, file)
    with pytest.raises(BadRequest, match="with other encoder"):
        train(pairs, tmp_path / "run", config, resume=True)


# ---------------------------------------------------------------- frozen


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("side", ["image", "text"])
def test_a_frozen_tower_is_equal_to_the_bit(open_clips, pairs, tmp_path, name, side, precision):
    config = dataclasses.replace(
        TUNE, encoder=open_clips[name], freeze=side, precision=precision, micro_batch_size=8, ema=0.9
    )
    result = train(pairs, tmp_path / "run", config)
    before = load_encoder(open_clips[name])
    other = "text" if side == "image" else "image"
    assert not changed(weights(before, f"{side}_tower"), weights(result.encoder, f"{side}_tower"))
    assert changed(weights(before, f"{other}_tower"), weights(result.encoder, f"{other}_tower"))


def test_micro_batches_change_nothing_where_a_tower_is_frozen(open_clips, pairs, tmp_path):
    # sgd: Adam makes whole steps of a gradient that is nothing but rounding, as that of a bias of keys
    config = dataclasses.replace(TUNE, encoder=open_clips["mmr-toy-vit"], freeze="image", optimizer="sgd", lr=0.1)
    whole = train(pairs, tmp_path / "a", config).encoder
    pieces = train(pairs, tmp_path / "b", dataclasses.replace(config, micro_batch_size=6)).encoder
    for name, tensor in weights(whole, "text_tower").items():
        torch.testing.assert_close(weights(pieces, "text_tower")[name], tensor, rtol=1e-3, atol=2e-4, msg=name)


@pytest.mark.parametrize("last", [1, 2])
def test_only_the_last_layers_move(open_clips, pairs, tmp_path, last):
    config = dataclasses.replace(TUNE, encoder=open_clips["mmr-toy-vit"], freeze="both", unfreeze=last)
    after = train(pairs, tmp_path / "run", config).encoder
    before = load_encoder(open_clips["mmr-toy-vit"])
    for side in ("image_tower", "text_tower"):
        depth = depths(getattr(before, side))
        head = max(depth.values())
        moved = {name[len(side) + 1 :] for name in changed(weights(before, side), weights(after, side))}
        assert moved
        assert {depth[name] for name in moved} == set(range(head - last + 1, head + 1))


# ---------------------------------------------------------------- LoRA


def test_lora_is_merged_into_what_it_was_built_as(open_clips, pairs, tmp_path):
    pytest.importorskip("peft")
    config = dataclasses.replace(TUNE, encoder=open_clips["mmr-toy-vit"], lora=2, lr=3e-3, freeze="image")
    before = load_encoder(open_clips["mmr-toy-vit"])
    result = train(pairs, tmp_path / "run", config)
    after = load_encoder(str(tmp_path / "run"))
    assert not changed(result.encoder.state_dict(), after.state_dict())
    assert set(before.state_dict()) == set(after.state_dict())
    moved = changed(before.state_dict(), after.state_dict()) - {"log_logit_scale"}
    assert moved
    for name in moved:
        difference = after.state_dict()[name] - before.state_dict()[name]
        assert name.startswith("text_tower")
        # A product of rank 2; the three matrices of an attention are one layer.
        assert torch.linalg.matrix_rank(difference, rtol=1e-4) <= 2
    kinds = {name.rpartition("resblocks.")[2].partition(".")[2] for name in moved}
    assert kinds == {"attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"}


def test_the_merged_encoder_gives_what_the_adapters_gave(open_clips, pairs, tmp_path):
    pytest.importorskip("peft")
    config = dataclasses.replace(TUNE, encoder=open_clips["mmr-toy-vit"], lora=4, lr=1e-2, evaluations=1)
    seen = []
    result = train(pairs, tmp_path / "run", config, on_eval=lambda e: seen.append(e.encode_texts(["a dog"])) or {})
    before = load_encoder(open_clips["mmr-toy-vit"]).encode_texts(["a dog"])
    assert (before * seen[-1]).sum() < 0.999
    np.testing.assert_allclose(result.encoder.encode_texts(["a dog"]), seen[-1], atol=2e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_lora_resumes_bit_for_bit(open_clips, pairs, tmp_path, precision):
    pytest.importorskip("peft")
    config = dataclasses.replace(TUNE, encoder=open_clips["mmr-toy-vit"], lora=2, lr=3e-3, precision=precision)
    assert_resumes_bit_for_bit(pairs, config, tmp_path)


def test_lora_without_peft_names_what_to_install(pairs, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(BadRequest, match=r"pip install 'mmr-retrieval\[lora\]'"):
        train(pairs, tmp_path / "run", dataclasses.replace(recipes.smoke(), lora=2))
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["freeze=both"], "unfreeze must be above 0 where freeze=both"),
        (["unfreeze=2"], "unfreeze belongs to freeze="),
        (["lora=4", "freeze=image", "unfreeze=1"], "unfreeze must be 0 beside lora"),
        (["freeze=picture"], "freeze must be one of"),
    ],
)
def test_what_cannot_be_together_is_said(texts, message):
    with pytest.raises(BadRequest, match=message):
        TrainConfig().settings(texts)
