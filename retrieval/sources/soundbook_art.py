"""How the things of a soundbook sound: instruments, chords and runs of tones, as waves in NumPy."""

import numpy as np

RATE = 16_000  # numbers a second
LOWEST = 55.0  # Hz: the A of a double bass
STEPS = {
    "note": ((0,),),
    "major chord": ((0, 4, 7),),
    "minor chord": ((0, 3, 7),),
    "rising run": ((0,), (4,), (7,), (12,)),
    "falling run": ((12,), (7,), (4,), (0,)),
}  # half tones over the lowest, of the tones that sound together, one after the other
_LATE = 0.008  # seconds, of an attack that does not click


def _partials(seconds: float, hertz: float, shares: dict[float, float], decay: float) -> np.ndarray:
    """A sum of tones at multiples of a pitch, each with its share; those above hearing are left out."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = np.zeros(len(time))
    for multiple, share in shares.items():
        if hertz * multiple < RATE / 2:
            wave += share * np.exp(-decay * multiple**0.5 * time) * np.sin(2 * np.pi * hertz * multiple * time)
    return wave


def flute(seconds: float, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """Nearly one tone alone, with some breath."""
    breath = 0.02 * rng.standard_normal(int(seconds * RATE))
    return _partials(seconds, hertz, {1: 1.0, 2: 0.12, 3: 0.04}, 0.2) + breath


def bell(seconds: float, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """Tones that are no multiples of each other, and die away (the minor-third bell of Fletcher and Rossing)."""
    return _partials(seconds, hertz, {0.5: 0.3, 1: 1.0, 1.19: 0.6, 1.5: 0.5, 2: 0.6, 2.74: 0.4, 4.1: 0.25}, 3.5)


def organ(seconds: float, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """Octaves over each other."""
    return _partials(seconds, hertz, {1: 1.0, 2: 0.7, 4: 0.5, 8: 0.35, 3: 0.25}, 0.0)


def buzzer(seconds: float, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """A square wave: all odd multiples."""
    return _partials(seconds, hertz, {n: 1.0 / n for n in range(1, 60, 2)}, 0.0)


def violin(seconds: float, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """A saw whose pitch trembles six times a second."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * (hertz * time + hertz * 0.006 / (2 * np.pi * 6) * np.sin(2 * np.pi * 6 * time))
    return sum((np.sin(n * phase) / n for n in range(1, 40) if hertz * n < RATE / 2), start=np.zeros(len(time)))


def guitar(seconds: float, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """A plucked string: all multiples, of which the higher die sooner."""
    return _partials(seconds, hertz, {n: 1.0 / n for n in range(1, 25)}, 3.0)


INSTRUMENTS = {"flute": flute, "bell": bell, "organ": organ, "buzzer": buzzer, "violin": violin, "guitar": guitar}


def played(name: str, step: str, hertz: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """An instrument playing one of STEPS from a pitch on, float64 (n,) in about -1..1."""
    groups = STEPS[step]
    parts = []
    for tones in groups:
        each = [INSTRUMENTS[name](seconds / len(groups), hertz * 2 ** (tone / 12), rng) for tone in tones]
        parts.append(_shaped(np.sum(each, 0)))
    wave = np.concatenate(parts)
    return wave / max(1e-9, np.abs(wave).max())


def _shaped(wave: np.ndarray) -> np.ndarray:
    edge = min(len(wave) // 2, int(_LATE * RATE))
    ramp = np.linspace(0, 1, edge)
    wave[:edge] *= ramp
    wave[len(wave) - edge :] *= ramp[::-1]
    return wave
