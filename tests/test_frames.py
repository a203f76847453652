"""Clips: what does not move is a picture, only the transformer knows the order, and the index pools as training did."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from retrieval import recipes
from retrieval.datatypes import Item, Pair
from retrieval.encoders import encoding, query_encoder
from retrieval.encoders.build import new_encoder, small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.images import clips as clip_files
from retrieval.images import load
from retrieval.towers.frames import FRAME_POOLINGS, build_frames
from retrieval.training.dataset import TrainingSet
from retrieval.training.loop import train
from rows import unit_tensor
from toy import ToyEncoder

CONFIG = dataclasses.replace(
    recipes.smoke(), batch_size=4, epochs=30, lr=3e-3, flip="no", checkpoints=0, evaluations=0, precision="fp32",
    frames=4, image_tower="mlp", image_width=64, crop=1.0, dim=64,
)  # fmt: skip
CAPTIONS = {"right": "it moves to the right", "left": "it moves to the left"}


def frames_of(way, row=4):
    """A white square that crosses a black picture in 4 frames."""
    frames = []
    for place in range(4):
        frame = Image.new("RGB", (32, 32))
        frame.paste((255, 255, 255), (8 * place, row, 8 * place + 8, row + 8))
        frames.append(frame)
    return frames if way == "right" else frames[::-1]


@pytest.fixture
def clips(monkeypatch):
    """Pairs of clips, whose frames are these wherever a clip is opened."""
    rows = {f"{way}{row}".encode(): frames_of(way, row) for way in CAPTIONS for row in (2, 20)}
    monkeypatch.setattr(load, "clip", lambda content, count=8, at_least=None: clip_files.Clip(rows[content], {}))
    return [
        Pair(Item(name.decode(), "a.mp4", lambda name=name: name, kind="clip"), CAPTIONS[name.decode().rstrip("02")])
        for name in rows
    ]


def trained_pool(kind, dim=16):
    """A pooling whose weights are not those of the start."""
    torch.manual_seed(0)
    pool = build_frames(dim, {"type": kind})
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return pool


# ---------------------------------------------------------------- the poolings


@pytest.mark.parametrize("kind", ["attention", "transformer"])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_clip_that_does_not_move_is_its_picture(kind, count):
    picture = unit_tensor(5, 1, 16)
    got = trained_pool(kind)(picture.expand(-1, count, -1))
    torch.testing.assert_close(got, picture[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["attention", "transformer"])
def test_it_starts_as_the_mean(kind):
    frames = unit_tensor(3, 5, 16)
    torch.testing.assert_close(build_frames(16, {"type": kind})(frames), F.normalize(frames.mean(1), dim=-1))


def test_only_the_transformer_knows_the_order():
    frames, back = unit_tensor(3, 5, 16), unit_tensor(3, 5, 16).flip(1)
    attention, transformer = trained_pool("attention"), trained_pool("transformer")
    torch.testing.assert_close(attention(frames), attention(back))
    assert (transformer(frames) - transformer(back)).abs().max() > 1e-2


def test_attention_takes_the_frame_that_it_was_taught():
    pool = build_frames(4, {"type": "attention"})
    with torch.no_grad():
        pool.score.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, 50.0]]))
    got = pool(torch.eye(4)[None])
    torch.testing.assert_close(got, torch.eye(4)[3:])


@pytest.mark.parametrize("kind", ["attention", "transformer"])
def test_a_clip_does_not_see_the_others_of_its_batch(kind):
    pool, frames = trained_pool(kind), unit_tensor(3, 5, 16)
    for row, clip in zip(pool(frames), frames, strict=True):
        torch.testing.assert_close(pool(clip[None])[0], row)


# ---------------------------------------------------------------- in training


def test_a_batch_holds_frames_that_are_cut_and_colored_alike(clips):
    still = Pair(Item("still", "still.png", lambda: frames_of("right")[0]), "it stays")
    pairs = [*clips, still]
    config = dataclasses.replace(CONFIG, batch_size=5, crop=0.4, color_jitter=0.3, flip="yes")
    data = TrainingSet(pairs, new_encoder(config, [pair.caption for pair in pairs]), config)
    batch = data.batch(0)
    assert batch.images.shape == (5, 4, 32, 32, 3)
    place = list(batch.items).index(4)
    for frame in batch.images[place, 1:]:  # a picture is a clip that does not move
        assert torch.equal(frame, batch.images[place, 0])
    moving = batch.images[list(batch.items).index(0)]
    assert (moving[0] - moving[3]).abs().max() > 100


def test_a_short_clip_shows_its_frames_longer(clips, monkeypatch):
    monkeypatch.setattr(load, "clip", lambda *_, **__: clip_files.Clip(frames_of("right")[:2], {}))
    data = TrainingSet(clips, new_encoder(CONFIG, [pair.caption for pair in clips]), CONFIG)
    first = data.batch(0).images[0]
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[2], first[3])
    assert not torch.equal(first[1], first[2])


@pytest.mark.parametrize("kind", FRAME_POOLINGS)
def test_left_from_right_is_learned_by_what_knows_the_order(kind, clips, tmp_path):
    encoder = train(clips, tmp_path / "run", dataclasses.replace(CONFIG, frame_pooling=kind)).encoder
    loaded = load_encoder(str(tmp_path / "run"))
    assert loaded.fingerprint == encoder.fingerprint
    texts = loaded.encode_texts(list(CAPTIONS.values()))
    (encoded,) = encoding.encode([pair.item for pair in clips], loaded)
    found = (encoded.vectors @ texts.T).argmax(1).tolist()
    margin = np.abs(encoded.vectors @ (texts[0] - texts[1]))
    if kind == "transformer":
        assert found == [0, 0, 1, 1]
        assert margin.min() > 0.1
    else:  # a clip and its reverse have the same vector
        np.testing.assert_allclose(encoded.vectors[:2], encoded.vectors[2:], atol=1e-5)


def test_a_trained_encoder_gets_a_pooling_of_its_own(trained, clips, tmp_path):
    config = dataclasses.replace(recipes.finetune(), encoder=str(trained), epochs=1, frames=4, precision="fp32")
    plain = train(clips, tmp_path / "plain", config).encoder
    pooled = train(clips, tmp_path / "pooled", dataclasses.replace(config, frame_pooling="attention")).encoder
    assert plain.frame_pool is None
    assert load_encoder(str(tmp_path / "pooled")).frame_pool.spec == {"type": "attention"}
    assert pooled.fingerprint != plain.fingerprint


# ---------------------------------------------------------------- in the index, without torch


def test_clips_of_any_length_are_pooled_beside_pictures():
    counts = np.array([2, 1, 3, 2])
    vectors = unit_tensor(8, 6).numpy()
    got = encoding.pooled(vectors, counts, ToyEncoder().pool_frames)
    for row, start, count in zip(got, np.cumsum(counts) - counts, counts, strict=True):
        mean = vectors[start : start + count].mean(0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), rtol=1e-5)


@pytest.mark.parametrize("kind", FRAME_POOLINGS)
def test_the_pooling_without_torch(kind):
    torch.manual_seed(0)
    spec = {"type": kind} if kind != "mean" else None
    encoder = small_encoder(["a dog"] * 3, dim=16, image_size=32, image={"type": "mlp"}, frames=spec).eval()
    if spec:
        encoder.frame_pool.load_state_dict(trained_pool(kind).state_dict())
    query_encoder.ensure_exported(encoder)
    query = query_encoder.open_query_encoder(encoder.fingerprint, lambda: encoder)
    for count in (2, 7):
        frames = unit_tensor(3, count, 16).numpy()
        np.testing.assert_allclose(query.pool_frames(frames), encoder.pool_frames(frames), atol=1e-5)


def test_load_frames_of_a_picture_is_the_picture(photos):
    (frame,) = load.load_frames(Item("red", "red.png", photos / "red.png"), 4)
    assert frame.getpixel((0, 0)) == (255, 0, 0)
