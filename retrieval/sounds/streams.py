"""Sounds by PyAV (FFmpeg): M4A, AAC, WMA and the sound of clips. Called in a guarded process."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import ImageError
from retrieval.sounds.waves import (
    RATE,
    STEP,
    Heard,
    is_gone_through,
    loudness,
    mono,
    require_plain,
    require_some,
    said_of,
    starts,
)

_FORMATS = {
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "asf", "flv", "mpeg", "mpegts", "ogg", "mp3",
    "aac", "wav", "flac", "aiff", "caf", "w64", "au", "amr", "ac3", "eac3", "wv", "ape", "tta", "dsf", "opus",
}  # fmt: skip
_MOST_PACKETS = 20_000  # decoded at most for a window, or where all is gone through
_MOST_BYTES = 300_000_000  # of a file that is gone through: pictures of a clip are read with its sound
_SLACK = 0.05  # seconds by which a stream's times may be off


def heard(content: Path | bytes, count: int, seconds: float) -> Heard:
    """Up to `count` windows of a sound, or of a clip's. Raises ImageError with the reason."""
    import av

    av.logging.set_level(None)
    try:
        with av.open(io.BytesIO(content) if isinstance(content, bytes) else str(content)) as container:
            if not _FORMATS & set(container.format.name.split(",")):  # FFmpeg also reads playlists that name URLs
                raise ImageError(f"not a sound of a known format: {container.format.name}")
            if not container.streams.audio:
                raise ImageError("a clip without sound" if container.streams.video else "a file without sound")
            return _sampled(container, count, seconds)
    except ImageError:
        raise
    except Exception as error:  # PyAV's families of errors, and what decoders raise on hostile bytes
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"does not decode: {reason.splitlines()[0]}"[:200]) from error


def _sampled(container: Any, count: int, seconds: float) -> Heard:  # PyAV carries no types
    stream = container.streams.audio[0]
    require_plain(stream.rate or 0, stream.channels or 0)
    length = _length(container, stream)
    begin = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
    whole = container.size <= _MOST_BYTES and is_gone_through(length, seconds, stream.rate, stream.channels)
    loud = _gone_through(container, stream, begin, length) if whole else None
    known = length or count * seconds  # what does not say how long it is, is listened to from its start
    waves = []
    for number, start in enumerate(starts(known, count, seconds, loud)):
        if number or start or whole:
            container.seek(int((begin + start) / stream.time_base), stream=stream)
        waves.append(_window(container, stream, begin + start, seconds))
        if not length and len(waves[-1]) < seconds * RATE:
            break
    require_some(waves)
    waves = [wave for wave in waves if len(wave)]
    fields = said_of(length or sum(map(len, waves)) / RATE, stream.rate, stream.channels)
    return Heard(waves, fields, whole or 0 < length <= seconds)


def _length(container: Any, stream: Any) -> float:
    if stream.duration:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (container.duration or 0) / 1_000_000)


def _gone_through(container: Any, stream: Any, begin: float, length: float) -> np.ndarray:
    """The loudness of each STEP, (n,); silence where nothing can be read."""
    found = np.zeros(math.ceil(length / STEP))
    for frame in _frames(container, stream):
        at = int(max(0.0, (frame.time or 0.0) - begin) / STEP)
        if at < len(found):  # packed samples of several channels are as good here: they are compared with each other
            found[at] = max(found[at], loudness(frame.to_ndarray().T))
    return found


def _window(container: Any, stream: Any, start: float, seconds: float) -> np.ndarray:
    """What is heard from `start` on, (n,); less where the stream ends."""
    import av

    resampler = av.AudioResampler(format="fltp", rate=RATE)
    wanted, found, have = int(seconds * RATE), list[Any](), 0
    for frame in _frames(container, stream):
        at = float(frame.time) if frame.time is not None else start
        if at + frame.samples / max(1, frame.sample_rate) < start - _SLACK:  # before what was sought
            continue
        parts: list[Any] = [part.to_ndarray().T for part in resampler.resample(frame)]
        if not found and start - at > _SLACK and parts:
            parts = [np.concatenate(parts)[int((start - at) * RATE) :]]
        found += parts
        have += sum(map(len, parts))
        if have >= wanted:
            break
    return mono(np.concatenate(found)[:wanted]) if found else np.empty(0, np.float32)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames; they end where what follows is damaged, and after so many that a header lies."""
    reading = container.decode(stream)
    for _ in range(_MOST_PACKETS):
        try:
            frame = next(reading, None)
        except (OSError, ValueError):
            return
        if frame is None:
            return
        yield frame
