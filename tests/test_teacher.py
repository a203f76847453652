"""A teacher: its own vectors for what is drawn, a loss between its targets and the pairs', a student that follows."""

import dataclasses

import numpy as np
import pytest
import torch

from retrieval import open_pairs, recipes
from retrieval.datatypes import Features
from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.losses.contrastive import info_nce
from retrieval.training.dataset import TrainingSet
from retrieval.training.loop import train
from retrieval.training.setup import loss_of
from retrieval.training.step import backward
from retrieval.training.teacher import Teacher, in_chorus

CONFIG = dataclasses.replace(recipes.smoke(), precision="fp32", batch_size=12, captions=2, epochs=2, warmup=0.0)


@pytest.fixture(scope="module")
def pairs():
    return open_pairs("picturebook:24?size=48")


def student(pairs):
    torch.manual_seed(1)
    captions = [pair.caption for pair in pairs]
    return small_encoder(captions, dim=8, image_size=32, image={"width": 16}, text={"width": 64, "layers": 1})


def test_a_batch_has_the_teachers_own_vectors(pairs, trained):
    teacher = load_encoder(str(trained))
    data = TrainingSet(pairs, student(pairs), CONFIG, teachers=[teacher])
    batch = data.batch(1)
    items = list({pair.item.id: pair.item for pair in pairs}.values())
    pictures = teacher.encode_images([items[i].content() for i in batch.items])
    np.testing.assert_allclose(batch.teacher.image, pictures, atol=1e-3)
    captions = {}
    for pair in pairs:
        captions.setdefault(pair.item.id, []).append(pair.caption)
    for row, item in enumerate(batch.items):
        known = teacher.encode_texts(captions[items[item].id])
        mine = data.config and student(pairs).tokenize.rows(captions[items[item].id])
        for draw in range(2):
            shown = [token for token in batch.tokens[row, draw].tolist() if token]
            which = [place for place, line in enumerate(mine) if line == shown]
            assert which
            gaps = [np.abs(batch.teacher.text[row, draw].numpy() - known[place]).max() for place in which]
            assert min(gaps) < 1e-3


@pytest.mark.parametrize("micro", [0, 5])
def test_the_loss_is_between_both_targets(pairs, trained, micro):
    """Cross-entropy is linear in its targets: half of the pairs', half of the teacher's."""
    config = dataclasses.replace(CONFIG, teacher=str(trained), teacher_share=0.5, captions=1)
    model = student(pairs)
    batch = TrainingSet(pairs, model, config, teachers=[load_encoder(str(trained))]).batch(0)
    _, value = backward(model, batch, loss_of(config), micro)
    with torch.no_grad():
        features = model(batch.images, batch.tokens[:, 0])
        logits = features.logit_scale * features.image @ features.text.T
        said = batch.teacher.logit_scale * batch.teacher.image @ batch.teacher.text[:, 0].T
        soft = [-(t.softmax(1) * s.log_softmax(1)).sum(1).mean() for s, t in ((logits, said), (logits.T, said.T))]
        expected = 0.5 * info_nce(features, features) + 0.5 * sum(soft) / 2
    assert value == pytest.approx(expected.item(), rel=1e-4)


def test_a_student_of_a_teacher_alone_comes_to_agree_with_it(pairs, trained, tmp_path):
    teacher = load_encoder(str(trained))
    config = dataclasses.replace(
        CONFIG, teacher=str(trained), teacher_share=1.0, epochs=60, lr=3e-3, crop=1.0, flip="no", word_dropout=0.0
    )
    result = train(pairs, tmp_path / "run", config)
    texts = sorted({pair.caption for pair in pairs})
    pictures = [pair.item.content() for pair in pairs[::5]]

    def scores(encoder):
        table = encoder.encode_images(pictures) @ encoder.encode_texts(texts).T
        return (table - table.mean(1, keepdims=True)).ravel()

    before = np.corrcoef(scores(student(pairs)), scores(teacher))[0, 1]
    after = np.corrcoef(scores(result.encoder), scores(teacher))[0, 1]
    assert after > 0.5 > before


def test_a_run_with_a_teacher_resumes_bit_for_bit_and_knows_its_teacher(pairs, trained, tmp_path):
    config = dataclasses.replace(CONFIG, teacher=str(trained))
    straight = train(pairs, tmp_path / "a", config)
    steps = iter([False, True])
    train(pairs, tmp_path / "b", config, should_stop=lambda: next(steps))
    assert train(pairs, tmp_path / "b", config, resume=True).encoder.fingerprint == straight.encoder.fingerprint
    assert train(pairs, tmp_path / "c", CONFIG).encoder.fingerprint != straight.encoder.fingerprint


def test_a_teacher_that_is_not_there_is_said(pairs, tmp_path):
    from retrieval.errors import MissingModel

    with pytest.raises(MissingModel, match="no encoder `nobody`"):
        train(pairs, tmp_path / "run", dataclasses.replace(CONFIG, teacher="nobody"))
    with pytest.raises(BadRequest, match="teacher_share must be above 0"):
        CONFIG.settings(["teacher_share=0"])


def test_what_the_teacher_keeps_is_half_precision(pairs, trained):
    items = list({pair.item.id: pair.item for pair in pairs}.values())
    teacher = Teacher(load_encoder(str(trained)), items, [["a dog", "a cat"]] * len(items))
    assert (teacher.images.dtype, teacher.texts.dtype) == (np.float16, np.float16)
    assert teacher.texts.shape == (2 * len(items), 32)


def test_several_teachers_are_the_mean_of_their_logits():
    """By hand: scales 2 and 6, so unit vectors with a quarter and three quarters of the room, at scale 4."""
    one = Features(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.6, 0.8]]]), torch.tensor(2.0), None)
    two = Features(torch.tensor([[0.0, 1.0]]), torch.tensor([[[0.6, 0.8]]]), torch.tensor(6.0), None)
    both = in_chorus([one, two])
    assert in_chorus([one]) is one
    assert both.logit_scale.item() == 4
    assert both.image.norm().item() == pytest.approx(1)
    logit = both.logit_scale * (both.image @ both.text[0].T)
    assert logit.item() == pytest.approx((2 * 0.6 + 6 * 0.8) / 2)
    biased = in_chorus([one._replace(bias=torch.tensor(-3.0)), two._replace(bias=torch.tensor(-5.0))])
    assert biased.bias.item() == -4


def test_teachers_are_named_with_commas(pairs, trained, tmp_path):
    alone = train(pairs, tmp_path / "one", dataclasses.replace(CONFIG, teacher=str(trained)))
    twice = train(pairs, tmp_path / "two", dataclasses.replace(CONFIG, teacher=f"{trained},{trained}"))
    gaps = [
        (a - b).abs().max().item() for a, b in zip(alone.encoder.parameters(), twice.encoder.parameters(), strict=True)
    ]
    assert max(gaps) < 1e-3  # the same teacher two times says the same
