"""Sounds found by their captions, and captions by sounds: recall@10 of 200 that were held out, both ways.

    python -m eval.bench.sound                       # tones and chords, three seeds of each tower; minutes on a CPU
    python -m eval.bench.sound --speech              # sentences spoken by espeak-ng (pip install espeakng-loader)
    python -m eval.bench.sound --towers mel --seeds 1

The encoders are trained from nothing by `mmr train`'s loop (recipe `sound`) and judged as they are at the end: nothing
is chosen on the held-out part. Tones: `soundbook:`, whose held-out tunes each have an instrument playing what it never
played in training. Speech: captions of the picturebook's held-out scenes, of words that training has, in six voices.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from eval import evaluate
from eval.bench import note, say
from retrieval import TrainConfig, open_pairs
from retrieval.datatypes import Pair
from retrieval.encoders.encoder import DualEncoder
from retrieval.training.loop import train
from retrieval.training.recipes import sound

TUNES, SPOKEN, HELD_OUT = 1500, 4000, 200
TOWERS = ("mel", "ast")
PASSES = {"tones": {"mel": 4.0, "ast": 16.0}, "speech": {"mel": 5.0, "ast": 20.0}}
WAYS = {"text_to_image": "t2s", "image_to_text": "s2t"}


def tones(folder: Path, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn from and pairs to find, of drawn tunes."""
    asked = f"soundbook:{HELD_OUT}?split=test&captions=full&seed={seed}"
    return open_pairs(f"soundbook:{TUNES}?seed={seed}"), open_pairs(asked)


def speech(folder: Path, seed: int) -> tuple[list[Pair], list[Pair]]:
    """The same of spoken sentences."""
    from eval.bench.speech import sentences, write

    parts = (("train", SPOKEN), ("test", HELD_OUT))
    return tuple(  # type: ignore[return-value]
        open_pairs(str(write(sentences(count, split, seed), folder / split, 2 * seed + (split == "test"))))
        for split, count in parts
    )


def settings(what: str, tower: str, seed: int) -> TrainConfig:
    """The recipe, with passes that fit what is made."""
    config = dataclasses.replace(
        sound(TUNES), image_tower=tower, epochs=PASSES[what][tower], seed=seed, evaluations=0, checkpoints=0
    )
    return config if what == "tones" else dataclasses.replace(config, seconds=6.0, word_dropout=0.0)


def learned(what: str, tower: str, seed: int, folder: Path) -> tuple[DualEncoder, list[Pair], float]:
    """An encoder, the pairs that are held out, and the seconds of processor time that training took."""
    make: dict[str, Callable[[Path, int], tuple[list[Pair], list[Pair]]]] = {"tones": tones, "speech": speech}
    pairs, held_out = make[what](folder, seed)
    started = time.process_time()
    result = train(pairs, out=folder / "run", config=settings(what, tower, seed))
    return result.encoder, held_out, time.process_time() - started


def measure(what: str, tower: str, seed: int) -> None:
    """Print what one encoder finds."""
    with tempfile.TemporaryDirectory() as place:
        encoder, held_out, seconds = learned(what, tower, seed, Path(place))
        report = evaluate(encoder, held_out)
    found = {short: getattr(report, way) for way, short in WAYS.items()}
    line = {"name": f"sound-{what}-{tower}", "seed": seed, "sounds": HELD_OUT, "train_cpu_s": round(seconds)}
    for short, one in found.items():
        line |= {f"recall@{k}_{short}": round(100 * one[f"hit@{k}"], 1) for k in (1, 10)}
    say(json.dumps(line))


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", action="store_true")
    parser.add_argument("--towers", nargs="+", default=TOWERS, choices=TOWERS)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    what = "speech" if asked.speech else "tones"
    for tower in asked.towers:
        for seed in range(asked.seeds):
            note(f"{what}, {tower}, seed {seed}")
            measure(what, tower, seed)


if __name__ == "__main__":
    main()
