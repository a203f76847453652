"""What each ingredient of a recipe is worth: short runs over several seeds, in one table.

    python -m eval.bench.recipes --data CAPTIONS.csv                        # every ingredient below, three seeds
    python -m eval.bench.recipes --data CAPTIONS.csv --only base "rate 5e-4" # some of them
    python -m eval.bench.recipes --data CAPTIONS.csv bigger image_width=96  # one of your own
    python -m eval.bench.recipes --data CAPTIONS.csv --pictures 4000 twice epochs=10  # of more pictures, as many steps

CAPTIONS.csv has the columns image, split, lang and caption ($MMR_DATA may name it): 2,000 pictures of train learn, all
of dev are asked for, in English unless it says so. A run takes some minutes of one core and 312 steps, so it is kind to
whatever learns faster; what wins here is to be confirmed long. It is a JSON line in --out as soon as it is over, and
one that is there is not run again.
"""

import argparse
import csv
import dataclasses
import json
import os
import random
import resource
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from eval import evaluate
from eval.bench import note, say
from retrieval import DualEncoder, load_encoder, open_pairs, recipes
from retrieval.training.config import TrainConfig
from retrieval.training.loop import train

PICTURES, PASSES, SEEDS = 2000, 20, 3
MEASURES = {
    "t2i": ("text_to_image", "hit@10"), "i2t": ("image_to_text", "hit@10"), "mrr": ("text_to_image", "mrr"),
}  # fmt: skip

INGREDIENTS: dict[str, tuple[str, ...]] = {
    "base": (),
    "two layers of text": ("text_layers=2",),
    "captions do not meet": ("caption_weight=0",),
    "both languages": ("captions=10",),
    "chinese alone": (),
    "chinese alone, two layers": ("text_layers=2",),
    "rate 5e-4": ("lr=5e-4",),
    "rate 2e-3": ("lr=2e-3",),
    "batches of 256": ("batch_size=256", "lr=1.4e-3"),
    "width 64": ("image_width=64",),
    "width 96": ("image_width=96",),
    "closer stem": ("image_patch=2",),
    "attention over words": ("pooling=attention",),
    "mlp on both towers": ("projection=mlp",),
    "vocabulary of 2,048": ("vocabulary=2048",),
    "label smoothing": ("label_smoothing=0.1",),
    "weight decay 0.5": ("weight_decay=0.5",),
    "dropout of features": ("dropout=0.1",),
    "60 passes": ("epochs=60",),
    "both languages, 60 passes": ("captions=10", "epochs=60"),
    "chinese alone, 60 passes": ("epochs=60",),
}
LANGUAGES = {  # taught and asked in; the others in English
    "both languages": ("en", "zh"), "both languages, 60 passes": ("en", "zh"), "chinese alone": ("zh",),
    "chinese alone, two layers": ("zh",), "chinese alone, 60 passes": ("zh",),
}  # fmt: skip


def base() -> TrainConfig:
    """The default recipe, short, and of 64 pixels throughout."""
    return dataclasses.replace(
        recipes.from_scratch(PICTURES), epochs=PASSES, image_size=80, train_size=64, small_share=0.0, ema=0.995,
        views=1, evaluations=1, checkpoints=0, keep="last",
    )  # fmt: skip


def learn(name: str, settings: Sequence[str], seed: int, captions: Path, pictures: int) -> list[dict]:
    """One run, and what it has learned, in percent: a row for each language. `seconds` are of processor time."""
    config = dataclasses.replace(base().settings(settings), seed=seed)
    languages = LANGUAGES.get(name, ("en",))
    with tempfile.TemporaryDirectory() as made:
        pairs = open_pairs(f"csv:{_some(captions, Path(made), languages, pictures)}")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        train(pairs, Path(made) / "run", config)
        row = {"name": name, "settings": list(settings), "seed": seed}
        row["seconds"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)
        encoder = load_encoder(str(Path(made) / "run"))
        return [row | {"asked in": language, **_measured(encoder, captions, language)} for language in languages]


def _measured(encoder: DualEncoder, captions: Path, language: str) -> dict[str, float]:
    report = evaluate(encoder, open_pairs(f"csv:{captions}?split=dev&lang={language}"))
    return {short: round(100 * getattr(report, way)[metric], 2) for short, (way, metric) in MEASURES.items()}


def _some(captions: Path, folder: Path, languages: Sequence[str], pictures: int) -> Path:
    """A csv of the captions of so many train pictures, the same ones each time."""
    with captions.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train" and row["lang"] in languages]
    names = list(dict.fromkeys(row["image"] for row in rows))
    random.Random(0).shuffle(names)
    kept = set(names[:pictures])
    path = folder / "some.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(("image", "caption"))
        csv.writer(file).writerows((captions.parent / r["image"], r["caption"]) for r in rows if r["image"] in kept)
    return path


def table(rows: Sequence[dict]) -> Iterator[str]:
    """Lines of Markdown: the mean over the seeds and the standard deviation of a run, best first."""
    yield "| tried | seeds | dev recall@10, text to image | image to text | MRR | processor time |"
    yield "|---|---|---|---|---|---|"
    groups: dict[str, list[dict]] = {}
    for row in rows:
        asked = row.get("asked in", "en")
        groups.setdefault(row["name"] + f" (asked in {asked})" * (asked != "en"), []).append(row)
    mean = {name: {key: statistics.mean(r[key] for r in group) for key in (*MEASURES, "seconds")}
            for name, group in groups.items()}  # fmt: skip
    for name in sorted(groups, key=lambda name: -mean[name]["t2i"]):
        spread = [row["t2i"] for row in groups[name]]
        deviation = f" ± {statistics.stdev(spread):.1f}" if len(spread) > 1 else ""
        m = mean[name]
        yield (
            f"| {name} | {len(spread)} | {m['t2i']:.1f}{deviation} | {m['i2t']:.1f} | {m['mrr']:.1f} "
            f"| {m['seconds']:.0f} s |"
        )


def main() -> None:
    """Run what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MMR_DATA"), metavar="CAPTIONS.csv")
    parser.add_argument("--out", type=Path, default=Path("recipes.jsonl"), help="runs, a JSON line each")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)))
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of train that learn; give a name of your own")
    parser.add_argument("--only", nargs="+", choices=list(INGREDIENTS), metavar="NAME", help="some of the ingredients")
    parser.add_argument("own", nargs="*", metavar="NAME field=value", help="an ingredient of your own")
    args = parser.parse_args()
    if not args.data:
        sys.exit("captions of real pictures are needed: add --data CAPTIONS.csv")
    if args.pictures != PICTURES and not args.own:
        sys.exit("rows of other pictures would be taken for these: give a name, as in --pictures 4000 twice epochs=10")
    tried = {args.own[0]: args.own[1:]} if args.own else {n: INGREDIENTS[n] for n in args.only or INGREDIENTS}
    done = [json.loads(line) for line in args.out.read_text("utf-8").splitlines()] if args.out.exists() else []
    for seed in args.seeds:
        for name, settings in tried.items():
            if not any((row["name"], row["seed"]) == (name, seed) for row in done):
                rows = learn(name, settings, seed, args.data.resolve(), args.pictures)
                done += rows
                lines = "\n".join(map(json.dumps, rows))
                note(lines)
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(lines + "\n")
    say("\n".join(table(done)))


if __name__ == "__main__":
    main()
