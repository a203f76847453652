"""Pairs a second from scratch, beside open_clip's own trainer: the same pictures, resolution and batch, in turns.

    python -m eval.bench.training            # figure `pairs-per-second`

Ours is the default recipe at one resolution throughout. The peer is `open_clip_train` on csv with its small ResNet
([1, 1, 1, 1], width 32) and a 4-layer text transformer, amp_bf16, two workers: what measures best for it on two cores.
Start-up is not counted.
"""

import csv
import dataclasses
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

from eval.bench import figure, peers_python
from retrieval import open_pairs, recipes
from retrieval.picturebook import scenes
from retrieval.train import train

PICTURES, SIZE, BATCH, STEPS, ROUNDS = 2048, 96, 256, 24, 3

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
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for number, scene in enumerate(scenes(PICTURES)):
            path = folder / f"{number:05d}.jpg"
            scene.draw(128).save(path, quality=90)
            writer.writerow([path, scene.full_caption()])
    return folder / "pairs.csv"


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


def peer(source: Path, folder: Path, logs: Path) -> float:
    """Pairs a second as open_clip_train logs them, without its first lines."""
    (folder / "mmr-peer.json").write_text(json.dumps(PEER_MODEL))
    command = [
        peers_python(), "-c", _PEER, str(folder / "mmr-peer.json"), "--model", "mmr-peer", "--train-data", str(source),
        "--dataset-type", "csv", "--csv-separator", ",", "--csv-img-key", "image", "--csv-caption-key", "caption",
        "--batch-size", str(BATCH), "--epochs", str(STEPS * BATCH // PICTURES), "--precision", "amp_bf16",
        "--workers", "2", "--logs", str(logs), "--log-every-n-steps", "1", "--warmup", "10",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    rates = [float(rate) for rate in re.findall(r"([\d.]+)/s, [\d.]+/s/gpu", run.stdout + run.stderr)]
    if run.returncode or len(rates) < 8:
        raise SystemExit(f"open_clip_train failed:\n{run.stderr[-2000:]}")
    late = sorted(rates[len(rates) // 2 :])
    return late[len(late) // 2]


def main() -> None:
    """Print the figure."""
    mine, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = draw(folder)
        for number in range(ROUNDS):
            mine.append(ours(source, folder / f"run{number}"))
            theirs.append(peer(source, folder, folder / f"logs{number}"))
    figure("pairs-per-second", mine, theirs, "open_clip_train 3.3 (csv, amp_bf16)", floor=2.5, goal=4)


if __name__ == "__main__":
    main()
