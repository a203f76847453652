"""Pixels as a person sees them; a picture that cannot be decoded costs one error with its reason."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retrieval import images
from retrieval.datatypes import Item
from retrieval.errors import ImageError


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(content, place=(0, 0)):
    return images.decode(content).getpixel(place)


def test_orientation_is_applied():
    image = Image.new("RGB", (20, 10), "white")
    image.paste((255, 0, 0), (0, 0, 4, 4))  # red in the stored top left corner
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    got = images.decode(encoded(image, exif=exif))
    assert got.size == (10, 20)
    assert got.getpixel((9, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("LA", (2, 2), (0, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 32896, np.uint16)), (128, 128, 128)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
    ],
    ids=["transparent", "half", "grey alpha", "16 bit white", "16 bit grey", "1 bit"],
)
def test_modes_become_rgb(image, expected):
    assert pixel(encoded(image)) == expected


def test_cmyk_is_no_negative():
    got = pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.allclose(got, (255, 0, 0), atol=6)


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert pixel(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0)


def test_a_large_jpeg_is_decoded_small_but_never_below_what_is_asked():
    content = encoded(Image.new("RGB", (1600, 1200)), "JPEG")
    assert min(images.decode(content, at_least=200).size) == 300
    assert images.decode(content).size == (1600, 1200)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a picture of a known format"),
        (b"hello", "not a picture of a known format"),
        (encoded(Image.effect_noise((64, 64), 50).convert("RGB"))[:1500], "does not decode"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture of a known format"),
    ],
    ids=["empty", "text", "truncated", "postscript"],
)
def test_a_bad_file_has_a_reason(content, reason):
    with pytest.raises(ImageError, match=reason):
        images.decode(content)


def test_a_bomb_is_not_decoded(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    with pytest.raises(ImageError, match="too large: 10 x 10 pixels"):
        images.decode(encoded(Image.new("RGB", (10, 10))))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_hostile_bytes_raise_image_errors_alone(junk, place):
    good = encoded(Image.new("RGB", (16, 16), "red"), "JPEG")
    try:
        images.decode(good[:place] + junk + good[place + len(junk) :])
    except ImageError as error:
        assert str(error)


def test_content_may_be_a_function_or_a_picture(tmp_path):
    image = Image.new("RGB", (3, 3), "red")
    assert images.load(Item("a", "a", lambda: image)) is image
    assert images.load(Item("a", "a", lambda: encoded(image))).getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(ImageError, match="no such file"):
        images.load(Item("a", "a", tmp_path / "gone.png"))


def test_every_awkward_file_is_a_picture_or_a_reason(shared):
    """426 difficult files: RGB of a sane size, or an ImageError. Those Pillow reads in a format of ours must decode."""
    decoded, refused = 0, []
    for row in csv.DictReader((shared / "awkward" / "index.csv").open()):
        try:
            image = images.decode(shared / "awkward" / row["path"])
            assert image.mode == "RGB"
            assert min(image.size) > 0
            decoded += 1
        except ImageError as error:
            assert str(error)
            if row["decodes"] == "1" and row["rgb"] == "1" and row["format"] in images.FORMATS:
                refused.append((row["path"], str(error)))
    assert refused == []
    assert decoded > 250
