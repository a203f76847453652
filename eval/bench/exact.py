"""Queries a second of exact search over 200,000 rows of 512, k = 10, beside usearch and FAISS Flat, in turns.

    python -m eval.bench.exact                    # figures `nq1`, `nq32`, `nq128`, `nq1000`; two threads each
    python -m eval.bench.exact --rows 1000000
    python -m eval.bench.exact --torch            # with torch in the process

Ours is Store.search on a store in a temporary folder. What is made for later searches is made first and not counted;
how long that takes, and the memory of it, is printed. Peers run in a process of their own (.venv-peers/exact) on the
same float16 rows. A figure is beside the better of usearch's float16 and FAISS Flat; the answers must be the rows of
FAISS Flat wherever scores differ by more than float32's noise, or there is no figure. usearch's eight bits, LoRANN
and turbovec are printed with the share of the right rows that they find: the first and last are not exact.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from eval.bench import figure, note
from eval.bench.vectors import unit_rows
from indexes import Record, Store, cpu

DIM, K, THREADS, ROUNDS = 512, 10, 2, 5
FIGURES = {1: (1.2, 1.5), 32: (4, 6), 128: (4, 6), 1000: (1.5, 3)}  # queries at once: floor, goal
EXACT, OTHERS = ("usearch-float16", "faiss-flat"), ("usearch-int8", "lorann", "turbovec")
WARM = 320  # searches before the first figure: rows are rounded once enough were asked
NOISE = 1e-6


class Peers:
    """The peers' process."""

    def __init__(self, folder: Path) -> None:
        python = os.environ.get("MMR_PEERS_EXACT") or ".venv-peers/exact/bin/python"
        if not Path(python).exists():
            sys.exit(f"no peers at {python}: run `make bench`, or set MMR_PEERS_EXACT to their python")
        words = [python, "-m", "eval.bench.exact_peers", str(folder), str(THREADS)]
        threads = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=threads
        )  # fmt: skip

    def ask(self, name: str, count: int) -> tuple[float, np.ndarray] | None:
        """Seconds and rows (count, K); None where there is no such peer, which is noted."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{name} {count}\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        if "missing" in said:
            note(f"{name}: {said['missing']}")
            return None
        return said["seconds"], np.array(said["rows"])

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def check_same(rows: np.ndarray, queries: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> None:
    """End the benchmark where a row differs by more than noise, measured in float64."""
    for line, column in zip(*np.nonzero(ours != theirs), strict=True):
        mine, other = (rows[ids[line, column]].astype(np.float64) @ queries[line] for ids in (ours, theirs))
        if abs(mine - other) > NOISE:
            sys.exit(f"query {line}, rank {column}: row {ours[line, column]} instead of {theirs[line, column]}")


def measure(store: Store, peers: Peers, rows: np.ndarray, queries: np.ndarray) -> None:
    """The figure of so many queries at once."""
    size = len(queries)
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", *EXACT)}
    for _ in range(ROUNDS if size < max(FIGURES) else 2):
        started = time.perf_counter()
        found = store.search(queries, K)
        seconds["ours"].append(time.perf_counter() - started)
        for name in EXACT:
            if answer := peers.ask(name, size):
                seconds[name].append(answer[0])
                if name == "faiss-flat":
                    check_same(rows, queries, found.rows, answer[1])
    best = min((name for name in EXACT if seconds[name]), key=lambda name: statistics.median(seconds[name]))
    note(f"nq{size}: " + ", ".join(f"{name} {statistics.median(s) * 1e3:.1f} ms" for name, s in seconds.items() if s))
    speeds = {name: [size / s for s in taken] for name, taken in seconds.items()}
    figure(f"nq{size}", speeds["ours"], speeds[best], best, *FIGURES[size])
    for name in OTHERS if size <= 128 else ():
        if answer := peers.ask(name, size) and peers.ask(name, size):
            share = np.mean(
                [len({*a} & {*b}) / K for a, b in zip(answer[1].tolist(), found.rows.tolist(), strict=True)]
            )
            note(f"nq{size}: {name} {answer[0] * 1e3:.1f} ms, {share:.1%} of the right rows")


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--torch", action="store_true", help="import torch first")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)  # FAISS's and torch's, which are not imported yet
    if asked.torch:
        import torch

        torch.set_num_threads(THREADS)
    rows, queries = unit_rows(asked.rows, DIM, 0), unit_rows(max(FIGURES), DIM, 1)
    with tempfile.TemporaryDirectory() as name, Store.create(Path(name) / "index", DIM) as store:
        store.add(rows, [Record(str(number)) for number in range(len(rows))])
        rows = rows.astype(np.float16)
        np.save(Path(name) / "rows.npy", rows)
        np.save(Path(name) / "queries.npy", queries)
        started = time.perf_counter()
        for number in range(WARM):
            store.search(queries[:1], K)
            if number in (0, 9):
                note(f"the first {number + 1} single searches {(time.perf_counter() - started) * 1e3:.1f} ms")
        for size in FIGURES:
            store.search(queries[:size], K)
        kept = sum(copies.nbytes for copies in store.segments[0].copies.values())
        note(f"{cpu.kind()}; {WARM} single searches and one of each {time.perf_counter() - started:.2f} s")
        peers = Peers(Path(name))
        for size in FIGURES:
            measure(store, peers, rows, queries[:size])
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        note(f"kept {kept >> 20} MiB; the process at most {most} MiB; torch {'torch' in sys.modules}")
        peers.close()


if __name__ == "__main__":
    main()
