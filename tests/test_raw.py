"""Raw files made by hand: a TIFF with an orientation, noise, and JPEGs of several sizes within."""

import io
import struct

import pytest
from PIL import Image

from retrieval.errors import ImageError
from retrieval.images import load


def jpeg(colour, size, **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def raw_file(*parts, orientation=1, order="<", magic=None):
    """A TIFF header with orientation and model, then the parts."""
    model = b"Test Camera\0"
    entries = [(0x0110, 2, len(model), 8 + 2 + 24 + 4), (0x0112, 3, 1, orientation)]
    head = magic or (b"II*\0" if order == "<" else b"MM\0*")
    body = struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3
        body += struct.pack(order + ("HHIHxx" if short else "HHII"), tag, kind, count, value)
    return head + body + struct.pack(order + "I", 0) + model + b"".join(parts)


LOSSLESS = b"\xff\xd8\xff\xc3\x00\x0b\x08\x40\x00\x40\x00\x01\x01\x11\x00\xff\xda"  # the sensor: 16384 x 16384
NOISE = b"\xff\xd8\xff\x00" * 50 + bytes(range(256))


@pytest.mark.parametrize("name", ["a.dng", "A.CR2", "a.nef", "a.arw"])
def test_the_largest_preview_is_shown(tmp_path, name):
    content = raw_file(jpeg("blue", (200, 100)), NOISE, jpeg("red", (640, 480)), LOSSLESS, jpeg("lime", (300, 200)))
    (tmp_path / name).write_bytes(content)
    got = load.decode_with_fields(tmp_path / name)
    assert got.image.size == (640, 480)
    assert got.image.getpixel((5, 5)) == pytest.approx((254, 0, 0), abs=2)
    assert got.fields == {"camera": "Test Camera", "width": 640, "height": 480}
    assert load.decode(content, name=name).size == (640, 480)


@pytest.mark.parametrize(("order", "magic"), [("<", None), (">", None), ("<", b"IIU\0"), ("<", b"IIRO")])
def test_the_orientation_of_the_file_is_taken_where_the_preview_has_none(tmp_path, order, magic):
    path = tmp_path / "a.orf"
    path.write_bytes(raw_file(jpeg("red", (640, 480)), orientation=6, order=order, magic=magic))
    got = load.decode_with_fields(path)
    assert got.image.size == (got.fields["width"], got.fields["height"]) == (480, 640)


def test_the_preview_s_own_orientation_wins(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 1
    path = tmp_path / "a.raf"
    path.write_bytes(raw_file(jpeg("red", (640, 480), exif=exif), orientation=6))
    assert load.decode(path).size == (640, 480)


def test_cr3_keeps_its_orientation_in_a_box(tmp_path):
    head = b"\0\0\0\x18ftypcrx " + bytes(20) + b"CMT1" + raw_file(orientation=8)
    (tmp_path / "a.cr3").write_bytes(head + jpeg("red", (640, 480)))
    assert load.decode(tmp_path / "a.cr3").size == (480, 640)


def test_a_preview_is_decoded_small(tmp_path):
    (tmp_path / "a.nef").write_bytes(raw_file(jpeg("red", (1600, 1200))))
    assert load.decode(tmp_path / "a.nef", at_least=300).size == (400, 300)


@pytest.mark.parametrize("content", [b"", b"II*\0", raw_file(), raw_file(NOISE), raw_file(jpeg("red", (80, 60)))])
def test_a_raw_file_without_a_preview_has_a_reason(tmp_path, content):
    (tmp_path / "a.dng").write_bytes(content)
    with pytest.raises(ImageError, match="a raw file without a preview: save it as JPEG"):
        load.decode(tmp_path / "a.dng")
