"""Killed at random again and again, a run ends with the weights of one that never was."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch

from retrieval import open_pairs, recipes
from retrieval.encoders.load import load_encoder
from retrieval.training.config import TrainConfig
from retrieval.training.loop import train


def config(kills: int) -> TrainConfig:
    """Of a run that is long enough to be killed so often."""
    return dataclasses.replace(
        recipes.smoke(), precision="fp32", batch_size=8, epochs=1.5 * kills + 2, captions=2, dropout=0.2,
        word_dropout=0.2, ema=0.9, crop=0.5, checkpoints=200, evaluations=6, micro_batch_size=3,
    )  # fmt: skip


def life(out: Path, kills: int) -> None:
    """One life of the run: it begins, or goes on. on_eval measures something of the weights themselves."""
    train(
        open_pairs("picturebook:24?size=32"), out, config(kills), resume=(out / "config.json").is_file(),
        on_eval=lambda encoder: {"text_to_image_recall@10": float(encoder.encode_texts(["a dog"])[0, 0])},
    )  # fmt: skip


def forked(out: Path, kills: int) -> int:
    """A life in a child; its process."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            life(out, kills)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code


def last_step(out: Path) -> int:
    """Of the last whole checkpoint; far beyond all where the run is through."""
    if (out / "encoder.json").is_file():
        return 10**6
    return max((int(path.name[5:]) for path in (out / "checkpoints").glob("step_*[0-9]")), default=0)


def drive(root: Path, kills: int) -> None:
    """A run that lives once, and one that is killed so often. This process computes nothing, so it may be forked.

    Each life ends a random moment after a random number of further checkpoints: in a step, in a write, before the
    first step.
    """
    torch.set_num_threads(1)
    ended(forked(root / "straight", kills))
    draw, killed, out = random.Random(0), 0, root / "killed"
    while killed < kills and last_step(out) < 10**6:
        wanted = last_step(out) + draw.choice([0, 1, 1, 2])
        child = forked(out, kills)
        while last_step(out) < wanted:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        killed += ended(child) != 0
    if last_step(out) < 10**6:
        ended(forked(out, kills))
    sys.stdout.write(str(killed))


@pytest.mark.skipif(sys.platform == "win32", reason="fork is what makes many lives cheap")
def test_killed_again_and_again_it_ends_with_the_same_weights(tmp_path, soak):
    kills = 20 if soak else 3
    places = os.pathsep.join([str(Path(__file__).resolve().parents[1]), *sys.path])
    driver = subprocess.run(
        [sys.executable, __file__, str(tmp_path), str(kills)], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert driver.returncode == 0, driver.stderr[-2000:]
    assert int(driver.stdout) == kills, "it was through before it had been killed as often"
    straight, survived = (load_encoder(str(tmp_path / name)) for name in ("straight", "killed"))
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, survived.state_dict()[name]), name
    assert survived.fingerprint == straight.fingerprint
    losses = []
    for name in ("straight", "killed"):
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        losses.append([(line["step"], line.get("loss"), line.get("metrics")) for line in map(json.loads, lines)])
    assert losses[0] == losses[1]


if __name__ == "__main__":
    drive(Path(sys.argv[1]), int(sys.argv[2]))
