"""The log-mel spectrogram of a wave, in NumPy, as a gray picture: low tones below, time to the right.

    power       |FFT|^2 of windows of 32 ms, a new one every 10 ms, each weighed by Hann's window
    mel         128 triangles, evenly spread by the mel scale from 20 Hz to 8 kHz
    decibels    10 log10, from the loudest place of the sound down to 80 dB below it, as 255..0

A triangle's sides meet the centers of its neighbors, and its height is 1. Hertz to mel is 2595 log10(1 + f / 700)
(O'Shaughnessy 1987; the HTK book, section 5.4, and with it torchaudio's and librosa's `htk`). Shape and steps are those
of AST (Gong 2021: 128 bands, 10 ms), the window that of PANNs (Kong 2020: 32 ms). A window is filled up with zeros to
64 ms before it is transformed, so that the lowest triangles hold more than one frequency.
"""

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image

from retrieval.errors import ImageError
from retrieval.sounds.waves import RATE

BANDS, LOWEST = 128, 20.0  # Hz
WINDOW, HOP, FFT = 512, 160, 1024  # numbers
DEPTH = 80.0  # dB that are shown
SILENCE = 1e-9  # the power of a place, of 1 for a full tone, below which nothing is heard: 90 dB


def to_mel(hertz: np.ndarray | float) -> np.ndarray:
    """Hertz to mel."""
    return 2595.0 * np.log10(1.0 + np.asarray(hertz, np.float64) / 700.0)


def from_mel(mel: np.ndarray | float) -> np.ndarray:
    """Mel to hertz."""
    return 700.0 * (10.0 ** (np.asarray(mel, np.float64) / 2595.0) - 1.0)


@functools.cache
def filters(bands: int = BANDS, rate: int = RATE, fft: int = FFT, lowest: float = LOWEST) -> np.ndarray:
    """The triangles, float64 (bands, fft / 2 + 1): what each frequency counts in each band."""
    edges = from_mel(np.linspace(to_mel(lowest), to_mel(rate / 2), bands + 2))
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    frequency = np.arange(fft // 2 + 1) * (rate / fft)
    return np.maximum(0.0, np.minimum((frequency - low) / (middle - low), (high - frequency) / (high - middle)))


@functools.cache
def _hann() -> np.ndarray:
    """Hann's window, periodic, scaled so that a full tone at a frequency of the transform has a power of 1."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return window * (2.0 / window.sum())


def power(wave: np.ndarray, seconds: float) -> np.ndarray:
    """wave (n,), filled up with silence to `seconds`, to the power of each place, float32 (bands, hops).

    There are `seconds` * 100 hops, the middle of the first at the wave's start.
    """
    hops = round(seconds * RATE / HOP)
    padded = np.zeros(hops * HOP + WINDOW, np.float64)
    padded[WINDOW // 2 : WINDOW // 2 + len(wave)] = wave[: hops * HOP + WINDOW // 2]
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:hops]
    spectrum = np.fft.rfft(frames * _hann(), FFT, axis=1)
    return (filters() @ (spectrum.real**2 + spectrum.imag**2).T).astype(np.float32)


def pictures(waves: Sequence[np.ndarray], seconds: float, rest: str = "") -> list[Image.Image]:
    """The windows of one sound as gray pictures ("L") of 128 rows and `seconds` * 100 columns, all of one loudness.

    Raises ImageError where nothing is to be heard. rest: what it says of what lies between them.
    """
    powers = [power(wave, seconds) for wave in waves]
    loudest = max(float(one.max(initial=0.0)) for one in powers)
    if not loudest > SILENCE:
        raise ImageError(f"silent: nothing is heard in {_so_many(len(powers))} of {seconds:g} s{rest}")
    return [Image.fromarray(_gray(one, loudest)) for one in powers]


def _gray(values: np.ndarray, loudest: float) -> np.ndarray:
    decibels = 10.0 * np.log10(np.maximum(values / loudest, 10.0 ** (-DEPTH / 10)))
    return (255.0 * (1.0 + decibels / DEPTH)).round().clip(0, 255).astype(np.uint8)[::-1]


def _so_many(windows: int) -> str:
    return "a window" if windows == 1 else f"{windows} windows"
