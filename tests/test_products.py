"""Products bind: what a vector says of two things is which is whose and which comes first, by hand-worked cases."""

import numpy as np
import pytest
import torch
from PIL import Image

from retrieval import load_encoder
from retrieval.encoders import query_encoder
from retrieval.encoders.build import small_encoder
from retrieval.encoders.config import EncoderConfig
from retrieval.errors import BadRequest
from retrieval.towers.places_tower import CHANNELS, PlaceProducts, PlacesTower, left_of
from retrieval.towers.products import LEAST_DIM, PRODUCTS, QUALITIES, THINGS, Parts, TextProducts, ordered

ONE, OTHER = 0, 1  # codes of two things


def line(*codes):
    """Words of two numbers, one of which is 1; None: a word that is no thing."""
    return torch.tensor([[[float(code == number) for number in (ONE, OTHER)] for code in codes]])


def says(*sides):
    """(left, right) of each word."""
    return torch.tensor([sides])


def test_a_word_between_two_things_says_which_of_them_is_to_the_left():
    words = line(ONE, None, OTHER)
    left = ordered(words, says((0.0, 0.0), (1.0, 0.0), (0.0, 0.0)))
    right = ordered(words, says((0.0, 0.0), (0.0, 1.0), (0.0, 0.0)))
    assert left.tolist() == [[[0.0, 1.0], [0.0, 0.0]]]  # one of the first kind, with one of the other to its right
    assert right.tolist() == [[[0.0, 0.0], [1.0, 0.0]]]


def test_a_caption_and_its_picture_order_things_alike():
    picture = left_of(line(None, ONE, None, OTHER))
    assert picture.tolist() == [[[0.0, 1.0], [0.0, 0.0]]]
    assert left_of(line(OTHER, None, ONE)).tolist() == [[[0.0, 0.0], [1.0, 0.0]]]
    assert left_of(line(None, ONE)).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_each_part_has_its_weight_and_nothing_is_nothing():
    parts = Parts()
    with torch.no_grad():
        parts.log_weights.copy_(torch.tensor([2.0, 1.0, 1.0, 1.0, 4.0]).log())
    rest, things, qualities = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), torch.tensor([[0.0, 0.9]])
    got = parts(rest, things, qualities, torch.zeros(1, 2, 2), torch.tensor([[[0.0, 0.0], [0.0, 9.9]]]))
    expected = [6 / 5.1, 8 / 5.1, 0, 0, 0, 0.9, 0, 0, 0, 0, 0, 0, 0, 9.9 / 10 * 4]
    torch.testing.assert_close(got, torch.tensor([expected]))


def test_whose_a_quality_is_changes_a_text_where_a_bag_of_words_is_the_same():
    torch.manual_seed(0)
    tower = TextProducts(LEAST_DIM, vocabulary=10, width=64).eval()
    one, other = tower(torch.tensor([[3, 4, 5, 6], [5, 4, 3, 6]]))
    rest = LEAST_DIM - PRODUCTS
    torch.testing.assert_close(one[: rest + THINGS], other[: rest + THINGS])
    bound = slice(rest + THINGS + QUALITIES, rest + THINGS + QUALITIES + THINGS * QUALITIES)
    assert (one[bound] - other[bound]).abs().max() > 1e-3


def test_padding_and_the_other_lines_change_no_text():
    torch.manual_seed(0)
    tower = TextProducts(LEAST_DIM, vocabulary=10, width=64).eval()
    alone = tower(torch.tensor([[3, 4, 5]]))
    together = tower(torch.tensor([[3, 4, 5, 0, 0], [9, 8, 7, 6, 5], [0, 0, 0, 0, 0]]))
    torch.testing.assert_close(together[:1], alone)
    assert together.isfinite().all()


def test_a_mirrored_row_of_places_exchanges_what_is_left_and_right():
    torch.manual_seed(0)
    head = PlaceProducts(2, LEAST_DIM).eval()
    places = torch.randn(1, 2, 2, CHANNELS)
    plain, mirrored = (head(x.flatten(1))[0] for x in (places, places.flip(2)))
    order = -THINGS * THINGS
    torch.testing.assert_close(plain[:order], mirrored[:order])  # what is there, and whose it is
    torch.testing.assert_close(plain[order:].view(THINGS, THINGS), mirrored[order:].view(THINGS, THINGS).T)


def test_a_picture_is_its_features_and_a_head_and_other_sizes_are_resized():
    torch.manual_seed(0)
    tower = PlacesTower(LEAST_DIM, size=32).eval()
    pixels = torch.randn(2, 3, 32, 32)
    features = tower.features(pixels)
    assert features.shape == (2, tower.width) == (2, 4 * CHANNELS)
    assert torch.equal(tower.head(features), tower(pixels))
    torch.testing.assert_close(features[0, :3], pixels[0, :, :16, :16].mean((1, 2)))  # the first place's own color
    assert tower(torch.randn(1, 3, 64, 64)).shape == (1, LEAST_DIM)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image_tower": "products"}, "text_tower must be products beside products"),
        ({"text_tower": "products"}, "image_tower must be products beside products"),
        ({"image_tower": "products", "text_tower": "products", "dim": 256}, f"dim must be at least {LEAST_DIM}"),
        ({"image_tower": "products", "text_tower": "products", "dim": 640, "pooling": "max"}, "pooling is not asked"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(settings, said):
    with pytest.raises(BadRequest, match=said):
        EncoderConfig(**settings)


def test_saved_and_asked_without_torch_it_says_the_same(tmp_path):
    torch.manual_seed(0)
    texts = ["a red dog to the left of a blue cat", "", "a dog"]
    sides = {"image": {"type": "products", "size": 32}, "text": {"type": "products", "width": 64}}
    encoder = small_encoder(texts, dim=LEAST_DIM, image_size=32, **sides)
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    pictures = [Image.new("RGB", (40, 40), "red"), Image.fromarray(noise)]
    encoder.save(tmp_path / "run")
    loaded = load_encoder(str(tmp_path / "run"))
    np.testing.assert_array_equal(loaded.encode_texts(texts), encoder.eval().encode_texts(texts))
    np.testing.assert_array_equal(loaded.encode_images(pictures), encoder.encode_images(pictures))
    query_encoder.ensure_exported(loaded)
    query = query_encoder.open_query_encoder(loaded.fingerprint, lambda: loaded)
    np.testing.assert_allclose(query.encode_texts(texts), loaded.encode_texts(texts), atol=1e-5)
    np.testing.assert_allclose(query.encode_images(pictures), loaded.encode_images(pictures), atol=1e-4)
