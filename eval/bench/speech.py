"""Sentences spoken by espeak-ng, for eval/bench/sound.py: its library comes with the package espeakng-loader.

It is asked through ctypes (speak_lib.h), in one process and one thread at a time, as it keeps one voice for all.
"""

import ctypes
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from retrieval.sources.picturebook import Scene
from retrieval.sources.soundbook import to_wav

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback before espeak_Synth returns
_UTF8, _RATE, _PITCH = 1, 1, 3  # espeakCHARS_UTF8, espeakRATE, espeakPITCH
VOICES = ("en", "en+f2", "en+m3", "en-us", "en-us+f4", "en-us+m7")
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Speaker:
    """The library, once it was initialized. rate: samples a second."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._parts: list[bytes] = []
        self._callback = _Callback(self._take)  # the library keeps no reference
        self.rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int | None) -> int:
        if samples and count > 0:
            self._parts.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, text: str, voice: str, speed: int, pitch: int) -> np.ndarray:
        """float32 (n,) in -1..1. speed: words a minute; pitch: 0..100."""
        self._parts.clear()
        self._library.espeak_SetVoiceByName(voice.encode())
        self._library.espeak_SetParameter(_RATE, speed, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        sentence = text.encode()
        self._library.espeak_Synth(sentence, ctypes.c_size_t(len(sentence) + 1), 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        return np.frombuffer(b"".join(self._parts), "<i2").astype(np.float32) / 32768


@cache
def speaker() -> _Speaker:
    """The one of this process."""
    return _Speaker()


def sentences(count: int, split: str, seed: int = 0) -> list[str]:
    """Full captions of picturebook scenes of one or two groups, each another. Those of "test" have pairs of thing and
    color, and so sentences, that none of "train" has, made of the same words.
    """
    found: dict[str, None] = {}
    number = 0
    while len(found) < count:
        scene = Scene.make(number, split, seed)
        number += 1
        if len(scene.groups) < 3:
            found[scene.full_caption()] = None
    return list(found)


def write(texts: Sequence[str], folder: Path, seed: int) -> Path:
    """A WAV file of each sentence, in a voice, at a speed and a pitch that are drawn; a csv of both."""
    folder.mkdir(parents=True)
    rng, lines = random.Random(f"speech/{seed}"), ["image,caption"]
    for number, text in enumerate(texts):
        samples = speaker().say(text, rng.choice(VOICES), rng.randrange(150, 200), rng.randrange(30, 70))
        (folder / f"{number}.wav").write_bytes(to_wav(samples, speaker().rate))
        lines.append(f'{number}.wav,"{text}"')
    (folder / "pairs.csv").write_text("\n".join(lines), "utf-8")
    return folder / "pairs.csv"
