"""Two encoders as one: the mean of their logits, a run folder like any other, none that see or read differently."""

import dataclasses

import numpy as np
import pytest
import torch

from retrieval.encoders import query_encoder
from retrieval.encoders.build import small_encoder
from retrieval.encoders.ensemble import ensemble
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from terminal import mmr

WORDS = ["a red dog on a blue house", "two white cats"]


def part(seed, width=16, words=WORDS, scale=10.0, **more):
    torch.manual_seed(seed)
    sizes = {"image": {"width": width}, "text": {"width": 64, "layers": seed % 2}}
    return small_encoder(words, dim=8 * seed, image_size=32, logit_scale=scale, **sizes, **more).eval()


@pytest.fixture
def parts():
    return [part(1), part(2, width=32, scale=30.0)]


def logits(encoder, pictures):
    return encoder.encode_images(pictures) @ encoder.encode_texts(WORDS).T * encoder.log_logit_scale.exp().item()


def test_its_logits_are_the_mean_of_theirs(parts, pictures):
    both = ensemble(parts)
    assert both.dim == 24
    expected = (logits(parts[0], pictures) + logits(parts[1], pictures)) / 2
    np.testing.assert_allclose(logits(both, pictures), expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(both.encode_images(pictures), axis=1), 1, atol=1e-6)


def test_it_is_saved_and_loaded_and_asked_like_any_other(parts, pictures, tmp_path):
    both = ensemble([ensemble(parts), part(3)])  # also of an ensemble
    both.save(tmp_path / "run")
    loaded = load_encoder(str(tmp_path / "run"))
    assert loaded.fingerprint == both.fingerprint
    np.testing.assert_array_equal(loaded.encode_images(pictures), both.encode_images(pictures))
    np.testing.assert_array_equal(loaded.encode_texts(WORDS), both.encode_texts(WORDS))

    query_encoder.ensure_exported(loaded)
    query = query_encoder.open_query_encoder(loaded.fingerprint, lambda: loaded)
    np.testing.assert_allclose(query.encode_texts(WORDS), loaded.encode_texts(WORDS), atol=1e-5)
    np.testing.assert_allclose(query.encode_images(pictures), loaded.encode_images(pictures), atol=1e-5)


def test_its_towers_run_in_a_lower_precision(parts, pictures):
    both = ensemble(parts)
    expected = both.encode_images(pictures)
    fast = both.to_fast_precision("bf16").encode_images(pictures)
    assert all(p.dtype == torch.bfloat16 for one in parts for p in one.image_tower.body.parameters())
    assert (fast * expected).sum(1).min() > 0.999


def test_encoders_that_see_or_read_differently_are_refused(parts):
    larger = part(2)
    larger.preprocess = dataclasses.replace(larger.preprocess, size=64)
    for other in (larger, part(2, words=["other words altogether"])):
        with pytest.raises(BadRequest, match="do not see pictures and words alike: train both on the same captions"):
            ensemble([parts[0], other])
    with pytest.raises(BadRequest, match="cannot be part of an ensemble: take runs from scratch"):
        ensemble([parts[0], part(2, logit_bias=-10.0)])


def test_the_command(parts, tmp_path):
    names = []
    for number, encoder in enumerate(parts):
        encoder.save(tmp_path / str(number))
        names.append(str(tmp_path / str(number)))
    out = str(tmp_path / "both")
    refused = mmr("blend", *names, "--out", out, "--ensemble", "--at", "0.5")
    assert refused.exit_code == 2
    assert "leave out --at, or --ensemble" in refused.output
    done = mmr("blend", *names, "--out", out, "--ensemble")
    assert done.exit_code == 0
    assert load_encoder(out).fingerprint == ensemble([load_encoder(name) for name in names]).fingerprint
