"""Made sounds with captions, by code: data for tests and benchmarks, of any size, with no download.

    tune = Tune.make(7, "train")        # the same tune on every machine
    tune.wave()                         # float32 (n,), 16,000 a second
    tune.captions()                     # terse ... full; the last one says everything

A tune is one or two events, one after the other: an instrument, a note, chord or run, how high, how often. Some pairs
of instrument and what it plays are held out: "train" tunes never have them, every "test" tune does.
"""

import io
import random
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from retrieval.datatypes import Item
from retrieval.errors import BadRequest

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "test")
NAMES = ("flute", "bell", "organ", "buzzer", "violin", "guitar")  # of soundbook_art.INSTRUMENTS
PLAYED = ("note", "major chord", "minor chord", "rising run", "falling run")  # of soundbook_art.STEPS
PITCHES = ("very low", "low", "middle", "high", "very high")  # an octave each, with a third of it between them
TIMES = ("once", "twice", "three times")
SECONDS = 5.0  # of every tune
_PAUSE = 0.08  # of an event's share of the tune
_WIDTH = 8  # half tones within which a pitch has the same word


def is_held_out(name: str, played: str) -> bool:
    """True for one thing that each instrument plays in "test" tunes alone."""
    return PLAYED[NAMES.index(name) * 2 % len(PLAYED)] == played


@dataclass(frozen=True, slots=True)
class Event:
    """What one instrument does. pitch, times: places in PITCHES and TIMES. tone: half tones over the pitch's lowest."""

    name: str
    played: str
    pitch: int
    times: int
    tone: float

    def words(self, detail: int) -> str:
        """The phrase. detail 0: "a bell"; 1: "a high note on a bell"; 2: with how often."""
        article = "an" if self.name[0] in "aeiou" else "a"
        if detail == 0:
            return f"{article} {self.name}"
        often = f" {TIMES[self.times]}" if detail >= 2 else ""
        return f"a {PITCHES[self.pitch]} {self.played} on {article} {self.name}{often}"

    def hertz(self) -> float:
        """Of its lowest tone."""
        from retrieval.sources.soundbook_art import LOWEST

        return LOWEST * 2 ** ((self.pitch * 12 + self.tone) / 12)


@dataclass(frozen=True, slots=True)
class Tune:
    """What is to be heard, before it sounds. seed: of the words and the noise."""

    seed: int
    events: tuple[Event, ...]

    @classmethod
    def make(cls, number: int, split: str = "train", seed: int = 0) -> "Tune":
        """Tune `number` of a split. split: "train" or "test"; seed: another book."""
        rng = random.Random(f"{seed}/{split}/{number}")
        count = rng.choice((1, 1, 2)) if split == "train" else rng.choice((1, 2, 2))
        held_out = rng.randrange(count) if split == "test" else -1
        events = tuple(_event(rng, place == held_out) for place in range(count))
        return cls(rng.getrandbits(32), events)

    def wave(self) -> "np.ndarray":
        """float32 (n,) in -1..1, SECONDS long: the events one after the other, with some noise under them."""
        import numpy as np

        from retrieval.sources.soundbook_art import RATE, played

        rng = np.random.default_rng(self.seed)
        share = SECONDS / len(self.events)
        found = np.zeros(int(SECONDS * RATE), np.float64)
        for place, event in enumerate(self.events):
            length = share / (event.times + 1)
            for turn in range(event.times + 1):
                part = played(event.name, event.played, event.hertz(), length * (1 - _PAUSE) - 0.02, rng)
                start = int((place * share + turn * length) * RATE)
                found[start : start + len(part)] += part
        loud = rng.uniform(0.2, 0.8)
        return (loud * found + rng.uniform(0.0005, 0.004) * rng.standard_normal(len(found))).clip(-1, 1).astype("f4")

    def captions(self) -> list[str]:
        """Three to five captions from terse to full. The last says everything."""
        rng = random.Random(self.seed + 1)
        captions = [event.words(1) for event in self.events]
        captions.append(" and ".join(event.words(0) for event in self.events))
        if len(self.events) > 1:
            captions.append(" then ".join(event.words(rng.choice((0, 1))) for event in self.events))
        return [*captions, self.full_caption()]

    def full_caption(self) -> str:
        """Everything there is to say: what, how high, on what, how often, and in which order."""
        return " then ".join(event.words(2) for event in self.events)

    def file(self) -> bytes:
        """The tune as a WAV file of 16 bits."""
        return to_wav(self.wave())


def to_wav(samples: "np.ndarray", rate: int = 16_000) -> bytes:
    """A wave (n,) in -1..1, one channel, as a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def tunes(count: int, split: str = "train", seed: int = 0) -> Iterator[Tune]:
    """The first `count` tunes of a split."""
    return (Tune.make(number, split, seed) for number in range(count))


def rows(path: str, where: dict[str, str]) -> Iterator[tuple[Item, str]]:
    """`soundbook:COUNT?split=train&seed=0&captions=all`: (item, caption), for registry.py.

    captions=full keeps only the caption that says everything.
    """
    options = {"split": "train", "seed": "0", "captions": "all"} | where
    try:
        count, seed = int(path), int(options["seed"])
        if options["split"] not in SPLITS or options["captions"] not in ("all", "full") or len(options) > 3:
            raise ValueError
    except ValueError:
        raise BadRequest(
            f"soundbook:{path}: write `soundbook:COUNT?split=train|test&seed=0&captions=all|full`"
        ) from None
    for number, tune in enumerate(tunes(count, options["split"], seed)):
        name = f"{options['split']}-{seed}-{number:05d}.wav"
        item = Item(name, name, partial(tune.file), stamp=str(tune.seed), meta={"sound": True}, kind="sound")
        texts = tune.captions() if options["captions"] == "all" else [tune.full_caption()]
        yield from ((item, text) for text in texts)


def _event(rng: random.Random, held_out: bool) -> Event:
    pairs = [(name, played) for name in NAMES for played in PLAYED if is_held_out(name, played) == held_out]
    name, played = rng.choice(pairs)
    return Event(name, played, rng.randrange(len(PITCHES)), rng.randrange(len(TIMES)), rng.uniform(0, _WIDTH))
