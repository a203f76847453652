"""Pixels as a person sees them; a picture that cannot be decoded costs one error with its reason."""

import csv
import io
import os
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from retrieval.datatypes import Item
from retrieval.errors import ImageError
from retrieval.images import guard, load, pixels


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(content, place=(0, 0)):
    return load.decode(content).getpixel(place)


def test_what_a_file_is_by_what_is_in_it(tmp_path):
    film = b"\0\0\0\x14ftypisom\0\0\2\0isom"
    contents = {
        "film": (film, "clip"), "film.jpg": (film, "clip"), "a.mpg": (b"\0\0\1\xba", "clip"),
        "packets": (b"G" + b"\0" * 187 + b"G" + b"\0" * 187, "clip"), "old.mp4": (b"\0\0\0\1moov", "clip"),
        "riff": (b"RIFF\0\0\0\0AVI LIST", "clip"), "unknown.mov": (b"?", "clip"), "gone.mp4": (None, "clip"),
        "a.mp4": (b"\xff\xd8\xff\xe0", "picture"), "gif": (b"GIF89a" + b"\0" * 182 + b"G", "picture"),
        "webp": (b"RIFF\0\0\0\0WEBPVP8 ", "picture"), "avif": (b"\0\0\0\x14ftypavif\0\0\0\0avis", "picture"),
        "heic": (b"\0\0\0\x14ftypheic\0\0\0\0mif1", "picture"), "notes": (b"a dog", "picture"),
        "none": (b"", "picture"),
    }  # fmt: skip
    for name, (content, kind) in contents.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert load.kind(tmp_path / name) == kind, name


def test_orientation_is_applied():
    image = Image.new("RGB", (20, 10), "white")
    image.paste((255, 0, 0), (0, 0, 4, 4))  # red in the stored top left corner
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    got = load.decode(encoded(image, exif=exif))
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


def test_cmyk_as_adobe_writes_it_is_no_negative():
    """Adobe stores inverted CMYK and marks the file; Pillow writes the same with the marker left out."""
    content = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    marker = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    plain = content[:2] + content[2 + 16 :] if content[2:4] == b"\xff\xee" else content
    assert np.allclose(pixel(plain[:2] + marker + plain[2:]), (255, 0, 0), atol=6)


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert pixel(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0)


def test_a_large_jpeg_is_decoded_small_but_never_below_what_is_asked():
    content = encoded(Image.new("RGB", (1600, 1200)), "JPEG")
    assert min(load.decode(content, at_least=200).size) == 300
    assert load.decode(content).size == (1600, 1200)


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
        load.decode(content)


def test_a_png_is_shrunk_by_a_whole_number_and_never_below_what_is_asked():
    content = encoded(Image.new("RGB", (1000, 700), "red"))
    assert load.decode(content, at_least=300).size == (500, 350)
    assert load.decode(content, at_least=400).size == (1000, 700)


def test_a_jpeg_with_more_pictures_behind_it_is_decoded_small_too():
    first = Image.new("RGB", (1600, 1200), "red")
    content = encoded(first, "MPO", save_all=True, append_images=[Image.new("RGB", (1600, 1200), "blue")])
    got = load.decode(content, at_least=200)
    assert (got.size, got.getpixel((9, 9))) == ((400, 300), pytest.approx((254, 0, 0), abs=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_every_orientation_of_every_format(kind, orientation):
    """Against Pillow's own exif_transpose, and the fields tell the size as it is seen."""
    image = Image.fromarray(np.kron([[0, 80, 160], [240, 40, 120]], np.ones((16, 16))).astype(np.uint8)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, kind, exif=exif)
    with Image.open(io.BytesIO(content)) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    got = load.decode_with_fields(content)
    assert np.abs(np.asarray(got.image, int) - np.asarray(expected, int)).max() <= 2
    assert (got.fields["width"], got.fields["height"]) == expected.size == ((48, 32) if orientation < 5 else (32, 48))


def test_a_broken_exif_costs_no_picture():
    good = encoded(Image.new("RGB", (16, 16), "red"), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert load.decode(good).size == (16, 16)


@pytest.mark.parametrize("kind", ["zTXt", "iCCP", "iTXt"])
def test_a_text_that_blows_up_is_not_unpacked(kind):
    """64 MB of zeros behind 64 KB, in each compressed chunk of a PNG."""
    packed = zlib.compress(bytes(64 << 20), 9)
    middle = b"\0\0" if kind != "iTXt" else b"\0\1\0\0\0"
    body = kind.encode() + b"key" + middle + packed
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    content = encoded(Image.new("RGB", (4, 4)))
    try:
        assert load.decode(content[:33] + chunk + content[33:]).size == (4, 4)
    except ImageError as error:
        assert "too large" in str(error).lower()


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="not a file"):
        load.decode(tmp_path / "a.jpg")


def test_large_and_many_scanned_pictures_leave_the_thread(monkeypatch):
    sent = []
    monkeypatch.setattr(guard, "decode_guarded", lambda content, at_least: sent.append(at_least))
    noise = Image.effect_noise((64, 64), 50).convert("RGB")
    load.decode_with_fields(encoded(noise, "JPEG", progressive=True))
    assert sent == []
    monkeypatch.setattr(pixels, "MAX_SCANS", 3)
    load.decode_with_fields(encoded(noise, "JPEG", progressive=True), 1)
    monkeypatch.setattr(pixels, "MAX_IN_THREAD", 64 * 64 - 1)
    load.decode_with_fields(encoded(noise), 2)
    assert sent == [1, 2]


def test_what_would_not_fit_in_memory_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(pixels, "MAX_DECODED", 99)
    with pytest.raises(ImageError, match="too large for memory: 10 x 10 pixels"):
        load.decode(encoded(Image.new("RGB", (10, 10))))
    assert load.decode(encoded(Image.new("RGB", (16, 16)), "JPEG")).size == (8, 8)  # a JPEG comes smaller instead


def test_heic_names_what_to_install_or_is_decoded(monkeypatch):
    head = b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"
    assert pixels.is_heif(head)
    assert not pixels.is_heif(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif")
    monkeypatch.setattr(pixels, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"pip install 'mmr-retrieval\[heic\]'"):
        load.decode(head)


def test_heic_is_upright(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="pip install 'mmr-retrieval[heic]'")
    image = Image.new("RGB", (64, 32), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(image).save(tmp_path / "a.heic", exif=exif.tobytes())
    got = load.decode_with_fields(tmp_path / "a.heic")
    assert got.image.size == (got.fields["width"], got.fields["height"]) == (32, 64)
    assert np.allclose(got.image.getpixel((5, 5)), (254, 0, 0), atol=6)


def test_a_bomb_is_not_decoded(monkeypatch):
    monkeypatch.setattr(pixels, "MAX_PIXELS", 99)
    with pytest.raises(ImageError, match="too large: 10 x 10 pixels"):
        load.decode(encoded(Image.new("RGB", (10, 10))))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_hostile_bytes_raise_image_errors_alone(junk, place):
    good = encoded(Image.new("RGB", (16, 16), "red"), "JPEG")
    try:
        load.decode(good[:place] + junk + good[place + len(junk) :])
    except ImageError as error:
        assert str(error)


def test_content_may_be_a_function_or_a_picture(tmp_path):
    image = Image.new("RGB", (3, 3), "red")
    assert load.load(Item("a", "a", lambda: image)) is image
    assert load.load(Item("a", "a", lambda: encoded(image))).getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(ImageError, match="no such file"):
        load.load(Item("a", "a", tmp_path / "gone.png"))


def test_every_awkward_file_is_a_picture_or_a_reason(shared):
    """426 difficult files: RGB of a sane size, or an ImageError. Those Pillow reads in a format of ours must decode."""
    decoded, refused = 0, []
    for row in csv.DictReader((shared / "awkward" / "index.csv").open()):
        try:
            image = load.decode(shared / "awkward" / row["path"])
            assert image.mode == "RGB"
            assert min(image.size) > 0
            decoded += 1
        except ImageError as error:
            assert str(error)
            if row["decodes"] == "1" and row["rgb"] == "1" and row["format"] in pixels.formats():
                refused.append((row["path"], str(error)))
    assert refused == []
    assert decoded > 250
