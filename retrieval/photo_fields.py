"""What a photograph says of itself: when it was taken, with what, where. Nothing in it can make a picture fail."""

import re
from datetime import datetime

from PIL import ExifTags, Image

_BASE, _GPS = ExifTags.Base, ExifTags.GPS
_TIME = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


def exif_of(image: Image.Image) -> Image.Exif | None:
    """The EXIF of an opened picture, or None where it cannot be read."""
    try:
        return image.getexif()
    except Exception:  # hostile metadata raises anything; the pixels are what counts
        return None


def orientation(exif: Image.Exif | None) -> int | None:
    """How the picture must be turned: 1 to 8 as EXIF numbers it, None where it is not said."""
    value = exif.get(_BASE.Orientation) if exif else None
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def fields_of(exif: Image.Exif | None) -> dict[str, str | float]:
    """`taken` (ISO 8601, the camera's own clock), `camera`, `latitude`, `longitude`: those that are there and sound."""
    fields: dict[str, str | float] = {}
    for read in (_taken, _camera, _place) if exif else ():
        try:
            fields.update(read(exif))
        except Exception:  # as above
            continue
    return fields


def _taken(exif: Image.Exif) -> dict:
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    for value in (inner.get(_BASE.DateTimeOriginal), inner.get(_BASE.DateTimeDigitized), exif.get(_BASE.DateTime)):
        match = _TIME.match(str(value))
        if match:
            try:
                return {"taken": datetime(*map(int, match.groups())).isoformat()}
            except ValueError:  # 0000:00:00, or a month 13
                continue
    return {}


def _camera(exif: Image.Exif) -> dict:
    make, model = (str(exif.get(tag) or "").replace("\0", "").strip() for tag in (_BASE.Make, _BASE.Model))
    if make and not model.lower().startswith(make.split()[0].lower()):
        model = f"{make} {model}".strip()
    return {"camera": model[:100]} if model else {}


def _place(exif: Image.Exif) -> dict:
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    latitude = _degrees(gps.get(_GPS.GPSLatitude), gps.get(_GPS.GPSLatitudeRef), "S", 90)
    longitude = _degrees(gps.get(_GPS.GPSLongitude), gps.get(_GPS.GPSLongitudeRef), "W", 180)
    if latitude is None or longitude is None or latitude == longitude == 0:  # 0, 0: no fix
        return {}
    return {"latitude": latitude, "longitude": longitude}


def _degrees(value: tuple | None, reference: str | bytes | None, negative: str, most: int) -> float | None:
    """Degrees, minutes, seconds as one number; None where they are none (0/0 is how cameras write "unknown")."""
    if not value:
        return None
    total = sum(float(part) / 60**place for place, part in enumerate(value[:3]))
    if not abs(total) <= most:  # false of NaN too
        return None
    sign = -1 if str(reference or "").strip("\0 ").upper().startswith(negative) else 1
    return round(sign * total, 6)
