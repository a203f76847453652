"""Waves: what is listened to of a sound, whichever library reads it. One channel, 16,000 numbers a second.

However long a file is, a bounded number of windows is heard, one of each of as many equal parts of it. Of what is no
longer than WHOLE the loudness is told first, all along, and a window lies where its part is loud: a bark in a quiet
minute is heard. Of what is longer it lies in the middle.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from retrieval.errors import ImageError

RATE = 16_000  # numbers a second: speech and most of what is told by ear lies below 8 kHz
LONGEST = 30.0  # seconds of a window
MOST_WINDOWS = 64
WHOLE = 300.0  # seconds of what is gone through first: a second or two of work
MOST_SAMPLES = 30_000_000  # of it, over all its channels: stereo at 48 kHz
STEP = 0.1  # seconds to which a loudness belongs
NEARLY = 0.9  # of the loudest window's power: among such ones the middle counts more
FAR = 0.01  # of a channel's power: a mean that is weaker has lost what was in it
RATES = (1_000, 768_000)  # that a file may have
MOST_CHANNELS = 64


class Heard(NamedTuple):
    """Windows in the order of their time, float32 (n,) each in about -1..1, and what the file says of itself.

    whole: is nothing in it that they can have missed?
    """

    waves: list[np.ndarray]
    fields: dict[str, Any]
    whole: bool = True


def check_asked(count: int, seconds: float) -> None:
    """Raise ValueError where more is asked for than a process may hold."""
    if not (1 <= count <= MOST_WINDOWS and 0 < seconds <= LONGEST):
        raise ValueError(f"{count} windows of {seconds} s: at most {MOST_WINDOWS} of {LONGEST:g} s")


def is_gone_through(length: float, seconds: float, rate: int, channels: int) -> bool:
    """Is a sound longer than a window, and short enough to be listened to all along?"""
    return seconds < length <= WHOLE and length * rate * channels <= MOST_SAMPLES


def loudness(samples: np.ndarray) -> float:
    """The power of the loudest of the channels (n, channels) about its mean. What is no number is silence."""
    channels = np.ascontiguousarray(_numbers(samples).T, np.float64)  # eight times as fast as across
    return float(channels.var(1).max()) if len(samples) else 0.0


def starts(length: float, count: int, seconds: float, loud: np.ndarray | None = None) -> list[float]:
    """When the windows of a sound begin, in seconds: at most `count`, and no more than it has room for.

    length: of the sound in seconds. A sound that is shorter than a window has one, which begins with it. loud: the
    loudness of each STEP of it; a window then lies where its part is loud, and in the middle of it where that is so
    everywhere, or not known.
    """
    parts = max(1, min(count, math.ceil(length / seconds - 1e-6)))
    last = max(0.0, length - seconds)
    middles = [min(max(0.0, length * (part + 0.5) / parts - seconds / 2), last) for part in range(parts)]
    if loud is None:
        return middles
    room = max(0.0, length / parts - seconds) / 2
    return [_loudest(middle, room, seconds, loud) for middle in middles]


def _loudest(middle: float, room: float, seconds: float, loud: np.ndarray) -> float:
    """The start nearest to the middle, `room` to either side, of a window that is nearly as loud as any there."""
    most = int(room / STEP)
    tried = middle + STEP * np.array(sorted(range(-most, most + 1), key=abs))
    before = np.concatenate([[0.0], np.cumsum(loud)])
    first = np.clip((tried / STEP).round().astype(int), 0, len(loud))
    power = before[np.minimum(first + round(seconds / STEP), len(loud))] - before[first]
    return float(tried[np.argmax(power >= NEARLY * power.max())])


def require_plain(rate: int, channels: int) -> None:
    """Raise ImageError for a rate or a number of channels that no recording has."""
    if not RATES[0] <= rate <= RATES[1]:
        raise ImageError(f"does not decode: {rate} samples a second are no sound")
    if not 1 <= channels <= MOST_CHANNELS:
        raise ImageError(f"does not decode: {channels} channels")


def resampled(wave: np.ndarray, rate: int, to: int = RATE) -> np.ndarray:
    """A window (n,) at another rate, float32: its spectrum is cut, or goes on with zeros.

    Whittaker and Shannon's interpolation of a periodic signal, exact for what lies below half of both rates; a window
    is short enough to be transformed whole. What is mirrored behind its end spares a click where that meets its start.
    """
    if rate == to or not len(wave):
        return wave.astype(np.float32)
    unit = rate // math.gcd(rate, to)  # samples that are a whole number of those of the other rate
    edge = min(len(wave), unit * max(1, round(rate / 20 / unit)))
    rest = np.zeros(-(len(wave) + 2 * edge) % unit)
    around = np.concatenate([wave[:edge][::-1], wave, wave[-edge:][::-1], rest]).astype(np.float64)
    size = max(1, round(len(around) * to / rate))
    spectrum = np.fft.rfft(around)
    kept = np.zeros(size // 2 + 1, complex)
    common = min(len(kept), len(spectrum))
    kept[:common] = spectrum[:common]
    found = np.fft.irfft(kept, size) * (size / len(around))
    first = round(edge * to / rate)
    return found[first : first + max(1, round(len(wave) * to / rate))].astype(np.float32)


def mono(samples: np.ndarray) -> np.ndarray:
    """(n, channels) to (n,): their mean; the loudest of them where they cancel each other, as in opposite phase.

    What is no number is silence.
    """
    samples = _numbers(samples)
    mean = samples.mean(1, dtype=np.float32)
    if samples.shape[1] == 1 or not len(samples):
        return mean
    power = np.square(samples, dtype=np.float64).mean(0)
    cancels = np.square(mean, dtype=np.float64).mean() < FAR * power.max()
    return samples[:, power.argmax()].astype(np.float32) if cancels else mean


def _numbers(samples: np.ndarray) -> np.ndarray:
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)


def said_of(seconds: float, rate: int, channels: int) -> dict[str, Any]:
    """The fields of a file: sound, seconds, rate, channels."""
    return {"sound": True, "seconds": round(seconds, 3), "rate": int(rate), "channels": int(channels)}


def require_some(heard: Sequence[np.ndarray]) -> None:
    """Raise ImageError where there is nothing to hear."""
    if not any(len(wave) for wave in heard):
        raise ImageError("does not decode: no sample can be read")
