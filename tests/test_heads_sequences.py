"""Words and places of an encoder as inputs: what they are, and that a head takes them."""

import csv

import numpy as np
import pytest
import torch

from retrieval import load_encoder
from retrieval.errors import BadRequest
from retrieval.heads import inputs
from retrieval.heads.config import HeadConfig
from retrieval.heads.prepare import one_row, prepare, train_head
from retrieval.images.load import load
from retrieval.sources.registry import open_items


@pytest.fixture(scope="module")
def encoder(trained):
    return load_encoder(str(trained))


def test_words_are_those_of_the_text_whatever_stands_beside_it(encoder):
    vectors, seen = encoder.encode_words(["a dog", "a dog and two red cars"])
    alone, there = encoder.encode_words(["a dog"])
    count = int(there.sum())
    assert seen[0].tolist() == [True] * count + [False] * (seen.shape[1] - count)
    assert np.array_equal(vectors[0, :count], alone[0, :count])
    assert seen.sum(1)[1] > count


def test_places_pooled_are_the_picture(encoder, book):
    pictures = [load(item) for item in list(open_items(str(book)))[:3]]
    patches = encoder.encode_patches(pictures)
    assert patches.shape[:2] == (3, 4)  # 32 pixels in steps of 16
    pooled = torch.from_numpy(patches).clamp(min=1e-4).pow(3).mean(1).pow(1 / 3)
    again = torch.nn.functional.normalize(encoder.image_tower.project(pooled), dim=1).detach().numpy()
    assert np.abs(again - encoder.encode_images(pictures)).max() < 1e-5


def test_a_head_takes_words_and_places_and_is_asked_without_them(encoder, book, tmp_path):
    first = {row["image"]: row for row in csv.DictReader((book / "pairs.csv").open())}
    lines = [[name, "" if number == 0 else row["caption"], row["split"]]
             for number, (name, row) in enumerate(first.items())]  # fmt: skip
    with (book / "one.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "caption", "kind"], *lines])
    asked = "image,words,patches"
    prepared = prepare(str(book / "one.csv"), "kind", "single", encoder, inputs=asked)
    assert not prepared.inputs.present["words"][0].any()
    config = HeadConfig(fusion="cross_attention", inputs=asked, width=16, epochs=2)
    head, _ = train_head(prepared, encoder, config)
    assert set(head.dims) == {"image", "words", "patches"}
    for picture, text in ((book / "003.png", ""), (None, "a dog"), (book / "003.png", "a dog")):
        scores = head.scores(one_row(picture, text, encoder, head.dims))
        assert scores.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(BadRequest, match="nothing to go by"):
        one_row(None, " ", encoder, head.dims)


def test_what_an_encoder_does_not_give_is_no_input(toy, encoder):
    assert inputs.chosen("", toy, []) == ("image", "text")
    assert inputs.chosen("", encoder, ["sound"]) == ("image", "text", "words", "sound")
    with pytest.raises(BadRequest, match="no input `words`: use --set inputs= with some of image, text"):
        inputs.chosen("words", toy, [])


def test_vectors_are_kept_until_a_picture_or_the_encoder_changes(toy, photos):
    items = list(open_items(str(photos)))
    first = inputs.encode(items, toy)
    seen = toy.images_seen
    assert np.array_equal(inputs.encode(items, toy).vectors["image"], first.vectors["image"])
    assert toy.images_seen == seen
    toy.fingerprint = "another"
    inputs.encode(items, toy)
    assert toy.images_seen == 2 * seen
