"""The promises of the loop: micro-batches change nothing, resume is straight-through, two captions never meet."""

import copy
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from retrieval import open_pairs, recipes
from retrieval.datatypes import Item, Pair
from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.losses.contrastive import info_nce, sigmoid
from retrieval.training import checkpoints
from retrieval.training.augment import augment, drop_words, jitter
from retrieval.training.config import TrainConfig
from retrieval.training.dataset import TrainingSet
from retrieval.training.loop import train
from retrieval.training.optimizer import Optimizer
from retrieval.training.setup import loss_of
from retrieval.training.step import backward

SMALL = dataclasses.replace(
    recipes.smoke(), dropout=0.3, word_dropout=0.1, ema=0.9, precision="fp32", epochs=3, captions=2
)


@pytest.fixture(scope="module")
def pairs():
    return open_pairs("picturebook:40?size=32")


def data_and_model(pairs, config):
    torch.manual_seed(0)
    model = small_encoder(
        [p.caption for p in pairs], dim=16, image_size=32, image={"width": 16, "dropout": config.dropout},
        text={"width": 64, "layers": 1, "dropout": config.dropout}, logit_bias=-1.0,
    )  # fmt: skip
    return TrainingSet(pairs, model, config), model


# ---------------------------------------------------------------- micro-batches


@pytest.mark.parametrize("loss", [info_nce, sigmoid])
@pytest.mark.parametrize("size", [1, 5, 11])
def test_micro_batches_change_no_loss_and_no_gradient(pairs, loss, size):
    """In float64, with dropout: every parameter, the logit scale among them, gets the gradient of the whole batch."""
    data, model = data_and_model(pairs, dataclasses.replace(SMALL, batch_size=11))
    model.double().train()
    batch = data.batch(0)
    batch = batch._replace(images=batch.images.double())
    model.preprocess = _Float64Preprocess(model.preprocess)
    whole = copy.deepcopy(model)
    _, expected = backward(whole, batch, loss, 0, seed=3)
    _, got = backward(model, batch, loss, size, seed=3)
    assert got == pytest.approx(expected, rel=1e-6)
    for (name, ours), theirs in zip(model.named_parameters(), whole.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12, msg=name)
    assert model.log_logit_scale.grad is not None


class _Float64Preprocess:
    def __init__(self, inner):
        self.inner = inner

    def normalize(self, pixels):
        return self.inner.normalize(pixels).double()


def test_dropout_is_on_in_that_test(pairs):
    data, model = data_and_model(pairs, dataclasses.replace(SMALL, batch_size=16))
    losses = {seed: backward(model.train(), data.batch(0), info_nce, 0, seed)[1] for seed in (1, 2, 1)}
    assert losses[1] != losses[2]


def test_the_loss_of_several_draws_is_the_mean_of_their_losses(pairs):
    data, model = data_and_model(pairs, dataclasses.replace(SMALL, batch_size=16, captions=3, dropout=0.0))
    batch = data.batch(0)
    assert batch.tokens.shape[:2] == (16, 3)
    alone = [backward(model, batch._replace(tokens=batch.tokens[:, [i]]), info_nce)[1] for i in range(3)]
    expected = [p.grad / 3 for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    assert backward(model, batch, info_nce)[1] == pytest.approx(np.mean(alone), rel=1e-5)
    got = [p.grad for p in model.parameters() if p.grad is not None]
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_the_draws_of_a_step_are_different_captions(pairs):
    data, _ = data_and_model(pairs, dataclasses.replace(SMALL, batch_size=40, captions=3, word_dropout=0.0))
    for lines in data.batch(0).tokens:
        assert len({tuple(line.tolist()) for line in lines}) == 3
    assert data_and_model(pairs, dataclasses.replace(SMALL, captions=99))[0].draws == 7  # no picture has more


# ---------------------------------------------------------------- captions of the same words


@pytest.mark.parametrize("duplicates", ["negative", "masked", "positive"])
@pytest.mark.parametrize("micro", [0, 7])
def test_captions_of_the_same_words_are_what_the_config_says(pairs, duplicates, micro):
    said = [Pair(pair.item, f"scene {n % 15}") for n, pair in enumerate(pairs)]  # 15 texts, drawn for 40 pictures
    config = dataclasses.replace(SMALL, batch_size=40, captions=2, dropout=0.0, duplicates=duplicates)
    data, model = data_and_model(said, config)
    batch = data.batch(0)
    features, value = backward(model, batch, loss_of(config), micro)
    whole = data_and_model(said, config)[1](batch.images, batch.tokens.flatten(0, 1))
    draws = [whole._replace(text=whole.text[i::2].detach(), image=whole.image.detach()) for i in (0, 1)]
    options = [{} if duplicates == "negative" else {"ids": batch.alike[:, i], "same": duplicates} for i in (0, 1)]
    expected = [info_nce(draw, draw, **asked).item() for draw, asked in zip(draws, options, strict=True)]
    assert value == pytest.approx(np.mean(expected), rel=1e-5)
    plain = np.mean([info_nce(draw, draw).item() for draw in draws])
    assert (value == pytest.approx(plain, rel=1e-5)) == (duplicates == "negative")


def test_captions_are_alike_where_their_words_are_whatever_is_dropped(pairs):
    said = [Pair(pair.item, f"a scene of {n % 15} dogs and a cat") for n, pair in enumerate(pairs)]
    data, _ = data_and_model(said, dataclasses.replace(SMALL, batch_size=40, duplicates="masked", word_dropout=0.4))
    plain, _ = data_and_model(said, dataclasses.replace(SMALL, batch_size=40, word_dropout=0.0))
    tokens, batch = plain.batch(0).tokens, data.batch(0)
    for draw in (0, 1):
        same = (tokens[:, None, draw] == tokens[:, draw]).all(-1)
        assert torch.equal(batch.alike[:, None, draw] == batch.alike[:, draw], same)
    assert plain.batch(0).alike is None


# ---------------------------------------------------------------- resume


def _after(steps):
    """A should_stop that says yes after so many steps."""
    answers = iter([False] * (steps - 1) + [True])
    return lambda: next(answers)


def test_resumed_at_any_step_it_is_the_run_that_was_never_stopped(pairs, tmp_path):
    straight = train(pairs, tmp_path / "straight", SMALL)
    steps = straight.steps
    assert steps == 4  # 3 passes over 40 pictures in batches of 32
    for stop_at in range(1, steps):
        out = tmp_path / f"stopped{stop_at}"
        first = train(pairs, out, SMALL, should_stop=_after(stop_at))
        assert (first.finished, first.steps) == (False, stop_at)
        second = train(pairs, out, SMALL, resume=True)
        assert second.finished
        expected, got = straight.encoder.state_dict(), second.encoder.state_dict()
        for name in expected:
            assert torch.equal(expected[name], got[name]), f"{name} after a stop at step {stop_at}"
        assert second.encoder.fingerprint == straight.encoder.fingerprint
        steps_logged = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
        assert steps_logged == sorted(set(steps_logged))


def test_bfloat16_resumes_as_exactly(pairs, tmp_path):
    config = dataclasses.replace(SMALL, precision="bf16")
    straight = train(pairs, tmp_path / "a", config)
    train(pairs, tmp_path / "b", config, should_stop=_after(2))
    resumed = train(pairs, tmp_path / "b", config, resume=True)
    assert resumed.encoder.fingerprint == straight.encoder.fingerprint


def with_settings(run, change):
    """The last checkpoint of a run, its settings as another version would have written them."""
    file = checkpoints.all_of(run)[-1] / "state.json"
    state = json.loads(file.read_text())
    change(state["settings"])
    file.write_text(json.dumps(state))


def test_a_checkpoint_of_the_version_that_wrote_yes_and_no_is_gone_on_with(pairs, tmp_path):
    straight = train(pairs, tmp_path / "run", SMALL).encoder.fingerprint
    with_settings(tmp_path / "run", lambda said: said.update(shard="no", tensorboard="no", bidirectional="yes"))
    assert train(pairs, tmp_path / "run", SMALL, resume=True).encoder.fingerprint == straight


@pytest.mark.parametrize("said", [{"not_known_here": 1}, {"shard": "perhaps"}, {"lr": None}])
def test_a_checkpoint_whose_settings_are_none_of_this_version_is_refused_in_a_line(pairs, tmp_path, said):
    train(pairs, tmp_path / "run", SMALL)
    with_settings(tmp_path / "run", lambda settings: settings.update(said))
    with pytest.raises(BadRequest, match="was trained with other settings: resume with the same, or give another"):
        train(pairs, tmp_path / "run", SMALL, resume=True)


def test_another_run_is_not_resumed_and_not_overwritten(pairs, tmp_path):
    train(pairs, tmp_path / "run", SMALL, should_stop=_after(1))
    with pytest.raises(BadRequest, match="holds a run already: go on with --resume"):
        train(pairs, tmp_path / "run", SMALL)
    with pytest.raises(BadRequest, match="other settings"):
        train(pairs, tmp_path / "run", dataclasses.replace(SMALL, lr=1.0), resume=True)
    with pytest.raises(BadRequest, match="other data"):
        train(pairs[5:], tmp_path / "run", SMALL, resume=True)
    with pytest.raises(BadRequest, match="no run to resume"):
        train(pairs, tmp_path / "new", SMALL, resume=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(BadRequest, match="is not empty"):
        train(pairs, tmp_path / "mine", SMALL)


# ---------------------------------------------------------------- what is learned, and on what


def test_it_learns_to_tell_colors_apart(tmp_path):
    colours = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (250, 250, 250)}
    pairs = [
        Pair(Item(f"{name}{i}", name, lambda rgb=rgb: Image.new("RGB", (32, 32), rgb)), f"a {name} square")
        for name, rgb in colours.items()
        for i in range(2)
    ]
    # Batches of 4 of 8 pictures hold copies of a colour now and then, so the loss has a floor; the ranking has none.
    config = dataclasses.replace(
        recipes.smoke(), batch_size=4, epochs=40, lr=3e-3, flip="no", checkpoints=0, evaluations=0
    )
    encoder = train(pairs, tmp_path / "run", config).encoder
    scores = (
        encoder.encode_texts([f"a {name} square" for name in colours])
        @ encoder.encode_images([Image.new("RGB", (32, 32), rgb) for rgb in colours.values()]).T
    )
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]


def test_a_batch_holds_each_picture_once_and_an_epoch_holds_all(pairs):
    data, _ = data_and_model(pairs, dataclasses.replace(SMALL, batch_size=8))
    seen = np.concatenate([data.order(step) for step in range(5)])
    assert sorted(seen) == list(range(40))
    assert not np.array_equal(data.order(0), data.order(5))
    assert len(set(data.batch(3).items)) == 8


def test_every_caption_is_drawn_sometime(pairs):
    data, _ = data_and_model(pairs, dataclasses.replace(SMALL, batch_size=40, word_dropout=0.0, captions=1))
    drawn = set()
    for step in range(60):
        batch = data.batch(step)
        place = list(batch.items).index(0)
        drawn.add(tuple(t for t in batch.tokens[place, 0].tolist() if t))
    assert drawn == {tuple(row) for row in data.tokens[0]}


def test_each_caption_draws_its_own_share_of_dropped_words():
    rng = np.random.default_rng(0)
    kept = [len(drop_words(list(range(1000)), 0.35, rng)) / 1000 for _ in range(500)]
    assert np.mean(kept) == pytest.approx(0.65, abs=0.02)
    assert np.histogram(kept, bins=[0.25, 0.4, 0.7, 0.9, 1.01])[0] / 500 == pytest.approx(
        [0.17, 0.43, 0.28, 0.13], abs=0.06
    )
    assert drop_words([7], 0.49, rng) == [7]  # something is always left


def test_pictures_that_do_not_decode_are_left_out_with_their_reason(pairs, tmp_path):
    bad = Pair(Item("bad", "bad.jpg", tmp_path / "bad.jpg"), "nothing")
    data, _ = data_and_model([bad, *pairs], SMALL)
    assert data.skipped == [("bad.jpg", "no such file")]
    assert len(data) == 40


def test_flips_are_off_where_captions_speak_of_sides(pairs):
    config = dataclasses.replace(SMALL, flip="auto")
    assert not data_and_model(pairs, config)[0].flips  # the picture book says left and right
    plain = [Pair(pair.item, "a scene") for pair in pairs]
    assert data_and_model(plain, config)[0].flips


def test_augment_shows_all_or_mirrors_all_where_told():
    pixels = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).view(2, 4, 4, 3)
    same = augment(pixels, 4, 1.0, False, torch.Generator())
    assert torch.equal(same, pixels.float())
    got = augment(pixels, 4, 1.0, True, torch.Generator().manual_seed(0))
    for ours, original in zip(got, pixels.float(), strict=True):
        assert min((ours - o).abs().max() for o in (original, original.flip(1))) < 1e-3


def test_color_jitter_by_hand():
    pixels = torch.tensor([[100, 100, 100], [150, 50, 100]], dtype=torch.uint8).view(1, 1, 2, 3).expand(64, 2, 2, 3)
    same = jitter(pixels, 0.0, torch.Generator())
    assert torch.equal(same, pixels.float())
    got = jitter(pixels, 0.3, torch.Generator().manual_seed(0))
    grey, coloured = got[:, 0, 0], got[:, 0, 1]
    assert (grey.max(1).values - grey.min(1).values).max() < 1e-3  # grey stays grey
    assert ((grey.mean(1) / coloured.mean(1) - 1).abs() < 1e-3).all()  # both have the mean brightness of the picture
    assert 70 <= grey.min() < 80  # three pictures in a hundred are darkened by more than a quarter
    assert 120 < grey.max() <= 130
    stretch = (coloured[:, 0] - coloured[:, 1]) / coloured[:, 2]  # contrast times saturation
    assert 0.49 <= stretch.min() < 0.65
    assert 1.4 < stretch.max() <= 1.69


def test_too_many_pictures_for_memory_are_decoded_as_they_come(pairs):
    kept, _ = data_and_model(pairs, SMALL)
    streamed, _ = data_and_model(pairs, dataclasses.replace(SMALL, pixel_cache_gb=0.0))
    assert streamed.pixels is None
    assert torch.equal(streamed.batch(1).images, kept.batch(1).images)


# ---------------------------------------------------------------- optimizer


def test_the_schedule_by_hand(pairs):
    _, model = data_and_model(pairs, SMALL)
    optimizer = Optimizer(model, dataclasses.replace(SMALL, lr=1.0, warmup=0.2), 10)
    rates = [optimizer.learning_rate(step) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)  # halfway down the cosine from step 2 to step 10
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


def test_the_logit_scale_is_clamped(pairs):
    data, model = data_and_model(pairs, SMALL)
    optimizer = Optimizer(model, dataclasses.replace(SMALL, max_logit_scale=14.0, lr=0.1, warmup=0.0), 10)
    backward(model, data.batch(0), info_nce, 0, 0, optimizer.collect)
    optimizer.step(0)
    assert model.log_logit_scale.exp().item() <= 14.0 + 1e-5


def test_a_loss_that_is_no_number_ends_the_run_with_the_remedy(pairs, tmp_path):
    with pytest.raises(BadRequest, match="lower the learning rate with --set lr="):
        train(pairs, tmp_path / "run", dataclasses.replace(SMALL, lr=1e30, grad_clip=1e30, epochs=20))


# ---------------------------------------------------------------- config


def test_settings_reach_every_field():
    config = TrainConfig()
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        assert getattr(config.settings([f"{field.name}={value}"]), field.name) == value
    assert config.settings(["lr=1e-3", "batch_size=64"]).batch_size == 64
    assert recipes.finetune().settings(["epochs=0.5"]).epochs == 0.5  # where the recipe says 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize=3", "did you mean `batch_size`"),
        ("zzz=3", "no setting `zzz`: one of image_size"),
        ("lr=fast", "lr takes a number, as in lr=0.0"),
        ("batch_size=2.5", "takes a whole number"),
        ("lr", "lr takes a number"),
        ("lr=-1", "lr must be above 0"),
        ("image_size=100", "multiple of 16"),
        ("loss=clip", "must be one of info_nce, sigmoid"),
    ],
)
def test_a_wrong_setting_is_said(text, message):
    with pytest.raises(BadRequest, match=message):
        TrainConfig().settings([text])


def test_finetuning_goes_on_from_a_run(trained, book, tmp_path):
    pairs = open_pairs(f"csv:{book}/pairs.csv?split=dev")
    config = dataclasses.replace(recipes.finetune(), encoder=str(trained), epochs=1, lr=1e-6)
    result = train(pairs, tmp_path / "tuned", config)
    before, after = load_encoder(str(trained)), load_encoder(str(tmp_path / "tuned"))
    assert after.fingerprint != before.fingerprint
    assert (before.encode_texts(["a dog"]) * after.encode_texts(["a dog"])).sum() > 0.999
    assert result.steps == 1


def test_what_is_trained_has_a_name_by_which_it_is_found_again(book, tmp_path):
    pairs = open_pairs(f"csv:{book}/pairs.csv?split=dev")
    encoder = train(pairs, tmp_path / "run", recipes.smoke()).encoder
    assert encoder.name == str(tmp_path / "run")
    assert load_encoder(encoder.name).fingerprint == encoder.fingerprint
