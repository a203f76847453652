"""Readers beside a writer: each stays on the state that it opened, whatever is added, deleted and compacted meanwhile.

    python -m eval.faults.readers --seconds 60            # exit code 1 where anything went wrong
    python -m eval.faults.readers --seconds 3 --readers 2 --threads 4

A process writes as fast as it can. `readers` processes open the store again and again, and half of those, beside a
writer of their own, have no lease, as on read-only media; `threads` threads of this process share one Retriever, and
children are forked from among them. Each answer can be checked alone (groups.py). What was counted is one JSON line on
stdout.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from eval.faults.groups import DIM, GROUP, GROUPS, Words, answers_of, fill, put, state_of
from indexes import Store, leases
from retrieval.retriever import Retriever

HELD = 1.5  # seconds, at most, for which a reader asks one state
BETWEEN = 0.3  # seconds between two forks
LEAST = 10  # commits, however slow the disk is


# ---------------------------------------------------------------- what each does


def write(path: Path, until: float, seed: int) -> dict[str, int]:
    """Add, delete, compact and derive until then; how many commits that were."""
    from indexes.approximate import ann

    draw = random.Random(seed)
    with Store.open(path, write=True) as store:
        start = store.generation
        while time.time() < until or store.generation < start + LEAST:
            act = draw.random()
            if act < 0.7:
                put(store, draw.randrange(GROUPS), str(store.generation))
            elif act < 0.8:
                gone = draw.randrange(GROUPS)
                store.delete([f"{gone}/{number}" for number in range(GROUP)])
            elif act < 0.97:
                store.compact()
            else:
                built = ann.build(store.segments, "IVF1,Flat", DIM, store.manifest["next_row"])
                built.points = [ann.Point(0.9, 1, 100, 1.0, 1.0)]
                store.set_approximate(built, 0.9)
        return {"commits": store.generation - start}


def read(path: Path, until: float, seed: int) -> dict[str, int]:
    """Open, ask again and again, export, close: until then. What was counted."""
    from retrieval.exchange import export

    counted, draw, before = _none(), random.Random(seed), descriptors()
    with tempfile.TemporaryDirectory() as scratch:
        while time.time() < until:
            with _counting(counted), Store.open(path) as store:
                counted["opened"] += 1
                first, end = state_of(store), time.time() + draw.uniform(0, HELD)
                while time.time() < end:
                    counted["asked"] += 1
                    counted["changed"] += state_of(store) != first
                    time.sleep(draw.uniform(0, 0.05))
                out = Path(scratch) / f"{counted['opened']}.npy"
                export("npy", store, out)
                counted["changed"] += len(np.load(out)) != len(store)
    counted["descriptors"] = descriptors() - before
    return counted


def read_without_lease(path: Path, until: float, seed: int) -> dict[str, int]:
    """Threads ask a Retriever that nobody counts: it may answer from a newer state, from a whole one always."""
    leases.take = lambda *_given: None
    counted, draw, before = _none(), random.Random(seed), descriptors()

    def ask(retriever: Retriever, end: float) -> None:
        while time.time() < end:
            with _counting(counted):
                counted["asked"] += 1
                answers_of(retriever)

    while time.time() < until:
        with _counting(counted), Retriever.open(path, Words()) as retriever:
            counted["opened"] += 1
            end = time.time() + draw.uniform(0, HELD)
            asking = [threading.Thread(target=ask, args=(retriever, end)) for _ in range(3)]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
    counted["descriptors"] = descriptors() - before
    return counted


ROLES: dict[str, Callable[[Path, float, int], dict[str, int]]] = {
    "write": write, "read": read, "read-without-lease": read_without_lease,
}  # fmt: skip


def share(path: Path, until: float, threads: int) -> dict[str, int]:
    """Threads that ask one Retriever, and children forked from among them: until then, or HELD seconds."""
    counted, lock = _none(), threading.Lock()
    with Retriever.open(path, Words()) as retriever:
        counted["opened"] += 1
        first = answers_of(retriever)

        def ask() -> None:
            while time.time() < until:
                with _counting(counted, lock):
                    same = answers_of(retriever) == first
                    with lock:
                        counted["asked"] += 1
                        counted["changed"] += not same

        asking = [threading.Thread(target=ask) for _ in range(threads)]
        for thread in asking:
            thread.start()
        while hasattr(os, "fork") and time.time() < until:
            counted["forked"] += 1
            counted["errors"] += _forked(lambda: answers_of(retriever) == first)
            time.sleep(BETWEEN)
        for thread in asking:
            thread.join()
    return counted


def _forked(ask: Callable[[], bool]) -> bool:
    """Did a child fail to find the same? It is given 20 seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            try:
                code = 0 if ask() else 2
            except BaseException:
                traceback.print_exc()
        os._exit(code)
    end = time.time() + 20
    while time.time() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status != 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    sys.stderr.write("a forked child hangs\n")
    return True


# ---------------------------------------------------------------- all of them together


def _none() -> dict[str, int]:
    return dict.fromkeys(("opened", "asked", "errors", "changed", "forked", "descriptors"), 0)


class _counting:
    """Errors within it are counted, and said on stderr."""

    def __init__(self, counted: dict[str, int], lock: "threading.Lock | None" = None) -> None:
        self._counted, self._lock = counted, lock or threading.Lock()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            with self._lock:
                self._counted["errors"] += 1
            sys.stderr.write("".join(traceback.format_exception(error)[-3:]))
        return isinstance(error, Exception)


def descriptors() -> int:
    """How many files this process has open; 0 where that cannot be known."""
    there = Path("/proc/self/fd")
    return len(list(there.iterdir())) if there.is_dir() else 0


def in_memory() -> "tempfile.TemporaryDirectory[str]":
    """A folder in memory, where there is one: a writer that does not wait for a disk commits more."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def _start(role: str, path: Path, seed: int) -> "subprocess.Popen[str]":
    """A process that is ready to play that role, and waits to be told until when."""
    given = [sys.executable, "-m", "eval.faults.readers", "--role", role, "--index", str(path), "--seed", str(seed)]
    places = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
    return subprocess.Popen(
        given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env={**os.environ, "PYTHONPATH": places}
    )


def _play(role: str, path: Path, seed: int) -> None:
    """What such a process does."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(ROLES[role](path, float(sys.stdin.readline()), seed)))


def _told(other: "subprocess.Popen[str]") -> dict[str, int]:
    """What it counted. One that died is an error."""
    told, _ = other.communicate()
    return json.loads(told) if other.returncode == 0 else {"errors": 1}


def stress(path: Path, seconds: float, readers: int = 8, threads: int = 16, seed: int = 0) -> dict[str, int]:
    """All of them on a new index at `path`, for so many seconds; what was counted, of all together.

    descriptors: that are open after all was closed, and were not before. files: of the index that no writer's next
    opening removes although nobody reads any more.
    """
    other_path = path.with_name("uncounted")  # the leases of others would keep what those without one read
    fill(path)
    fill(other_path)
    roles = [("write", path), ("write", other_path)]
    roles += [("read-without-lease", other_path) if number % 2 else ("read", path) for number in range(readers)]
    others = [_start(role, place, seed + number) for number, (role, place) in enumerate(roles)]
    counted = _none()
    share(path, time.time() + 0.1, 1)  # what is loaded once is loaded now
    before = descriptors()
    for other in others:
        assert other.stdout and other.stdout.readline() == "ready\n", "a process did not start"
    until = time.time() + seconds
    for other in others:
        assert other.stdin, "it is a pipe"
        other.stdin.write(f"{until}\n")
        other.stdin.flush()
    while time.time() < until:
        _add(counted, share(path, min(until, time.time() + 4 * HELD), threads))
    counted["descriptors"] += descriptors() - before
    for other in others:
        _add(counted, _told(other))
    return counted | {"files": _left(path)}


def _left(path: Path) -> int:
    """Files that stay without a reader: more than those of this state and of the one before it, and leases."""
    with Store.open(path, write=True) as store:
        for _ in range(2):  # the first leaves what it replaced
            store.compact()
        kept = {"segments": 2, "derived": len(store.derived.files()), "readers": 0}
        return sum(max(0, len(list((path / name).glob("*"))) - count) for name, count in kept.items())


def _add(counted: dict[str, int], more: dict[str, int]) -> None:
    for name, number in more.items():
        counted[name] = counted.get(name, 0) + number


def main() -> None:
    """Run it, or one process of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    for name in ("--role", "--index"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        _play(given.role, Path(given.index), given.seed)
        return
    with in_memory() as scratch:
        counted = stress(Path(scratch) / "index", given.seconds, given.readers, given.threads, given.seed)
    sys.stdout.write(json.dumps({"seconds": given.seconds, **counted}) + "\n")
    wrong = ("errors", "changed", "descriptors", "files")
    sys.exit(1 if any(counted[name] for name in wrong) else 0)


if __name__ == "__main__":
    main()
