"""Readers beside a writer: each stays on the state that it opened, whatever is added, deleted and compacted meanwhile.

    python -m eval.faults.readers --seconds 60            # exit code 1 where anything went wrong
    python -m eval.faults.readers --seconds 3 --readers 2 --threads 4

One process writes as fast as it can. `readers` processes open the store again and again, and half of those have no
lease, as on read-only media; `threads` threads of this process share one Retriever, and children are forked from among
them. Every item has a vector made from its id and stamp, and one commit gives all items of a group the same stamp: so
each answer can be checked alone, and half of a state shows. What was counted is one JSON line on stdout.
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
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from indexes import Record, Store, filters, leases
from retrieval.datatypes import Picture
from retrieval.encoders.preprocess import Preprocess
from retrieval.indexing.catalog import Identity
from retrieval.retriever import Retriever

DIM, GROUPS, GROUP = 16, 12, 5
HELD = 1.5  # seconds, at most, for which a reader asks one state
BETWEEN = 0.3  # seconds between two forks
LEAST = 10  # commits, however slow the disk is


class Words:
    """An encoder of texts alone: each text is a random direction of its own, the same everywhere."""

    name, dim, fingerprint, preprocess = "words", DIM, "words-1", Preprocess(8)
    lanes, bulk = 1, 32

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (n, DIM), of unit length."""
        drawn = [np.random.default_rng(list(text.encode())).standard_normal(DIM) for text in texts]
        rows = np.array(drawn, np.float32).reshape(len(texts), DIM)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_images(self, images: Sequence[Picture]) -> np.ndarray:
        """There are no pictures here."""
        raise NotImplementedError

    def pool_frames(self, vectors: np.ndarray) -> np.ndarray:
        """Nor clips."""
        raise NotImplementedError


def said(name: str, stamp: str) -> str:
    """The words that give the vector of an item of that stamp."""
    return f"{name} of {stamp}"


def put(store: Store, group: int, stamp: str) -> None:
    """One commit: all items of a group have this stamp from now on."""
    names = [f"{group}/{number}" for number in range(GROUP)]
    fields = {"group": group, "meta": {"stamp": stamp}}
    records = [Record(name, stamp, {"uri": name, "caption": said(name, stamp), **fields}) for name in names]
    store.add(Words().encode_texts([said(name, stamp) for name in names]), records)


def fill(path: Path) -> None:
    """The index before anybody reads it."""
    with Store.create(path, DIM, **Identity.of(Words(), path).entry()) as store:
        for group in range(GROUPS):
            put(store, group, "0")


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


def state_of(store: Store) -> dict[str, object]:
    """All that a store is asked here, checked in itself. Raises AssertionError where it is half of a state."""
    stamps = store.stamps()
    rows = store.rows()
    records = store.records(rows)
    assert {record.id: record.stamp for record in records} == stamps, "records and stamps differ"
    groups: dict[str, list[str]] = {}
    for name, stamp in stamps.items():
        groups.setdefault(name.split("/")[0], []).append(stamp)
    assert all(len(held) == GROUP and len(set(held)) == 1 for held in groups.values()), f"half of a commit: {groups}"
    found = {}
    for exact in (None, 1):
        queries = Words().encode_texts([said(record.id, record.stamp) for record in records])
        best = store.search(queries, 1, recall=exact) if records else None
        found[exact] = [] if best is None else best.rows[:, 0].tolist()
        assert found[exact] == rows.tolist(), "a row is not the nearest to its own vector"
    where = store.rows(filters.parse("group < 3")).tolist()
    return {"stamps": stamps, "rows": rows.tolist(), "where": where, "count": len(store), "bytes": bool(
        store.describe()["bytes"])}  # fmt: skip


def answers_of(retriever: Retriever) -> list[tuple[str, float]]:
    """What a Retriever says to some queries."""
    asked = [retriever.search(f"query {number}", k=4, exact=number % 2 == 0) for number in range(3)]
    asked += [retriever.search("query", k=4, where="group >= 3"), retriever.search("query", k=4, diversity=0.5)]
    asked.append(retriever.captions("query"))
    for hits in asked:
        for hit in hits:
            assert hit.caption == said(hit.id, hit.meta["stamp"]), "an answer is made of two states"
    return [(hit.caption or "", round(hit.score, 3)) for hits in asked for hit in hits]


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
    """Ask a Retriever that nobody counts: it may answer from a newer state, from a whole one always."""
    leases.take = lambda *_given: None
    counted, draw, before = _none(), random.Random(seed), descriptors()
    while time.time() < until:
        with _counting(counted), Retriever.open(path, Words()) as retriever:
            counted["opened"] += 1
            end = time.time() + draw.uniform(0, HELD)
            while time.time() < end:
                counted["asked"] += 1
                answers_of(retriever)
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


def _start(role: str, path: Path, seed: int) -> "subprocess.Popen[str]":
    """A process that is ready to play that role, and waits to be told until when."""
    given = [sys.executable, "-m", "eval.faults.readers", "--role", role, "--index", str(path), "--seed", str(seed)]
    places = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
    return subprocess.Popen(
        given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": places}
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
    fill(path)
    roles = ["write", *("read-without-lease" if number % 2 else "read" for number in range(readers))]
    others = [_start(role, path, seed + number) for number, role in enumerate(roles)]
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
    with tempfile.TemporaryDirectory() as scratch:
        counted = stress(Path(scratch) / "index", given.seconds, given.readers, given.threads, given.seed)
    sys.stdout.write(json.dumps({"seconds": given.seconds, **counted}) + "\n")
    wrong = ("errors", "changed", "descriptors", "files")
    sys.exit(1 if any(counted[name] for name in wrong) else 0)


if __name__ == "__main__":
    main()
