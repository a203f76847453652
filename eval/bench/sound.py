"""Sounds found by their captions, and captions by sounds: recall@10 of 200 that were held out, both ways.

    python -m eval.bench.sound                       # tones and chords, three seeds of each tower; minutes on a CPU
    python -m eval.bench.sound --speech              # sentences spoken by espeak-ng (pip install espeakng-loader)
    python -m eval.bench.sound --towers mel --seeds 1
    python -m eval.bench.sound --ears --towers mel   # the tunes in the space of `builtin`, by the map of `mmr ears`
    python -m eval.bench.sound --ears --hear RUN     # the same with the ears of a run of `mmr train soundbook:1500`

The encoders are trained from nothing by `mmr train`'s loop (recipe `sound`) and judged as they are at the end: nothing
is chosen on the held-out part. Tones: `soundbook:`, whose held-out tunes each have an instrument playing what it never
played in training. Speech: captions of the picturebook's held-out scenes, of words that training has, in six voices.

--ears: `builtin` has learned neither from sounds nor from captions of tunes, and its words and pictures stay as they
are. The map is fitted to MAPPED tunes, which the run that hears was trained on (with --hear those of seed 0 alone; each
seed is another book of tunes for the same run). Beside it: `words_recall@10`, that of a map that puts each held-out
sound exactly where the mean of its captions is, which is what the space of `builtin` allows; `own_recall@10`, that of
the run in its own space; both are of sounds by words, as recall@10_t2s is.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eval import evaluate
from eval.bench import note, say
from retrieval import TrainConfig, load_encoder, open_pairs
from retrieval.datatypes import Pair
from retrieval.encoders.encoder import DualEncoder
from retrieval.training.hearing import with_ears
from retrieval.training.loop import train
from retrieval.training.recipes import sound

TUNES, SPOKEN, HELD_OUT = 1500, 4000, 200
MAPPED = 500  # tunes that the map of --ears is fitted to
TOWERS = ("mel", "ast")
PASSES = {"tones": {"mel": 4.0, "ast": 16.0}, "speech": {"mel": 5.0, "ast": 20.0}}
WAYS = {"text_to_image": "t2s", "image_to_text": "s2t"}
EYES = "builtin"  # whose space sounds are brought into


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
        found = recalls(encoder, held_out)
    line = {"name": f"sound-{what}-{tower}", "seed": seed, "sounds": HELD_OUT, "train_cpu_s": round(seconds)}
    say(json.dumps(line | found))


def recalls(encoder: DualEncoder, held_out: list[Pair]) -> dict[str, float]:
    """Recall@1 and recall@10 in percent, both ways, of pairs that are held out."""
    report = evaluate(encoder, held_out)
    found = {short: getattr(report, way) for way, short in WAYS.items()}
    return {f"recall@{k}_{short}": round(100 * one[f"hit@{k}"], 1) for short, one in found.items() for k in (1, 10)}


def measure_ears(tower: str, seed: int) -> None:
    """Print what `builtin` finds of tunes, once it has the ears of a run that was trained for it."""
    with tempfile.TemporaryDirectory() as place:
        hears, _, seconds = learned("tones", tower, seed, Path(place))
        say(json.dumps({"name": f"sound-ears-{tower}", "train_cpu_s": round(seconds)} | bridged(hears, seed)))


def bridged(hears: DualEncoder, seed: int = 0) -> dict[str, str | float]:
    """What `builtin` finds of tunes with the ears of an encoder that hears. seed: of the tunes."""
    _, held_out = tones(Path(), seed)
    own = recalls(hears, held_out)["recall@10_t2s"]
    encoder = with_ears(load_encoder(EYES), hears, open_pairs(f"soundbook:{MAPPED}?seed={seed}"))
    facts: dict[str, str | float] = {
        "eyes": EYES,
        "seed": seed,
        "sounds": HELD_OUT,
        "mapped": MAPPED,
        "chance@10": 1000 / HELD_OUT,
    }
    return facts | recalls(encoder, held_out) | {"words_recall@10": allowed(encoder, seed), "own_recall@10": own}


def allowed(encoder: DualEncoder, seed: int) -> float:
    """Recall@10 in percent of held-out tunes by their full captions, if each stood at the mean of all its captions."""
    texts: dict[str, list[str]] = {}
    for pair in open_pairs(f"soundbook:{HELD_OUT}?split=test&seed={seed}"):
        texts.setdefault(pair.item.id, []).append(pair.caption)
    asked = encoder.encode_texts([several[-1] for several in texts.values()])  # the last one says everything
    means = np.stack([encoder.encode_texts(several).mean(0) for several in texts.values()])
    scores = asked @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    return round(100 * float(((scores >= np.diag(scores)[:, None]).sum(1) <= 10).mean()), 1)  # others as near go first


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--speech", action="store_true")
    kind.add_argument("--ears", action="store_true")
    parser.add_argument("--towers", nargs="+", default=TOWERS, choices=TOWERS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hear", metavar="RUN", help="of --ears: no training, the ears of this run")
    asked = parser.parse_args()
    if asked.ears and asked.hear:
        for seed in range(asked.seeds):
            say(json.dumps({"name": "sound-ears", "hear": asked.hear} | bridged(load_encoder(asked.hear), seed)))
        return
    what = "speech" if asked.speech else "tones"
    for tower in asked.towers:
        for seed in range(asked.seeds):
            note(f"{'ears' if asked.ears else what}, {tower}, seed {seed}")
            measure_ears(tower, seed) if asked.ears else measure(what, tower, seed)


if __name__ == "__main__":
    main()
