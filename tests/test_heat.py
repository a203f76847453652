"""Maps of words over pictures: boxes, the parts of a picture that are looked at, regions, words left out."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw

from retrieval import load_encoder, packages
from retrieval.encoders import builtin
from retrieval.encoders.preprocess import Preprocess
from retrieval.errors import BadRequest
from retrieval.images.regions import Region
from retrieval.search import heat, leaving_out
from retrieval.search.heat import Heat, Places
from toy import ToyEncoder

HERE = all(packages.is_installed(packages.PACKAGES[name]) for name in builtin.PARTS)


class Placed(ToyEncoder):
    """The toy, at every one of 8 x 8 places: each pixel of its square."""

    name = "placed"

    def encode_places(self, images):
        arrays = [i if isinstance(i, np.ndarray) else self.preprocess(i) for i in images]
        rows = np.concatenate([np.stack(arrays).astype(np.float32), np.full((len(arrays), 8, 8, 1), 20.0)], 3)
        return (rows / np.linalg.norm(rows, axis=3, keepdims=True)).astype(np.float32)


def spotted(width, height, *spots):
    """A gray picture with squares of colors: (color, left, top, side)."""
    image = Image.new("RGB", (width, height), (60, 60, 60))
    for color, left, top, side in spots:
        image.paste(color, (left, top, left + side, top + side))
    return image


def test_boxes_are_where_the_score_is_in_pixels_the_best_first():
    scores = np.zeros((4, 8), np.float32)
    scores[1, 1], scores[3, 6:] = 1.0, 0.8
    first, second = Heat(scores, 800, 400).boxes()
    assert (first.peak, first.score) == ((150, 150), 1)
    assert (first.left + first.width / 2, first.top + first.height / 2) == (150, 150)
    assert second.left > 550 and second.left + second.width == 800 and second.top + second.height == 400


def test_a_lower_threshold_never_makes_the_best_box_smaller():
    scores = np.random.default_rng(0).random((6, 6)).astype(np.float32)
    areas = [(box := Heat(scores, 60, 60).boxes(share)[0]).width * box.height for share in (0.9, 0.6, 0.3)]
    assert areas == sorted(areas)


def test_a_box_is_within_the_picture_also_of_a_single_pixel():
    scores = np.zeros((7, 7), np.float32)
    for at in np.ndindex(scores.shape):
        for width, height in ((1, 1), (3, 2), (1, 9)):
            scores[:] = 0
            scores[at] = 1
            (box,) = Heat(scores, width, height).boxes()
            assert 0 <= box.left < box.left + box.width <= width and 0 <= box.top < box.top + box.height <= height


def test_a_map_of_nothing_has_no_box():
    assert Heat(np.full((3, 3), 0.2, np.float32), 9, 9).boxes() == []
    assert not Heat(np.full((1, 1), 0.2, np.float32), 9, 9).shares().any()


def test_parts_hang_together_by_their_sides_not_their_corners():
    mask = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1]], bool)
    assert sorted(len(part) for part in heat.parts(mask)) == [1, 2, 2]


@pytest.mark.parametrize("mode", ["squash", "longest", "shortest"])
@pytest.mark.parametrize("size", [(160, 80), (80, 240), (100, 100)])
def test_a_spot_is_found_where_it_is_however_pictures_become_squares(mode, size):
    toy = Placed()
    toy.preprocess = Preprocess(8, mode)
    (red,) = toy.encode_texts(["red"])
    for left, top in ((0, 0), (size[0] - 30, size[1] - 30)):
        seen = Places.of(spotted(*size, ((255, 0, 0), left, top, 30)), toy)
        box = seen.heat(red).boxes()[0]
        assert left - 1 <= box.peak[0] <= left + 30 and top - 1 <= box.peak[1] <= top + 30, (box, left, top)


def test_the_window_of_a_square_is_what_it_shows_of_the_picture():
    assert Preprocess(8, "squash").window(30, 20) == (0, 0, 30, 20)
    assert Preprocess(10, "shortest").window(40, 20) == (10, 0, 30, 20)
    assert Preprocess(10, "longest").window(40, 20) == pytest.approx((0, -8, 40, 32))  # filled up to 40 x 40, rounded
    image = spotted(40, 20, ((255, 0, 0), 10, 0, 20))
    assert Preprocess(10, "shortest")(image)[..., 0].min() > 200  # the red square is all that is shown


def test_a_picture_that_would_be_squeezed_is_looked_at_in_squares_and_all_of_a_thread():
    for mode in ("squash", "longest"):
        preprocess = Preprocess(8, mode)
        assert list(heat.squares((120, 100), preprocess)) == [(0, 0, 120, 100)]
        assert list(heat.squares((160, 120), preprocess)) == [(0, 0, 120, 120), (40, 0, 160, 120)]
        assert list(heat.squares((10, 30), preprocess)) == [(0, 0, 10, 10), (0, 10, 10, 20), (0, 20, 10, 30)]
        thread = list(heat.squares((5001, 8), preprocess))
        assert len(thread) == 8 and thread[0][0] == 0 and thread[-1][2] == 5001
        assert all(one[2] >= other[0] for one, other in pairwise(thread))


@pytest.mark.skipif(not HERE, reason="the packages of builtin's weights are not installed")
@pytest.mark.parametrize("size", [(320, 160), (640, 160), (1200, 160), (160, 640)])
def test_builtin_finds_a_clock_wherever_it_hangs_on_a_long_wall(size):
    encoder = load_encoder("builtin")
    (words,) = encoder.encode_texts(["a clock"])
    for share in (0, 0.25, 0.5, 0.75, 1):
        left, top = (round((side - _CLOCK) * (share if side == max(size) else 0.5)) for side in size)
        x, y = Places.of(_wall(size, left, top), encoder).heat(words).boxes()[0].peak
        assert left <= x <= left + _CLOCK and top <= y <= top + _CLOCK, (share, x, y)


_CLOCK = 120  # pixels


def _wall(size, left, top):
    """A striped wall with the face of a clock."""
    image = Image.new("RGB", size, (120, 130, 110))
    draw = ImageDraw.Draw(image)
    for at in range(0, max(size), 80):
        draw.rectangle((at, 0, at + 30, size[1]), fill=(100, 110, 80))
    draw.rectangle((left, top, left + _CLOCK, top + _CLOCK), fill=(200, 190, 170))
    x, y = left + _CLOCK // 2, top + _CLOCK // 2
    draw.ellipse((x - 50, y - 50, x + 50, y + 50), fill="white", outline="black", width=5)
    for turn in np.exp(2j * np.pi * np.arange(12) / 12):
        draw.line((x + 40 * turn.real, y + 40 * turn.imag, x + 46 * turn.real, y + 46 * turn.imag), "black", 4)
    draw.line((x, y, x, y - 35), "black", 4)
    draw.line((x, y, x + 22, y + 6), "black", 5)
    return image


def test_all_of_a_long_picture_is_looked_at_and_a_strip_costs_no_more_than_eight_looks():
    preprocess = Preprocess(8, "shortest")
    assert list(heat.squares((30, 10), preprocess)) == [(0, 0, 10, 10), (10, 0, 20, 10), (20, 0, 30, 10)]
    assert list(heat.squares((10, 14), preprocess)) == [(0, 0, 10, 10), (0, 4, 10, 14)]
    assert len(list(heat.squares((5000, 8), preprocess))) == 8
    toy = Placed()
    toy.preprocess = preprocess
    assert np.isfinite(Places.of(spotted(3000, 10), toy).vectors).all()


def test_confidence_is_low_for_what_is_not_there():
    toy = Placed()
    toy.encode_texts = lambda texts: np.stack([_axis(text) for text in texts])
    seen = Places.of(spotted(80, 80, ((255, 0, 0), 10, 10, 30)), toy)
    there, absent = (heat.confidence(seen, seen.heat(_axis(word)), toy) for word in ("red", "blue"))
    assert there > 0.9 > 0.1 > absent


def _axis(text):
    rows = {"red": (1, 0, 0, 0), "blue": (0, 0, 1, 0)}
    return np.array(rows.get(text, (0, 0.6, 0.4, 0.69)), np.float32)


def test_an_encoder_without_places_says_so_in_one_line():
    with pytest.raises(BadRequest, match="toy has no patches to look for words in: use another, as in --model builtin"):
        Places.of(spotted(8, 8), ToyEncoder())


# ---------------------------------------------------------------- regions


def test_regions_are_pixels_percent_or_shares():
    for text in ("20,10,50,25", "20%,20%,50%,50%", "0.2,0.2,.5,0.5", " 20 , 10, 50,25"):
        assert Region.parse(text, "--crop").box(100, 50) == (20, 10, 70, 35)
    assert Region.parse("33.3%,0%,66.7%,100%", "--crop").box(30, 30) == (10, 0, 30, 30)


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "a,b,c,d", "1,2,3,4,5", "-1,0,9,9", "10%,0,5,5", "nan,0,1,1", "1e3,0,9,9", "0.5,0,0.6,1.0",
             "٣,0,9,9", "0%,0%,0%,50%", "1.5,0,1,1", "9" * 500, "0,0,1,1" + "0" * 99]
)  # fmt: skip
def test_a_region_that_is_none_is_one_line_with_an_example(text):
    with pytest.raises(BadRequest, match=r"--crop (120|10%)") as told:
        Region.parse(text, "--crop")
    assert len(str(told.value)) < 300 and "\n" not in str(told.value)


def test_a_region_outside_of_the_picture_or_too_small_is_told():
    with pytest.raises(BadRequest, match="not inside a picture of 100 x 50 pixels: give"):
        Region.parse("60,0,50,50", "--crop").box(100, 50)
    with pytest.raises(BadRequest, match="shows nothing: give a larger one"):
        Region.parse("0,0,1,1", "--crop").box(100, 50)


# ---------------------------------------------------------------- words


def test_each_word_is_left_out_in_turn():
    assert leaving_out.without_each("a  red dog") == [("a", "red dog"), ("red", "a dog"), ("dog", "a red")]
    assert leaving_out.without_each("dog") == [] == leaving_out.without_each("")
    assert leaving_out.without_each("赤い犬") == [("赤", "い犬"), ("い", "赤犬"), ("犬", "赤い")]
    assert len(leaving_out.without_each("a " * 1000)) == leaving_out.MOST


def test_a_word_matters_by_what_the_score_loses_without_it():
    toy = ToyEncoder()
    (seen,) = toy.encode_images([Image.new("RGB", (8, 8), (255, 0, 0))])
    red, green = leaving_out.words("red green", toy, seen)
    assert (red.text, green.text) == ("red", "green")
    assert red.matters == pytest.approx(0.7071, abs=0.01)  # without it nothing of the query is left in the picture
    assert green.matters == pytest.approx(0.7071 - 1, abs=0.01)  # it speaks against the picture
