"""A cluster under faults while `mmr index --ray` runs: each time the index must be the one that a single process makes.

    python -m eval.faults.cluster                          # exit code 1 where an index was another
    python -m eval.faults.cluster --only "node killed" "driver killed" --times 20
    python -m eval.faults.cluster --nodes 2 --pictures 100 --times 1

The machines are network namespaces on this one (machines.py), whose network can be cut; without the right to make any
they are processes beside each other. Each fault strikes at a moment drawn at random. What became of it is one JSON line
on stdout: `same` says that the index holds the same ids, with the same vectors to the last bit, as the one of a single
process, and `sound` that `mmr verify` finds nothing.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from eval.faults.machines import Beside, Namespaces, here, why_no_namespaces
from indexes import Store, StoreError
from retrieval.encoders.build import small_encoder
from retrieval.sources.registry import open_items, open_pairs

ROOT = Path(__file__).resolve().parents[2]
ENV = {
    "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MMR_ENGINE": "torch", "MMR_DEVICE": "cpu",
    # A machine that says nothing for two seconds is dead, and one that hears nothing of the head for ten ends itself.
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500", "RAY_health_check_failure_threshold": "4",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}  # fmt: skip
# A commit every little while instead of every five seconds: more moments that differ.
MMR = "from retrieval.indexing import update; update.COMMIT_SECONDS = 0.2; from cli.main import main; main()"
SHORT, LONG = 1.0, 8.0  # seconds that the network is cut: less and more than a machine may say nothing
EARLY = 0.25  # of the faults strike while encoders are loaded
LATE = 300.0  # seconds after which a command hangs
Content = dict[str, tuple[str, bytes]]  # stamp and vector by id


@dataclass(frozen=True, slots=True)
class Setting:
    """What is indexed, where, by what; expected: what the index of a single process holds."""

    machines: "Namespaces | Beside"
    nodes: int
    pictures: Path
    model: Path
    expected: Content


# ---------------------------------------------------------------- the command


class Run:
    """`mmr index` on its way."""

    def __init__(self, setting: Setting, index: Path) -> None:
        words = ["index", setting.pictures, "--index", index, "--model", setting.model]
        given = [*setting.machines.inside, sys.executable, "-c", MMR, *map(str, words), "--ray"]
        self.started, self.said = time.monotonic(), list[str]()
        self._machines, self._nodes = setting.machines, setting.nodes
        self._process = subprocess.Popen(
            [*given, setting.machines.address], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8",
            env={**os.environ, **ENV},
        )  # fmt: skip
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        for line in self._process.stderr or ():
            self.said.append(line.rstrip())

    def until_workers(self, doing: str) -> None:
        """Wait until a worker loads the encoder ("load"), or makes rows ("make"), or there is nothing to wait for."""
        while not self.ended and not any(self._machines.workers(node, doing) for node in range(self._nodes)):
            time.sleep(0.1)

    def words(self) -> list[str]:
        """What it said, but for its progress and the picture that is none."""
        return [line for line in self.said if not line.startswith(("indexing ", "1 skipped", "  broken", "the whole"))]

    @property
    def ended(self) -> bool:
        """Has it ended?"""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Its exit code, when it has ended; one that hangs is killed."""
        try:
            return self._process.wait(LATE)
        except subprocess.TimeoutExpired:
            self.said.append(f"it hangs for {LATE:.0f} seconds")
            return self.kill()
        finally:
            self._listening.join(5)

    def kill(self) -> int:
        """Kill it, as the kernel does."""
        self._process.kill()
        return self._process.wait()


# ---------------------------------------------------------------- faults


def _node_killed(setting: Setting, draw: random.Random) -> str:
    node = draw.randrange(1, setting.nodes)
    setting.machines.kill(node)
    time.sleep(draw.uniform(0, 3))
    setting.machines.start(node)
    return f"machine {node}, which came again"


def _cut(setting: Setting, draw: random.Random, seconds: float) -> str:
    machines, node = setting.machines, draw.randrange(1, setting.nodes)
    assert isinstance(machines, Namespaces), "FAULTS without a network have no such fault"
    machines.cut(node)
    time.sleep(seconds)
    machines.heal(node)
    return f"machine {node} for {seconds:.0f} s"


def _cut_long(setting: Setting, draw: random.Random) -> str:
    said = _cut(setting, draw, LONG)
    node = int(said.split()[1])
    time.sleep(2)  # the machine hears that it was taken for dead
    setting.machines.kill(node)
    setting.machines.start(node)
    return said


def _out_of_memory(setting: Setting, draw: random.Random) -> str:
    """What the kernel does to the largest process where memory ends."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if pids := [pid for node in range(setting.nodes) for pid in setting.machines.workers(node)]:
            pid = draw.choice(pids)
            os.kill(pid, 9)
            return f"process {pid}"
    return "there was no worker"


FAULTS: dict[str, Callable[[Setting, random.Random], str]] = {
    "node killed": _node_killed,
    "network cut for a moment": lambda setting, draw: _cut(setting, draw, SHORT),
    "network cut": _cut_long,
    "worker out of memory": _out_of_memory,
}
OF_NETWORK = ("network cut for a moment", "network cut")
DRIVER, SHORT_OF_MEMORY = "driver killed", "node short of memory"
ALL = (*FAULTS, SHORT_OF_MEMORY, DRIVER)


def during(setting: Setting, index: Path, fault: str, after: float, draw: random.Random) -> dict[str, Any]:
    """A fault so many seconds after the workers began; what became of the command."""
    run = Run(setting, index)
    run.until_workers("load" if draw.random() < EARLY else "make")
    time.sleep(after)
    struck = {"committed": committed(index), "late": run.ended}
    what = FAULTS[fault](setting, draw)
    return {"what": what, **struck, "code": run.wait(), "runs": 1, "said": run.words()}


def short_of_memory(setting: Setting, index: Path) -> dict[str, Any]:
    """A machine whose workers Ray itself kills, again and again, because it takes its memory for full."""
    setting.machines.kill(setting.nodes - 1)
    setting.machines.start(
        setting.nodes - 1, {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    )
    run = Run(setting, index)
    code = run.wait()
    setting.machines.kill(setting.nodes - 1)
    setting.machines.start(setting.nodes - 1)
    return {"what": f"machine {setting.nodes - 1}", "code": code, "runs": 1, "said": run.words()}


def driver_killed(setting: Setting, index: Path, moments: Sequence[float]) -> dict[str, Any]:
    """The command killed after so many seconds, and run again, as often as there are moments; then let be."""
    struck, late = list[int](), False
    for moment in moments:
        run = Run(setting, index)
        time.sleep(moment)
        late = late or run.ended
        run.kill()
        struck.append(committed(index))
    run, what = Run(setting, index), f"after {', '.join(f'{moment:.1f}' for moment in moments)} s"
    code = run.wait()
    return {
        "what": what,
        "committed": struck,
        "late": late,
        "code": code,
        "runs": len(moments) + 1,
        "said": run.words(),
    }


# ---------------------------------------------------------------- what must be so


def committed(index: Path) -> int:
    """How many pictures are in it by now."""
    try:
        with Store.open(index) as store:
            return len(store)
    except StoreError:  # there is none yet
        return 0


def content(index: Path) -> Content:
    """What an index holds."""
    found: Content = {}
    with Store.open(index) as store:
        for segment in store.segments:
            for rows, vectors in segment.blocks():
                for record, vector in zip(store.records(rows), vectors, strict=True):
                    found[record.id] = record.stamp, vector.tobytes()
    return found


def judged(setting: Setting, index: Path) -> dict[str, Any]:
    """Is it the index of a single process? sound: `mmr verify` finds nothing."""
    if not (index / "mmr.db").is_file():
        return {"same": False, "sound": False, "pictures": 0}
    found, expected = content(index), setting.expected
    differ = [id_ for id_ in expected.keys() & found.keys() if found[id_] != expected[id_]]
    verify = subprocess.run(
        [sys.executable, "-c", MMR, "verify", "--index", str(index)], env={**os.environ, **ENV}, capture_output=True,
        check=False,
    )  # fmt: skip
    return {
        "same": found == expected, "sound": verify.returncode == 0, "pictures": len(found),
        **({"missing": len(expected.keys() - found.keys()), "differ": len(differ)} if found != expected else {}),
    }  # fmt: skip


# ---------------------------------------------------------------- all of it


def drawn(folder: Path, count: int) -> tuple[Path, Path]:
    """Pictures, and an encoder that takes some milliseconds for each."""
    pictures, model = folder / "pictures", folder / "model"
    pictures.mkdir()
    for item in open_items(f"picturebook:{count}?size=96"):
        picture = item.content() if callable(item.content) else None
        assert isinstance(picture, Image), "they are drawn when they are asked for"
        picture.save(pictures / Path(item.uri).name)
    (pictures / "broken.jpg").write_bytes(b"no picture")
    torch.manual_seed(0)
    captions = [pair.caption for pair in open_pairs("picturebook:32?size=32")]
    encoder = small_encoder(captions, dim=32, image={"width": 128}, text={"width": 32, "layers": 1})
    encoder.save(model)
    return pictures, model


def alone(pictures: Path, model: Path, index: Path) -> Content:
    """What a single process makes of them."""
    words = ["index", pictures, "--index", index, "--model", model]
    subprocess.run([sys.executable, "-c", MMR, *map(str, words)], env={**os.environ, **ENV}, capture_output=True,
                   check=False)  # fmt: skip
    return content(index)


def soak(
    folder: Path, nodes: int, pictures: int, times: int, only: Sequence[str], seed: int,
    say: Callable[[dict[str, Any]], None], beside: bool = False,
) -> bool:  # fmt: skip
    """Each fault so many times, told one by one; were all indexes the same?"""
    draw, good = random.Random(seed), True
    source, model = drawn(folder, pictures)
    expected = alone(source, model, folder / "alone")
    env = {**ENV, "MMR_CACHE": str(folder / "cache")}
    with here(nodes, folder / "r", env, beside) as machines:
        setting = Setting(machines, nodes, source, model, expected)
        whole, made = _undisturbed(setting, folder / "none", say)
        for number, fault in enumerate(fault for fault in only for _ in range(times)):
            if fault in OF_NETWORK and isinstance(machines, Beside):
                say({"fault": fault, "skipped": why_no_namespaces() or "without namespaces, as asked"})
                continue
            index, started = folder / f"index{number}", time.monotonic()
            if fault == DRIVER:
                became = driver_killed(
                    setting, index, [draw.uniform(0, 0.8 * whole) for _ in range(draw.randint(1, 2))]
                )
            elif fault == SHORT_OF_MEMORY:
                became = short_of_memory(setting, index)
            else:
                became = during(setting, index, fault, draw.uniform(0, 0.8 * made), draw)
            told = {"fault": fault, **became, "seconds": round(time.monotonic() - started, 1), **judged(setting, index)}
            say(told)
            good = good and told["same"] and told["sound"]
    return good


def _undisturbed(setting: Setting, index: Path, say: Callable[[dict[str, Any]], None]) -> tuple[float, float]:
    """Seconds of a run without a fault, and those of them since its workers made rows."""
    run = Run(setting, index)
    run.until_workers("make")
    began = time.monotonic()
    code = run.wait()
    ended = time.monotonic()
    say({"fault": "none", "code": code, "seconds": round(ended - run.started, 1), "working": round(ended - began, 1),
         "said": run.words(), **judged(setting, index)})  # fmt: skip
    return ended - run.started, ended - began


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--times", type=int, default=3, help="of each fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=ALL, default=ALL)
    parser.add_argument("--beside", action="store_true", help="without namespaces, as where there can be none")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made is removed then too
    with tempfile.TemporaryDirectory(prefix="mmr", dir="/tmp", ignore_cleanup_errors=True) as folder:
        good = soak(Path(folder), given.nodes, given.pictures, given.times, given.only, given.seed, _say, given.beside)
    sys.exit(0 if good else 1)


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
