"""EXIF: when a photograph was taken, with what camera, where. Nothing that stands there can make a picture fail.

The few tags that are wanted are read here, as Pillow reads all of them, in Python, in the time of a small decode.
"""

import re
import struct
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

_BASE, _IFD = ExifTags.Base, ExifTags.IFD
_GPS = 0x10000  # added to the tags of the GPS directory, whose numbers are others' elsewhere
_WANTED = frozenset((_BASE.Make, _BASE.Model, _BASE.Orientation, _BASE.DateTime, _IFD.Exif, _IFD.GPSInfo,
                     _BASE.DateTimeOriginal, _BASE.DateTimeDigitized))  # fmt: skip
_PLACE = frozenset(range(1, 5))
_FORMS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 7: "s", 9: "i", 10: "ii"}  # EXIF's types that are wanted
_TIME = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")

Tags = dict[int, object]
# taken, camera, latitude, longitude, width, height; of a clip video, seconds; of a sound sound, seconds, rate, channels
Fields = dict[str, Any]


def tags_of(image: Image.Image) -> Tags:
    """The wanted tags of an opened picture; empty where there are none or they cannot be read."""
    data, info = image.info.get("exif"), image.info
    tags = read(data.removeprefix(b"Exif\0\0")) if isinstance(data, bytes) else {}
    said_elsewhere = b"Orientation" in _bytes(info.get("xmp")) or "Raw profile type exif" in info
    if image.format == "TIFF" or (said_elsewhere and orientation(tags) is None):
        return {**_by_pillow(image), **tags}
    return tags


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value or "").encode("utf-8", "replace")


def _by_pillow(image: Image.Image) -> Tags:
    try:
        exif = image.getexif()
        inner, place = exif.get_ifd(_IFD.Exif), exif.get_ifd(_IFD.GPSInfo)
    except Exception:  # hostile metadata raises anything; the pixels are what counts
        return {}
    return {**exif, **inner, **{_GPS + tag: value for tag, value in place.items() if tag in _PLACE}}


def read(data: bytes) -> Tags:
    """The wanted tags of a TIFF structure, which EXIF is; as many as can be read."""
    order = "<" if data[:2] == b"II" else ">"
    tags: Tags = {}
    try:
        tags.update(_directory(data, struct.unpack_from(order + "I", data, 4)[0], order, _WANTED))
        inner = tags.get(_IFD.Exif)
        if isinstance(inner, int):
            tags.update(_directory(data, inner, order, _WANTED - {_IFD.Exif, _IFD.GPSInfo}))
        at = tags.get(_IFD.GPSInfo)
        if isinstance(at, int):
            place = _directory(data, at, order, _PLACE)
            tags.update({_GPS + tag: value for tag, value in place.items()})
    except struct.error:  # it points out of itself: what was read till then is taken
        pass
    return tags


def _directory(data: bytes, at: int, order: str, wanted: frozenset[int]) -> Tags:
    (count,) = struct.unpack_from(order + "H", data, at)
    found: Tags = {}
    for entry in range(at + 2, min(at + 2 + 12 * count, len(data) - 11), 12):
        tag, form, length = struct.unpack_from(order + "HHI", data, entry)
        if tag in wanted and form in _FORMS and length <= 200:
            value = _value(data, entry, order, _FORMS[form], length)
            if value is not None:
                found[tag] = value
    return found


def _value(data: bytes, entry: int, order: str, form: str, length: int) -> object:
    layout = f"{order}{length}s" if form == "s" else order + form * length
    at = entry + 8
    if struct.calcsize(layout) > 4:
        (at,) = struct.unpack_from(order + "I", data, at)
    if at + struct.calcsize(layout) > len(data):
        return None
    values = struct.unpack_from(layout, data, at)
    if form == "s":
        return values[0].split(b"\0")[0].decode("utf-8", "replace")
    if len(form) == 2:
        pairs = zip(values[::2], values[1::2], strict=True)
        return tuple(top / bottom if bottom else float("nan") for top, bottom in pairs)
    return values[0] if len(values) == 1 else values


# ---------------------------------------------------------------- what they mean


def orientation(tags: Tags) -> int | None:
    """How the picture must be turned: 1 to 8 as EXIF numbers it, None where it is not said."""
    value = tags.get(_BASE.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def fields_of(tags: Tags) -> Fields:
    """`taken` (ISO 8601, the camera's own clock), `camera`, `latitude`, `longitude`: those that are there and sound."""
    return {**_taken(tags), **_camera(tags), **_place(tags)} if tags else {}


def _taken(tags: Tags) -> Fields:
    for tag in (_BASE.DateTimeOriginal, _BASE.DateTimeDigitized, _BASE.DateTime):
        match = _TIME.match(str(tags.get(tag)))
        if match:
            try:
                year, month, day, hour, minute, second = map(int, match.groups())
                return {"taken": datetime(year, month, day, hour, minute, second).isoformat()}
            except ValueError:  # 0000:00:00, or a month 13
                continue
    return {}


def _camera(tags: Tags) -> Fields:
    make, model = (str(tags.get(tag) or "").split("\0")[0].strip() for tag in (_BASE.Make, _BASE.Model))
    if make and not model.lower().startswith(make.split()[0].lower()):
        model = f"{make} {model}".strip()
    return {"camera": model[:100]} if model else {}


def _place(tags: Tags) -> Fields:
    latitude = _degrees(tags.get(_GPS + 2), tags.get(_GPS + 1), "S", 90)
    longitude = _degrees(tags.get(_GPS + 4), tags.get(_GPS + 3), "W", 180)
    if latitude is None or longitude is None or latitude == longitude == 0:  # 0, 0: no fix
        return {}
    return {"latitude": latitude, "longitude": longitude}


def _degrees(value: object, reference: object, negative: str, most: int) -> float | None:
    """Degrees, minutes, seconds as one number; None where they are none (0/0 is how cameras write "unknown")."""
    if not isinstance(value, tuple):
        return None
    try:
        total = sum(float(part) / 60**place for place, part in enumerate(value[:3]))
    except (TypeError, ValueError, ArithmeticError):
        return None
    if not abs(total) <= most:  # false of NaN too
        return None
    sign = -1 if str(reference or "").strip("\0 ").upper().startswith(negative) else 1
    return round(sign * total, 6)
