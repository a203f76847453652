"""Training in the workers of a cluster: the weights of torchrun to the last bit, whatever dies meanwhile."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_distributed import CONFIG, in_two, pairs_here

from retrieval.cluster import connection, trainee, training
from retrieval.cluster.trainee import Job
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest, MissingModel
from retrieval.training import log
from retrieval.training.loop import train
from terminal import fails, mmr

ray = pytest.importorskip("ray")
ROOT = Path(__file__).resolve().parents[1]
SOURCE = "picturebook:24?size=32"
MEASURED = dataclasses.replace(CONFIG, evaluations=6, keep="last")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this machine with two cores, which all tests share: it takes seconds to come."""
    with connection.connected("local") as connected:
        if connected.cluster_resources()["CPU"] < 2:
            pytest.skip("two workers need two cores")
        yield connected


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The weights of two processes, as torchrun starts them."""
    out = tmp_path_factory.mktemp("torchrun") / "run"
    in_two(_torchrun, out)
    return load_encoder(str(out)).state_dict()


def _torchrun(rank, out):
    train(pairs_here(), out, CONFIG)


def assert_same(out, expected):
    weights = load_encoder(str(out)).state_dict()
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert weights[name].equal(tensor), name


def beside(out):
    return sorted(file.name for file in out.parent.iterdir())


def test_two_workers_end_with_the_weights_of_torchrun(cluster, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # which the workers' names are relative to
    steps, said = [], []
    outcome = training.train(
        [SOURCE], "run", CONFIG, workers=2, on_step=steps.append, on_message=said.append
    )  # fmt: skip
    assert_same(tmp_path / "run", expected)
    assert outcome.finished
    assert outcome.steps == 6
    assert outcome.fingerprint == load_encoder(str(tmp_path / "run")).fingerprint
    assert [progress.step for progress in steps] == [1, 2, 3, 4, 5, 6]
    assert not [line for line in said if "lost" in line]
    assert beside(tmp_path / "run") == ["run"]


def dies(at, died):
    """What measures an encoder, and kills its process, once, when it is asked for the `at`th time."""

    def measures():
        asked = []

        def measure(encoder):
            asked.append(encoder)
            if len(asked) == at and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return {"text_to_image_recall@10": 0.5}

        return measure

    return measures


@pytest.mark.slow  # on a busy machine Ray may lose a group while it comes up, which it does not try again
@pytest.mark.parametrize("at", [1, 4])
def test_a_worker_that_is_killed_costs_the_steps_since_the_last_checkpoint(cluster, expected, tmp_path, at):
    """At step 1 there is no checkpoint yet; at 4 there is that of step 2."""
    steps, said = [], []
    outcome = training.train(
        [SOURCE], tmp_path / "run", MEASURED, workers=2, measures=dies(at, tmp_path / "died"),
        on_step=lambda progress: steps.append(progress.step), on_message=said.append,
    )  # fmt: skip
    assert (tmp_path / "died").exists()
    assert outcome.finished
    assert_same(tmp_path / "run", expected)
    again = 0 if at == 1 else 2
    assert steps == [*range(1, at), *range(again + 1, 7)]
    assert [line["step"] for line in log.read(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    assert any("a worker was lost" in line for line in said)
    assert f"resumed at step {again} of 6" in said or at == 1


@pytest.mark.slow  # the killed worker goes on the same way
def test_what_is_stopped_goes_on_with_resume(cluster, expected, tmp_path):
    steps = []
    first = training.train(
        [SOURCE], tmp_path / "run", CONFIG, workers=2, on_step=steps.append, should_stop=lambda: True
    )  # fmt: skip
    assert not first.finished
    assert first.steps == len(steps) < 6
    second = training.train([SOURCE], tmp_path / "run", CONFIG, workers=2, resume=True)
    assert second.finished
    assert_same(tmp_path / "run", expected)


@pytest.mark.parametrize(
    ("error", "changes", "said"),
    [
        (BadRequest, {"batch_size": 11}, "batches of 11 cannot be shared by 2 processes: --set batch_size=10"),
        pytest.param(MissingModel, {"encoder": "/nowhere/run"}, "/nowhere/run", marks=pytest.mark.slow),
    ],
)
def test_what_a_person_can_mend_is_said_once_and_not_tried_again(cluster, tmp_path, error, changes, said):
    lines = []
    with pytest.raises(error) as raised:
        training.train(
            [SOURCE], tmp_path / "run", dataclasses.replace(CONFIG, **changes), workers=2, on_message=lines.append
        )  # fmt: skip
    assert said in str(raised.value)
    assert not [line for line in lines if "lost" in line]
    assert not (tmp_path / "run").exists()
    assert beside(tmp_path / "run") == []


@pytest.mark.parametrize(("seen", "here", "named"), [("gone", ".", "run"), (".", "gone", "gone")])
def test_a_folder_that_a_worker_does_not_see_is_said(tmp_path, seen, here, named):
    job = Job((SOURCE,), tmp_path / "run", CONFIG, False, tmp_path / here, tmp_path / seen, lambda: None)
    with pytest.raises(BadRequest, match=f"/{named} is not to be seen from the machine .* that all machines share"):
        trainee.trained(job, None)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_there_is_kept(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadRequest, match="holds a run already"):
        training.train([SOURCE], tmp_path, CONFIG, workers=2)


def test_more_workers_than_there_is_room_for(cluster, tmp_path):
    cores = int(cluster.cluster_resources()["CPU"])
    with pytest.raises(BadRequest, match=f"has CPUs for {cores} workers, not for 999: use --workers {cores}"):
        training.train([SOURCE], tmp_path / "run", dataclasses.replace(CONFIG, device="cpu"), workers=999)
    assert beside(tmp_path / "run") == []


def test_cores_are_shared_out_by_hand():
    assert training.cores_each([(8, 0)], 1, False) == 8
    assert training.cores_each([(8, 0), (8, 0)], 2, False) == 8
    assert training.cores_each([(8, 0), (4, 0)], 2, False) == 4
    assert training.cores_each([(8, 0), (3, 0)], 3, False) == 3
    assert training.cores_each([(64, 4), (8, 0)], 4, True) == 16
    with pytest.raises(BadRequest, match="has GPUs for 4 workers, not for 5: use --workers 4"):
        training.cores_each([(64, 4), (8, 0)], 5, True)
    with pytest.raises(BadRequest, match="has GPUs for 0 workers, not for 1: use --device cpu"):
        training.cores_each([(64, 0)], 1, True)


def test_as_many_workers_as_there_are_gpus_or_else_machines():
    assert training.default_workers([(64, 4), (8, 0)], True) == 4
    assert training.default_workers([(64, 0), (8, 0), (0, 0)], False) == 2
    assert training.default_workers([(0, 0)], False) == 1


def test_the_interface_of_an_address():
    assert trainee.interface_of("127.0.0.1") == "lo"
    assert trainee.interface_of("192.0.2.77") is None


# ---------------------------------------------------------------- words


def test_workers_are_of_a_cluster(tmp_path):
    fails(mmr("train", SOURCE, "--out", tmp_path / "run", "--workers", 2), 2, "add --ray local")
    fails(mmr("train", SOURCE, "--out", tmp_path / "run", "--ray", "local", "--workers", 0), 2, "--workers", "1")


def test_torchrun_and_ray_are_not_both(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    fails(mmr("train", SOURCE, "--out", tmp_path / "run", "--ray", "local"), 2, "use one of them")


def test_no_cluster_there(tmp_path):
    if ray.is_initialized():
        pytest.skip("what is connected already is taken")
    fails(mmr("train", SOURCE, "--out", tmp_path / "run", "--ray", "127.0.0.1:1"), 2, "no Ray cluster answers", "--ray")
    assert beside(tmp_path / "run") == []


def command(*words, **given):
    code = [sys.executable, "-m", "cli.main", "train", SOURCE, *map(str, words)]
    return subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **given)


@pytest.mark.slow
def test_the_command_says_what_one_process_says_and_stops_in_order(tmp_path):
    """A person's Ctrl-C goes to every process of the terminal, Ray's among them."""
    words = ["--out", tmp_path / "run", "--recipe", "smoke", "--set", "epochs=300", "--ray", "local", "--workers", 2]
    running = command(*words, start_new_session=True)
    while "step" not in (tmp_path / "run" / "log.jsonl").read_text() if (tmp_path / "run").is_dir() else True:
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    out, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert error.splitlines()[-1].startswith("stopped at step ")
    assert "ray" not in error.replace("--ray", "").lower()
    assert beside(tmp_path / "run") == ["run"]
    done = command("--out", tmp_path / "run", "--resume", "--ray", "local", "--workers", 2, "--set", "epochs=300")
    out, error = done.communicate(timeout=300)
    assert done.returncode == 0
    assert out.startswith(f"{tmp_path / 'run'}  encoder ")
    assert "resumed at step " in error
