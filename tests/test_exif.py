"""What photographs say of themselves: sound values only, and nothing in them makes a picture fail."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retrieval.datatypes import Item
from retrieval.images import exif, load


def exif_with(base=(), inner=(), gps=()):
    exif = Image.Exif()
    exif.update(base)
    exif.get_ifd(0x8769).update(inner)
    exif.get_ifd(0x8825).update(gps)
    return exif


def fields(**parts):
    """Through a real file and back."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4)).save(buffer, "JPEG", exif=exif_with(**parts))
    got = load.load_with_fields(Item("a", "a.jpg", buffer.getvalue)).fields
    assert (got.pop("width"), got.pop("height")) == (8, 4)
    return got


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"inner": {0x9003: "2024:06:01 12:30:05"}}, {"taken": "2024-06-01T12:30:05"}),
        ({"inner": {0x9003: "0000:00:00 00:00:00", 0x9004: "2023:01:02 03:04:05"}}, {"taken": "2023-01-02T03:04:05"}),
        ({"base": {0x0132: "2022-02-03T04:05:06"}}, {"taken": "2022-02-03T04:05:06"}),
        ({"base": {0x0132: "2022:02:03 04:05:06"}}, {"taken": "2022-02-03T04:05:06"}),
        ({"inner": {0x9003: "2024:13:01 12:30:05"}}, {}),
        ({"base": {0x010F: "NIKON CORPORATION", 0x0110: "NIKON D70"}}, {"camera": "NIKON D70"}),
        ({"base": {0x010F: "Apple", 0x0110: "iPhone 12"}}, {"camera": "Apple iPhone 12"}),
        ({"base": {0x010F: "  ", 0x0110: ""}}, {}),
        (
            {"gps": {1: "N", 2: (48.0, 30.0, 36.0), 3: "W", 4: (2.0, 15.0, 0.0)}},
            {"latitude": 48.51, "longitude": -2.25},
        ),
        ({"gps": {1: "S", 2: (91.0, 0.0, 0.0), 3: "E", 4: (2.0, 0.0, 0.0)}}, {}),
        ({"gps": {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}}, {}),
        ({"gps": {1: "N", 2: (1.0, 0.0, 0.0)}}, {}),
    ],
)
def test_fields_of_a_photo(parts, expected):
    assert fields(**parts) == expected


@given(st.binary(max_size=300))
def test_hostile_metadata_gives_no_error(junk):
    tags = exif.read(b"MM\0*\0\0\0\x08" + junk)
    assert set(exif.fields_of(tags)) <= {"taken", "camera", "latitude", "longitude"}
    assert exif.orientation(tags) in (None, *range(1, 9))


@pytest.mark.filterwarnings("ignore")
def test_every_photo_says_what_pillow_reads_in_it(shared):
    seen = 0
    for path in sorted((shared / "awkward").rglob("*.jp*g")):
        try:
            with Image.open(path) as image:
                tags, said = exif.tags_of(image), image.getexif()
                if said.get(0x0110):
                    seen += 1
                    assert str(said.get(0x0110)).strip("\0 ").startswith(str(tags[0x0110]).strip()), path
                assert exif.orientation(tags) in (said.get(0x0112), None), path
                assert (exif.orientation(tags) is None) == (said.get(0x0112) not in range(1, 9)), path
        except (OSError, SyntaxError):
            continue
    assert seen > 5


def test_real_photos_have_their_places_and_dates(shared):
    got = load.decode_with_fields(shared / "awkward" / "exif-samples" / "jpg" / "gps" / "DSCN0025.jpg").fields
    assert got == {
        "taken": "2008-10-22T16:43:21", "camera": "NIKON COOLPIX P6000", "latitude": 43.468365, "longitude": 11.881635,
        "width": 640, "height": 480,
    }  # fmt: skip
