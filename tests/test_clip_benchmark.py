"""What clip_benchmark reads and computes: the package itself where the peers are, by hand elsewhere."""

import csv
import json
import os
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from eval import clip_benchmark
from eval.measuring import Measured

ROOT = Path(__file__).resolve().parents[1]
# Two captions a picture; caption 1 is nearer to the other picture.
EYE = np.eye(2, dtype=np.float32)
TEXTS = np.array([[1, 0], [0.1, 0.6], [0, 1], [0, 1]], np.float32)
MEASURED = Measured("runs/mine", "0123456789abcdef", (), (), EYE, TEXTS, np.array([0, 0, 1, 1]))
METRICS = {
    "image_retrieval_recall@1": 0.75, "text_retrieval_recall@1": 1.0, "image_retrieval_recall@5": 1.0,
    "text_retrieval_recall@5": 1.0, "image_retrieval_recall@10": 1.0, "text_retrieval_recall@10": 1.0,
}  # fmt: skip


@cache
def _python():
    """The interpreter that has clip_benchmark, or None: `make bench` makes one."""
    python = os.environ.get("MMR_PEERS") or ROOT / ".venv-peers/bin/python"
    if not Path(python).exists():
        return None
    looked = "import importlib.util as util; raise SystemExit(not util.find_spec('clip_benchmark'))"
    return None if subprocess.run([python, "-c", looked], capture_output=True).returncode else python


def _run(*words, given=None):
    if not _python():
        pytest.skip("clip_benchmark is not here: `make bench` installs it, or MMR_PEERS names a python that has it")
    done = subprocess.run([_python(), *words], cwd=ROOT, capture_output=True, text=True, input=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_file_is_what_clip_benchmark_writes(tmp_path):
    clip_benchmark.write(tmp_path / "new" / "ours.json", MEASURED, "flickr8k", "de")
    (file,) = (tmp_path / "new").iterdir()
    read = json.loads(file.read_text())
    assert list(read) == ["dataset", "model", "pretrained", "task", "metrics", "language"]
    assert read == {
        "dataset": "flickr8k", "model": "runs/mine", "pretrained": "0123456789abcdef", "task": "zeroshot_retrieval",
        "metrics": METRICS, "language": "de",
    }  # fmt: skip


def test_clip_benchmark_build_reads_it(tmp_path):
    clip_benchmark.write(tmp_path / "ours.json", MEASURED, "flickr8k")
    out = tmp_path / "all.csv"
    _run("-m", "clip_benchmark.cli", "build", str(tmp_path / "ours.json"), "--output", str(out))
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert row == {name: str(value) for name, value in METRICS.items()} | {
        "dataset": "flickr8k", "model": "runs/mine", "pretrained": "0123456789abcdef", "task": "zeroshot_retrieval",
        "language": "en", "model_fullname": "runs/mine 0123456789abcdef",
    }  # fmt: skip


def test_its_recall_is_our_hit(tmp_path):
    """By its own code, on vectors without ties: they are where its topk is undefined."""
    random = np.random.default_rng(0)
    owner = np.sort(np.r_[np.arange(60), random.integers(60, size=200)])  # one to a dozen captions a picture
    images, texts = (random.standard_normal((count, 16), np.float32) for count in (60, len(owner)))
    measured = Measured("", "", (), (), images, texts + images[owner], owner)
    for name, rows in (("texts", measured.texts), ("images", images), ("owner", owner)):
        np.save(tmp_path / f"{name}.npy", rows)
    answer = json.loads(_run("-m", "eval.bench.metrics_peers", str(tmp_path), given="64\n"))
    clip_benchmark.write(tmp_path / "ours.json", measured, "random")
    ours = json.loads((tmp_path / "ours.json").read_text())["metrics"]
    assert 0 < ours["image_retrieval_recall@1"] < 1
    assert ours == pytest.approx(answer["metrics"], abs=1e-6)  # its means are float32


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("open_clip:ViT-B-32/openai", ("ViT-B-32", "openai")),
        ("small", ("ViT-B-32-256", "datacomp_s34b_b86k")),
        ("open_clip:ViT-B-32//weights/a.pt", ("ViT-B-32", "/weights/a.pt")),
        ("builtin", ("builtin", "0123456789abcdef")),
    ],
)
def test_what_open_clip_has_keeps_its_names(name, expected):
    assert clip_benchmark.names(Measured(name, "0123456789abcdef", (), (), EYE, EYE, np.arange(2))) == expected
