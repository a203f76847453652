"""Sounds by soundfile (libsndfile): WAV, FLAC, OGG, Opus, MP3, AIFF and their kin. Called in a guarded process."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import ImageError, first_line
from retrieval.sounds.waves import Heard, mono, require_plain, require_some, resampled, said_of, starts

_ENDLESS = 1 << 56  # samples: what a header says that was not closed


class NotKnown(Exception):
    """Raised for a file that libsndfile does not read: another library may."""


def heard(content: Path | bytes, count: int, seconds: float) -> Heard:
    """Up to `count` windows of a file. Raises NotKnown, ImageError where it is a sound and cannot be used."""
    import soundfile

    try:
        file = soundfile.SoundFile(io.BytesIO(content) if isinstance(content, bytes) else str(content))
    except (soundfile.LibsndfileError, TypeError) as error:  # the latter for what has no header, and might be anything
        raise NotKnown(first_line(error)) from error
    with file:
        require_plain(file.samplerate, file.channels)
        if not 0 < file.frames < _ENDLESS:
            raise ImageError("does not decode: no sample can be read")
        length = file.frames / file.samplerate
        waves = [_window(file, start, seconds) for start in starts(length, count, seconds)]
        require_some(waves)
        return Heard(waves, said_of(length, file.samplerate, file.channels))


def _window(file: Any, start: float, seconds: float) -> np.ndarray:  # soundfile carries no types
    import soundfile

    try:
        file.seek(int(start * file.samplerate))
        samples = file.read(int(seconds * file.samplerate), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise ImageError(f"does not decode: {first_line(error)}") from error
    return resampled(mono(samples), file.samplerate)
