"""Sounds by soundfile (libsndfile): WAV, FLAC, OGG, Opus, MP3, AIFF and their kin. Called in a guarded process."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import ImageError, first_line
from retrieval.sounds.waves import (
    STEP,
    Heard,
    is_gone_through,
    loudness,
    mono,
    require_plain,
    resampled,
    said_of,
    starts,
)

_ENDLESS = 1 << 56  # samples: what a header says that was not closed


class NotKnown(Exception):
    """Raised for a file of which libsndfile reads nothing: another library may."""


def heard(content: Path | bytes, count: int, seconds: float) -> Heard:
    """Up to `count` windows of a file. Raises NotKnown, ImageError where it is a sound and cannot be used."""
    import soundfile

    try:
        file = soundfile.SoundFile(io.BytesIO(content) if isinstance(content, bytes) else str(content))
    except (soundfile.LibsndfileError, TypeError) as error:  # the latter for what has no header, and might be anything
        raise NotKnown(first_line(error).rstrip(".")) from error
    with file:
        require_plain(file.samplerate, file.channels)
        if not 0 < file.frames < _ENDLESS:
            raise ImageError("does not decode: no sample can be read")
        return _sampled(file, count, seconds)


def _sampled(file: Any, count: int, seconds: float) -> Heard:  # soundfile carries no types
    length, loud = file.frames / file.samplerate, None
    whole = is_gone_through(length, seconds, file.samplerate, file.channels)
    if whole:
        length, loud = _gone_through(file)
    waves = [_window(file, start, seconds) for start in starts(length, count, seconds, loud)]
    waves = [wave for wave in waves if len(wave)]
    if not waves:
        raise NotKnown("no sample can be read")
    return Heard(waves, said_of(length, file.samplerate, file.channels), whole or length <= seconds)


def _gone_through(file: Any) -> tuple[float, np.ndarray]:
    """How many seconds of it can be read, which of a file cut off are fewer than it says; the loudness of each STEP."""
    told = [(len(part), loudness(part)) for part in _parts(file, file.frames)]
    return sum(count for count, _ in told) / file.samplerate, np.array([loud for _, loud in told])


def _window(file: Any, start: float, seconds: float) -> np.ndarray:
    import soundfile

    try:
        file.seek(int(start * file.samplerate))
    except (soundfile.LibsndfileError, RuntimeError, ValueError):  # it was cut off before
        return np.empty(0, np.float32)
    parts = list(_parts(file, int(seconds * file.samplerate)))
    return resampled(mono(np.concatenate(parts)), file.samplerate) if parts else np.empty(0, np.float32)


def _parts(file: Any, wanted: int) -> Iterator[np.ndarray]:
    """What comes next, (n, channels) of a STEP each; it ends where what follows is damaged."""
    import soundfile

    step = max(1, round(STEP * file.samplerate))
    while wanted > 0:
        try:
            part = file.read(min(step, wanted), dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError, ValueError):
            return
        if not len(part):
            return
        wanted -= len(part)
        yield part
