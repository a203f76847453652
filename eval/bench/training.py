"""From scratch beside open_clip's own trainer: pairs a second, and what both have learned after the same time.

    python -m eval.bench.training                            # figure `pairs-per-second`, on drawn scenes
    python -m eval.bench.training --data CAPTIONS.csv        # and `recall-10-minutes`; --minutes 2 for a look

Ours is the default recipe. The peer is `open_clip_train` on csv with its small ResNet ([1, 1, 1, 1], width 32) and a
4-layer text transformer, amp_bf16, two workers: what measures best for it on two cores. Both see the same pictures at
96 pixels, of which ours learns from crops of 80, as its recipe does (a crop magnifies). Start-up is not counted, for
neither.

CAPTIONS.csv has the columns image, split, lang and caption, of which train and dev in English are used ($MMR_DATA may
name it). Each trainer's speed is measured first, and its schedule is laid out to end with the time that it is given.
"""

import argparse
import csv
import dataclasses
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from eval.bench import figure, note, peers_python
from retrieval import load_encoder, open_pairs, recipes
from retrieval.datatypes import Pair
from retrieval.encoders.encoder import DualEncoder
from retrieval.sources.picturebook import scenes
from retrieval.training.loop import train

PICTURES, SIZE, BATCH, STEPS, ROUNDS = 2048, 96, 256, 24, 3
CROP = 80  # pixels of a crop that ours learns from, where what is learned counts and not pairs
FEW = 128  # pairs of a batch where few pictures are seen often, for both
PEER_NAME = "open_clip_train (csv, amp_bf16)"
SOURCE = "csv:{}?split={}&lang=en"

PEER_MODEL = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 32, "patch_size": None},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4},
}
_PEER = """
import sys, open_clip
open_clip.add_model_config(sys.argv[1])
from open_clip_train.main import main
main(sys.argv[2:])
"""


def draw(folder: Path) -> Path:
    """Scenes as JPEG files with a csv of one caption each."""
    rows = []
    for number, scene in enumerate(scenes(PICTURES)):
        path = folder / f"{number:05d}.jpg"
        scene.draw(128).save(path, quality=90)
        rows.append((path, scene.full_caption()))
    return write(folder / "pairs.csv", rows)


def write(path: Path, rows: Sequence[tuple[Path, str]]) -> Path:
    """A csv of pictures and captions, as both trainers read it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])
    return path


# ---------------------------------------------------------------- pairs a second


def ours(source: Path, out: Path) -> float:
    """Pairs a second over the second half of a short run."""
    epochs = STEPS * BATCH / PICTURES
    config = dataclasses.replace(
        recipes.from_scratch(PICTURES), batch_size=BATCH, epochs=epochs, checkpoints=0, image_size=SIZE, train_size=0,
        small_share=0.0, captions=1,
    )  # fmt: skip
    marks = []
    train(open_pairs(f"csv:{source}"), out, config, on_step=lambda progress: marks.append(time.perf_counter()))
    half = len(marks) // 2
    return (len(marks) - 1 - half) * BATCH / (marks[-1] - marks[half])


def peer(source: Path, folder: Path, logs: Path, batch: int = BATCH, epochs: int = STEPS * BATCH // PICTURES) -> float:
    """Pairs a second as open_clip_train logs them, without its first lines; its weights are in `logs`."""
    (folder / "mmr-peer.json").write_text(json.dumps(PEER_MODEL), "utf-8")
    command = [
        peers_python(), "-c", _PEER, str(folder / "mmr-peer.json"), "--model", "mmr-peer", "--train-data", str(source),
        "--dataset-type", "csv", "--csv-separator", ",", "--csv-img-key", "image", "--csv-caption-key", "caption",
        "--batch-size", str(batch), "--epochs", str(epochs), "--precision", "amp_bf16", "--name", "peer",
        "--workers", "2", "--logs", str(logs), "--log-every-n-steps", "1", "--warmup", "10",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    rates = [float(rate) for rate in re.findall(r"([\d.]+)/s, [\d.]+/s/gpu", run.stdout + run.stderr)]
    if run.returncode or len(rates) < 8:
        raise SystemExit(f"open_clip_train failed:\n{run.stderr[-2000:]}")
    late = sorted(rates[len(rates) // 2 :])
    return late[len(late) // 2]


def pairs_per_second() -> None:
    """Print the figure: several runs of each, in turns."""
    mine, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = draw(folder)
        for number in range(ROUNDS):
            mine.append(ours(source, folder / f"run{number}"))
            theirs.append(peer(source, folder, folder / f"logs{number}"))
    figure("pairs-per-second", mine, theirs, PEER_NAME, floor=2.5, goal=4)


# ---------------------------------------------------------------- recall after some minutes


def recall_of(encoder: DualEncoder, captions: Path) -> float:
    """Text-to-image recall@10 on the dev pictures."""
    from eval import evaluate

    return evaluate(encoder, open_pairs(SOURCE.format(captions, "dev"))).text_to_image["hit@10"]


def ours_learned(captions: Path, folder: Path, seconds: float) -> DualEncoder:
    """The default recipe at the peer's size, with as many passes as fit; stopped when the time is over."""
    pairs = open_pairs(SOURCE.format(captions, "train"))
    pictures = len({pair.item.id for pair in pairs})
    config = dataclasses.replace(
        recipes.from_scratch(pictures), image_size=SIZE, train_size=CROP, batch_size=FEW, checkpoints=0
    )
    steps = seconds / _seconds_a_step(pairs, folder / "look", config)
    marks: list[float] = []
    return train(
        pairs, folder / "mine", dataclasses.replace(config, epochs=max(1, steps) * FEW / pictures),
        on_step=lambda progress: marks.append(time.perf_counter()),
        should_stop=lambda: time.perf_counter() - marks[0] > seconds,
    ).encoder  # fmt: skip


def _seconds_a_step(pairs: Sequence[Pair], out: Path, config: recipes.TrainConfig) -> float:
    """Seconds a step of the whole run, small and large crops in its own proportion, by a run of 20 steps."""
    marks: list[float] = []
    pictures = len({pair.item.id for pair in pairs})
    train(
        pairs, out, dataclasses.replace(config, epochs=20 * FEW / pictures),
        on_step=lambda progress: marks.append(time.perf_counter()),
    )  # fmt: skip
    return (marks[-1] - marks[1]) / (len(marks) - 2)


def peer_learned(captions: Path, folder: Path, seconds: float) -> DualEncoder:
    """open_clip_train on as many pairs as fit; where it needs longer than it was given it may."""
    import open_clip

    pairs = open_pairs(SOURCE.format(captions, "train"))
    rate = peer(_rows(pairs, 16 * FEW, folder / "look.csv"), folder, folder / "look-logs", FEW, 1)
    count = max(8 * FEW, round(rate * seconds))
    epochs = max(1, round(count / len(pairs)))
    peer(_rows(pairs, count // epochs, folder / "pairs.csv"), folder, folder / "logs", FEW, epochs)
    open_clip.add_model_config(folder / "mmr-peer.json")
    return load_encoder(f"open_clip:mmr-peer/{folder}/logs/peer/checkpoints/epoch_{epochs}.pt")


def _rows(pairs: Sequence[Pair], count: int, path: Path) -> Path:
    """The first caption of each picture, then the second ones, ..., until there are enough."""
    met: dict[str, int] = {}
    turns = []
    for pair in random.Random(0).sample(pairs, len(pairs)):
        turns.append((met.setdefault(pair.item.id, 0), pair))
        met[pair.item.id] += 1
    turns.sort(key=lambda turn: turn[0])
    return write(path, [(_file_of(pair), pair.caption) for _, pair in turns[:count]])


def _file_of(pair: Pair) -> Path:
    assert isinstance(pair.item.content, Path)  # a csv names files
    return pair.item.content


def recall_in(minutes: float, captions: Path) -> None:
    """Print the figure; on stderr how long each took, with start-up, which is not counted."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        recalls = []
        for name, learned in (("ours", ours_learned), (PEER_NAME, peer_learned)):
            started = time.perf_counter()
            encoder = learned(captions, folder, 60 * minutes)
            taken = time.perf_counter() - started
            recalls.append(recall_of(encoder, captions))
            note(f"{name}: {recalls[-1]:.1%} in {taken / 60:.1f} minutes")
    mine, theirs = recalls
    figure(f"recall-{minutes:g}-minutes", [100 * mine], [100 * theirs], PEER_NAME, floor=1.5, goal=2)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MMR_DATA"), metavar="CAPTIONS.csv")
    parser.add_argument("--minutes", type=float, default=10.0, help="that each of both learns")
    parser.add_argument("--only", choices=("pairs", "recall"), help="one of the figures")
    args = parser.parse_args()
    if args.only == "recall" and not args.data:
        sys.exit("recall needs captions of real pictures: add --data CAPTIONS.csv")
    if args.only != "recall":
        pairs_per_second()
    if args.data and args.only != "pairs":
        recall_in(args.minutes, args.data.resolve())


if __name__ == "__main__":
    main()
