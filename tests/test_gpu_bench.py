"""eval.bench.gpu: all of it dry, with and without what may be missing; parts that fail, die and take too long."""

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
import torch

from eval.bench.gpu import __main__ as command
from eval.bench.gpu import bare, results, running, searching
from eval.bench.gpu.parts import PARTS, Part
from eval.bench.gpu.place import Figure, Place, Skipped, distance
from indexes import exact
from retrieval.encoders.manifest import RunManifest

ROOT = Path(__file__).resolve().parents[1]
MAY_BE_MISSING = ["faiss", "open_clip", "datasets", "typer", "msgspec", "onnxruntime", "numkong"]
HIDE = """
import sys
from importlib.machinery import PathFinder
class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, path, target)
sys.meta_path[:] = [Hidden if finder is PathFinder else finder for finder in sys.meta_path]
"""
SEARCHES = [
    "queries that the proof leaves unanswered", "1 queries at once", "32 queries at once", "10 queries at once",
    "100 queries at once", "speed", "share of a large matrix product here", "FAISS Flat, 100 queries at once",
]  # fmt: skip


def dry(out, hidden=()):
    """(results.json, report.md, the lines of stdout) of a dry run of all parts, where these modules are not there."""
    more = {"OMP_NUM_THREADS": "1"}
    if hidden:  # seen by every process that the command starts
        (out / "path").mkdir(parents=True)
        (out / "path/sitecustomize.py").write_text(f"HIDDEN = {hidden}\n{HIDE}", "utf-8")
        more["PYTHONPATH"] = str(out / "path")
    done = subprocess.run(
        [sys.executable, "-m", "eval.bench.gpu", "--dry", "--out", str(out / "made")],
        capture_output=True, text=True, cwd=ROOT, check=False, env=os.environ | more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (out / "made").iterdir()) == ["report.md", "results.json"]
    document = json.loads((out / "made/results.json").read_text("utf-8"))
    return (
        document,
        (out / "made/report.md").read_text("utf-8"),
        [json.loads(line) for line in done.stdout.splitlines()],
    )


def check(document, page, lines, statuses, missing):
    assert list(document) == [
        "format", "deadline", "device", "python", "cuda", "versions", "missing", "seconds", "parts",
    ]  # fmt: skip
    assert (document["format"], document["deadline"], document["cuda"]) == (1, 450.0, None)
    assert list(document["device"]) == ["kind", "name", "gib"]
    assert (document["device"]["kind"], document["device"]["gib"]) == ("cpu", None)
    assert document["versions"] == {name: importlib.metadata.version(name) for name in results.VERSIONS}
    assert document["missing"] == missing
    parts = {part["name"]: part for part in document["parts"]}
    assert list(parts) == list(PARTS)
    assert {name: (part["status"], part["reason"]) for name, part in parts.items()} == statuses
    for name, part in parts.items():
        assert list(part) == ["name", "what", "status", "reason", "seconds", "most_seconds", "figures"]
        assert (part["what"], part["most_seconds"]) == (PARTS[name].what, PARTS[name].seconds)
        assert (part["figures"] == []) == (part["status"] == "skipped")
        for figure in part["figures"]:
            assert list(figure) == ["name", "value", "unit", "note", "most"]
            assert figure["value"] is not None or figure["note"], "a figure that is not there has a reason"
    assert lines == [{"part": name, **figure} for name, part in parts.items() for figure in part["figures"]]
    assert [figure["name"] for figure in parts["search-10m"]["figures"]] == SEARCHES
    resumed = [figure["value"] for figure in parts["resume"]["figures"]]
    assert resumed == [0, 0, 0, 0], "on a CPU a run that was stopped is the same bit for bit"
    assert page.startswith(f"# CUDA paths on {document['device']['name']}\n\n**A dry run on the CPU")
    return parts


def test_a_dry_run_runs_every_part(tmp_path):
    parts = check(*dry(tmp_path), dict.fromkeys(PARTS, ("ok", "")), [])
    losses = {figure["name"]: figure["value"] for figure in parts["loss-65k"]["figures"]}
    assert losses["open_clip ClipLoss: seconds"] > 0


def test_a_bare_machine_runs_all_but_what_it_has_no_library_for(tmp_path):
    statuses = {**dict.fromkeys(PARTS, ("ok", "")), "approximate": ("skipped", "faiss is not installed")}
    hidden = [*MAY_BE_MISSING, "onnx", "pathspec", "ftfy", "regex"]
    parts = check(*dry(tmp_path, hidden), statuses, MAY_BE_MISSING)
    absent = {f["name"]: f["note"] for part in parts.values() for f in part["figures"] if f["value"] is None}
    assert absent == {
        "FAISS Flat, 100 queries at once": "faiss is not installed",
        "open_clip ClipLoss: seconds": "open_clip is not installed",
        "Inf-CL: seconds": "inf_cl is not installed",
    }


# ---------------------------------------------------------------- how parts end


@pytest.fixture
def part(monkeypatch, tmp_path):
    """Run a function as a part, for at most `seconds` and `most`; its figures as they came are in `part.said`."""
    said = []

    def run(figures, seconds=60.0, most=60.0):
        monkeypatch.setitem(sys.modules, "eval.bench.gpu.made_up", SimpleNamespace(figures=figures))
        made_up = Part("made_up:figures", seconds, "")
        return running.run(made_up, "cpu", get_context("fork"), most, said.append)

    run.said = said
    return run


def raising(error, *figures):
    def part(place):
        yield from figures
        raise error

    return part


ONE = Figure("one", 1.0, "s")


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (Skipped("no compiler"), ("skipped", "no compiler")),
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), ("skipped", "faiss is not installed")),
        (ModuleNotFoundError("no retrieval.x", name="retrieval.x"), ("failed", "no retrieval.x")),
        (RuntimeError("CUDA error: misaligned\nmore"), ("failed", "RuntimeError: CUDA error: misaligned")),
        (SystemExit(7), ("failed", "its process died with exit code 7")),
    ],
)  # fmt: skip
def test_what_a_part_raises_is_how_it_ends_and_its_figures_are_kept(part, error, ending):
    result = part(raising(error, ONE))
    assert (result.ending, result.figures, part.said) == (ending, [ONE], [ONE])


def test_a_process_that_dies_is_a_failure(part):
    assert part(lambda place: iter([ONE, os.kill(os.getpid(), 9)])).ending == (
        "failed",
        "its process died with exit code -9",
    )


def test_a_part_that_takes_too_long_is_stopped(part):
    def forever(place):
        yield ONE
        while True:
            pass

    result = part(forever, seconds=0.3)
    assert (result.ending, result.figures) == (
        ("failed", "it was stopped after 0.3 s, which are all it may take"),
        [ONE],
    )
    assert part(forever, most=0.3).ending == ("not reached", "the deadline came before its end")
    wrong = part(lambda place: [(yield Figure("a", 2.0, "", most=1.0)), (yield from forever(place))], most=0.3)
    assert wrong.ending == ("failed", "more than they may be: a")
    assert part(forever, most=0.0).ending == ("not reached", "the deadline came before it")


def test_a_figure_above_what_it_may_be_is_a_failure(part):
    figures = [Figure("a", 0.2, "", most=0.2), Figure("b", 0.3, "", most=0.2), Figure("c", float("nan"), "", most=9.0)]
    assert part(lambda place: iter(figures)).ending == ("failed", "more than they may be: b; c")
    assert results.as_json(figures[2]) == {"name": "c", "value": None, "unit": "", "note": "", "most": 9.0}


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("skipped", 0), ("not reached", 0), ("failed", 5)])
def test_the_exit_code_says_whether_a_part_failed(monkeypatch, tmp_path, capsys, status, code):
    def run(part, device, context, most, on_figure):
        on_figure(ONE)
        return running.Result(running.Ending(status, "so | so"), 1.0, [ONE])

    monkeypatch.setattr(running, "run", run)
    monkeypatch.setattr(sys, "argv", ["gpu", "--dry", "--out", str(tmp_path / "a/b"), "--only", "device", "encoding"])
    assert command.main() == code
    assert [part["status"] for part in json.loads((tmp_path / "a/b/results.json").read_text())["parts"]] == [status] * 2
    assert f"| encoding | {status} | 1 | so \\| so |" in (tmp_path / "a/b/report.md").read_text()
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == {"part": "device", **ONE._asdict()}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_how_to_try_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(
        "no CUDA device is available here: run it where there is one, or add --dry\n"
    )
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- what figures rest on


def test_a_distance_is_relative():
    assert distance(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == 0.1


def test_answers_that_differ_are_counted(monkeypatch, tmp_path):
    plain, drawn = exact.search, searching.drawn

    def broken(segments, queries, k, device="cpu"):
        found = plain(segments, queries, k)
        if device != "cpu":
            found.rows[0, 1], found.scores[0, 0] = -1, found.scores[0, 0] - 0.5
        return found

    place = Place("cpu", tmp_path)
    assert [figure.value for figure in searching.equality(place)] == [0] * 6
    monkeypatch.setattr(exact, "search", broken)
    monkeypatch.setattr(Place, "sized", lambda self, real, tiny: tiny)
    monkeypatch.setattr(searching, "drawn", lambda there, *what: drawn(place, *what))
    wrong = list(searching.equality(Place("cuda", tmp_path)))
    assert [figure.value for figure in wrong] == pytest.approx([1, 0.5] * 3)
    assert all(figure.is_wrong for figure in wrong)


def test_rows_that_are_drawn_have_unit_length(tmp_path):
    rows = searching.drawn(Place("cpu", tmp_path), 50, 16, 0)
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-3)
    close = searching.near(rows[3], 20).astype(np.float64) @ rows[3]
    assert ((close > 0.99) & (close < 1)).all()


def test_on_a_card_sums_are_in_float32_as_the_proof_takes_them_to_be(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    try:
        matmul.allow_bf16_reduced_precision_reduction = True
        exact.proven("cpu")
        assert matmul.allow_bf16_reduced_precision_reduction
        exact.proven("cuda")
        assert not matmul.allow_bf16_reduced_precision_reduction
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before


# ---------------------------------------------------------------- msgspec's stand-in


@dataclass(frozen=True)
class Point:
    x: Annotated[int, msgspec.Meta(ge=0)]
    y: list[tuple[int, dict[str, float]]]
    tail: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = (1, 2)
    anything: Any = None
    name: str | None = None


RUN = {
    "format": 1, "dim": 8, "preprocess": {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [1.0, 1.0, 1.0]},
    "image": {"type": "conv"}, "text": {"type": "gru"}, "fingerprint": "not a field", "languages": ["de", "zh-TW"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (RUN, RunManifest), ({"x": 1, "y": [[3, {"a": 0.5}]]}, Point),
        ({"x": 1, "y": [], "tail": [5], "anything": [1], "name": "n"}, Point), ({"a": [1]}, dict[str, Any]),
    ],
)  # fmt: skip
def test_what_was_just_written_is_read_as_msgspec_reads_it(given, kind):
    assert bare.convert(given, kind) == msgspec.convert(given, kind)


def test_msgspec_itself_is_left_alone():
    bare.stand_in()
    assert sys.modules["msgspec"] is msgspec


@pytest.mark.slow
def test_what_is_loaded_before_the_fork_asks_no_device():
    """A process that was forked from one that has used CUDA cannot use it."""
    code = f"""
import importlib, torch
def asked(*args): raise SystemExit("CUDA was asked")
for name in ("_cuda_getDeviceCount", "_cuda_init", "_cuda_getDevice", "_cuda_getDriverVersion"):
    if hasattr(torch._C, name): setattr(torch._C, name, asked)
for name in ("is_available", "device_count", "get_device_properties", "get_device_capability", "_lazy_init"):
    setattr(torch.cuda, name, asked)
for name in {command.PRELOADED}: importlib.import_module(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
