"""Pictures whose pixels are whole and whose file is not: pixels count, and those that are missing are not made up."""

import io
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from retrieval.errors import ImageError
from retrieval.images import load, mend

NOISE = Image.effect_noise((96, 64), 60).convert("RGB")


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, body, sound=True):
    crc = zlib.crc32(kind + body) ^ (not sound)
    return len(body).to_bytes(4, "big") + kind + body + crc.to_bytes(4, "big")


def with_chunk(content, added, at_end=False):
    place = len(content) - 12 if at_end else 33  # before IEND, or behind IHDR
    return content[:place] + added + content[place:]


LONG = b"key\0" + b"x" * (2 << 20)
PACKED = b"key\0\0" + zlib.compress(b"x" * (2 << 20))


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "added",
    [
        chunk(b"zTXt", PACKED), chunk(b"iTXt", b"key\0\1\0\0\0" + PACKED[5:]), chunk(b"tEXt", LONG),
        chunk(b"zTXt", PACKED) * 40, chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(64 << 20), 9)),
        chunk(b"tEXt", b"key\0text", sound=False), chunk(b"pHYs", bytes(9), sound=False),
        chunk(b"iCCP", b"p\0\0junk", sound=False), chunk(b"eXIf", b"MM\0*", sound=False), chunk(b"tIME", b"1"),
    ],
    ids=["zTXt", "iTXt", "tEXt", "many", "bomb", "text crc", "pHYs crc", "iCCP crc", "eXIf crc", "short tIME"],
)  # fmt: skip
def test_what_stands_beside_the_pixels_of_a_png_costs_no_picture(added, at_end):
    assert load.decode(with_chunk(encoded(NOISE), added, at_end)).tobytes() == NOISE.tobytes()


def test_what_the_pixels_need_stays():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("P", (20, 10), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    content = encoded(image, transparency=1, exif=exif)
    broken = with_chunk(content, chunk(b"zTXt", PACKED))
    assert load.decode_with_fields(broken) == load.decode_with_fields(content)
    assert load.decode(broken).getpixel((0, 0)) == (255, 255, 255)
    assert load.decode(broken).size == (10, 20)


def test_a_checksum_that_is_wrong_in_the_pixels_is_damage():
    content = bytearray(encoded(NOISE))
    content[60] ^= 1
    with pytest.raises(ImageError, match="does not decode|not a picture"):
        load.decode(bytes(content))
    with pytest.raises(ImageError, match="does not decode"):
        load.decode(with_chunk(encoded(NOISE), chunk(b"zTXt", PACKED))[: (3 << 10) + 4000])


def test_a_text_of_a_megabyte(shared, monkeypatch):
    image = load.decode(shared / "reports" / "long_text_chunk.png")
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 30)
    with Image.open(shared / "reports" / "long_text_chunk.png") as opened:
        assert image.tobytes() == opened.convert("RGB").tobytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 40, "subsampling": 0}])
def test_a_jpeg_without_its_end_is_decoded_and_noted(options):
    content = encoded(NOISE, "JPEG", **options)
    assert content[-2:] == b"\xff\xd9"
    whole = load.decode_with_fields(content)
    for cut in (content[:-2], content[:-1]):
        got = load.decode_with_fields(cut)
        assert got.image.tobytes() == whole.image.tobytes()
        assert got.fields == whole.fields | {"damage": "its end is missing"}
    assert "damage" not in whole.fields


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("cut", [20, 300, 1000])
def test_a_jpeg_that_lacks_pixels_is_refused(cut, options):
    with pytest.raises(ImageError, match="does not decode"):
        load.decode(encoded(NOISE, "JPEG", **options)[:-cut])


def bmp(image):
    """A BMP whose header says that its fourth byte is alpha; Pillow writes none."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rows = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    head = struct.pack("<IiiHHIIiiII", 108, *image.size, 1, 32, 3, len(rows), 0, 0, 0, 0) + masks
    head += b"BGRs" + bytes(108 - len(head) - 4)
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(rows), 0, 0, 14 + len(head)) + head + rows


@pytest.mark.parametrize("write", [bmp, lambda image: bmp(image)[14:], lambda image: encoded(image, "TGA")])
def test_a_fourth_byte_that_nobody_set_hides_no_picture(write):
    image = NOISE.copy()
    image.putalpha(0)
    assert load.decode(write(image)).tobytes() == NOISE.tobytes()
    image.putpixel((0, 0), (1, 2, 3, 255))  # here it was set: what has 0 is transparent
    assert load.decode(write(image)).getpixel((5, 5)) == (255, 255, 255)
    image.putalpha(0)
    assert load.decode(encoded(image)).getpixel((5, 5)) == (255, 255, 255)  # PNG says what it means


def test_what_is_no_png_or_jpeg_or_is_huge_is_left(monkeypatch):
    assert mend.png(io.BytesIO(b"GIF89a")) is None
    assert mend.jpeg(io.BytesIO(encoded(NOISE, "JPEG"))) is None
    assert mend.jpeg(io.BytesIO(encoded(NOISE, "JPEG") + bytes(3))) is None
    monkeypatch.setattr(mend, "LARGEST", 100)
    assert mend.png(io.BytesIO(encoded(NOISE))) is None
