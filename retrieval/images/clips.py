"""Frames of a clip, upright, spread evenly over its length. Decoded in a guarded process (guard.py), through PyAV."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from retrieval.errors import ImageError
from retrieval.images.exif import Fields
from retrieval.images.pixels import is_still

_MAX_PIXELS = 40_000_000  # of a frame
_MAX_FRAMES = 20_000  # decoded at most to reach the frames that are wanted
_FORMATS = {"mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "asf", "flv", "mpeg", "mpegts", "ogg"}

NO_PICTURES = "a clip without pictures"
HEAD = 512  # bytes of a file by which a clip is told
_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}  # that MP4 and QuickTime start with
_MAGIC = (b"\x1aE\xdf\xa3", b"FLV\x01", b"\0\0\1\xba", b"\0\0\1\xb3", b"0&\xb2u\x8ef\xcf\x11", b"OggS")
_PACKETS = ((0, 188), (4, 192))  # of MPEG-TS: where the first starts, and after how many bytes the next does


class Clip(NamedTuple):
    """Frames in the order of their time, and what the file says: video, seconds, width, height, taken."""

    frames: list[Image.Image]
    fields: Fields


def is_clip(head: bytes) -> bool:
    """Is it a clip, by the first HEAD bytes of a file?"""
    if head[4:8] in _BOXES:
        return not is_still(head)
    in_packets = any(head[at : at + 1] == head[at + size : at + size + 1] == b"G" for at, size in _PACKETS)
    return (
        head.startswith(_MAGIC)
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or (in_packets and not head.startswith(b"GIF8"))
    )


def clip_here(content: Path | bytes, count: int, at_least: int | None) -> Clip:
    """`load.clip` in this process, whatever the file may do to it."""
    import av

    av.logging.set_level(None)
    try:
        with av.open(io.BytesIO(content) if isinstance(content, bytes) else str(content)) as container:
            if not _FORMATS & set(container.format.name.split(",")):  # FFmpeg also reads playlists that name URLs
                raise ImageError(f"not a clip of a known format: {container.format.name}")
            if not container.streams.video:
                raise ImageError(NO_PICTURES)
            return _sampled(container, count, at_least)
    except ImageError:
        raise
    except Exception as error:  # PyAV's families of errors, and what decoders raise on hostile bytes
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"does not decode: {reason.splitlines()[0]}"[:200]) from error


def _sampled(container: Any, count: int, at_least: int | None) -> Clip:  # PyAV carries no types
    stream = container.streams.video[0]
    if stream.width * stream.height > _MAX_PIXELS:
        raise ImageError(f"too large: frames of {stream.width} x {stream.height} pixels")
    seconds = _seconds(container, stream)
    start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
    wanted = [start + seconds * (part + 0.5) / count for part in range(count)] if seconds else [start]
    found = [_picture(frame, at_least) for frame in _nearest(container, stream, wanted)]
    if not found:
        raise ImageError("does not decode: no frame can be read")
    turned = found[0][1] % 180 != 0
    width, height = (stream.height, stream.width) if turned else (stream.width, stream.height)
    fields: Fields = {"video": True, "seconds": round(seconds, 3), "width": width, "height": height}
    created = container.metadata.get("creation_time") or stream.metadata.get("creation_time")
    if created and created[:4] > "1970":
        fields["taken"] = created[:19]
    return Clip([image for image, _ in found], fields)


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (container.duration or 0) / 1_000_000)


def _nearest(container: Any, stream: Any, wanted: list[float]) -> Iterator[Any]:
    """The first frame at or after each time; of a damaged clip those that there are.

    Reads on where the next time is near, and jumps to the key frame before it where it is far.
    """
    decoded, last, now, given = 0, None, None, None
    reading = container.decode(stream)
    for moment in wanted:
        if moment - (now or 0.0) > 3.0:
            try:
                container.seek(int(moment / stream.time_base), stream=stream)
                reading, last = container.decode(stream), None
            except OSError:  # a file that cannot be sought in is read through
                pass
        while now is None or last is None or now < moment - 1e-6:
            frame = _next(reading)
            decoded += 1
            if frame is None or decoded > _MAX_FRAMES:
                break
            last = frame
            now = frame.time if frame.time is not None else moment
        if last is not None and last is not given:
            given = last
            yield last


def _next(reading: Iterator[Any]) -> Any:
    """The next av.VideoFrame; None at the end, and where what follows is damaged."""
    try:
        return next(reading, None)
    except (OSError, ValueError):
        return None


def _picture(frame: Any, at_least: int | None) -> tuple[Image.Image, int]:
    """The frame as a picture, and by how many degrees it was turned to stand upright."""
    factor = max(1, min(frame.width, frame.height) // at_least) if at_least else 1
    size = {"width": max(1, frame.width // factor), "height": max(1, frame.height // factor)} if factor > 1 else {}
    image = frame.to_image(**size)
    rotation = round(getattr(frame, "rotation", 0) / 90) * 90 % 360
    turn = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
    return (image.transpose(turn[rotation]) if rotation else image), rotation
