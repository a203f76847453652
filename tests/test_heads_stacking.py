"""Stacking: it trusts each modality as far as it is right on rows that it has not seen."""

import numpy as np
import pytest
import torch

from retrieval.heads.batch import batch_of
from retrieval.heads.config import HeadConfig
from retrieval.heads.fit import fit
from retrieval.heads.inputs import Inputs

CONFIG = HeadConfig(fusion="stacking")


def rows(count, seed, noise=150):
    """A picture that says the class in noise, and a text that says nothing in so many numbers that it can be learned
    by heart."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count)
    image = np.eye(3)[label] + rng.normal(0, 0.45, (count, 3))
    vectors = {"image": image.astype(np.float32), "text": rng.normal(size=(count, noise)).astype(np.float32)}
    return Inputs(vectors, {name: np.ones(count, bool) for name in vectors}), label


def said(module, inputs):
    data = batch_of(inputs, np.zeros(len(inputs), np.int64))
    with torch.no_grad():
        return module(data.vectors, data.present).numpy()


def test_what_is_only_learned_by_heart_is_not_trusted():
    learn, label = rows(180, 0)
    test, truth = rows(600, 1)
    names = ["0", "1", "2"]
    right = {}
    for fusion in ("stacking", "image"):
        config = HeadConfig(fusion=fusion, head="fusion" if fusion == "stacking" else "ridge")
        module = fit(learn, [str(n) for n in label], names, "single", config).module
        right[fusion] = (said(module, test).argmax(1) == truth).mean()
    assert right["stacking"] >= right["image"] - 0.02
    assert right["image"] > 0.8


def test_it_answers_from_what_is_there():
    learn, label = rows(300, 0, noise=4)
    learn.vectors["text"][:, :3] = np.eye(3)[label]
    learn.present["text"][::2] = False
    module = fit(learn, [str(n) for n in label], ["0", "1", "2"], "single", CONFIG).module
    test, truth = rows(300, 1, noise=4)
    test.vectors["text"][:, :3] = np.eye(3)[truth]
    assert (said(module, test).argmax(1) == truth).mean() > 0.97
    test.present["text"][:] = False
    assert 0.75 < (said(module, test).argmax(1) == truth).mean() < 0.95


@pytest.mark.parametrize("task", ["number", "multiple"])
def test_numbers_and_several_labels(task):
    learn, label = rows(300, 0, noise=4)
    learn.vectors["image"] = learn.vectors["image"] + 0.5
    if task == "number":
        labels = (learn.vectors["image"].sum(1) + learn.vectors["text"][:, 0]).tolist()
        fitted = fit(learn, labels, [], "number", CONFIG)
        answers = said(fitted.module, learn)[:, 0] * fitted.spread + fitted.center
        assert np.corrcoef(answers, labels)[0, 1] > 0.99
    else:
        labels = [frozenset({"any", str(n)}) for n in label]
        fitted = fit(learn, labels, ["0", "1", "2", "any"], "multiple", CONFIG)
        answers = said(fitted.module, learn) > 0
        assert answers[:, 3].all()
        assert (answers[:, :3].argmax(1) == label).mean() > 0.8
