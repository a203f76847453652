"""Queries a second of exact search over 1,000,000 rows of 512, k = 10, beside faiss.IndexFlatIP, in turns.

    python -m eval.bench.exact               # figures `nq1`, `nq32`, `nq128`, `nq1000`; two threads each
    python -m eval.bench.exact --rows 200000

Ours is Store.search on a store in a temporary folder; the first search, which makes the low-precision copies, is not
counted (it is printed). The peer holds the same float16 rows as float32. The answers must be the same rows wherever
scores differ by more than float32's noise, or there is no figure.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import faiss
import numpy as np
import torch

from eval.bench import figure, note
from eval.bench.vectors import flat, nearest, unit_rows
from indexes import Record, Store

DIM, K, THREADS, ROUNDS = 512, 10, 2, 5
FIGURES = {1: (2, 3.3), 32: (10, 18), 128: (20, 40), 1000: (2, 4)}  # queries at once: floor, goal
NOISE = 1e-6
Found = TypeVar("Found")


def timed(search: Callable[[], Found]) -> tuple[float, Found]:
    """Seconds, and what it gave."""
    started = time.perf_counter()
    result = search()
    return time.perf_counter() - started, result


def check_same(rows: np.ndarray, queries: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> None:
    """End the benchmark where a row differs by more than noise, measured in float64."""
    for line, column in zip(*np.nonzero(ours != theirs), strict=True):
        mine, other = (rows[ids[line, column]].astype(np.float64) @ queries[line] for ids in (ours, theirs))
        if abs(mine - other) > NOISE:
            sys.exit(f"query {line}, rank {column}: row {ours[line, column]} instead of {theirs[line, column]}")


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    count = parser.parse_args().rows
    torch.set_num_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)
    rows, queries = unit_rows(count, DIM, 0), unit_rows(max(FIGURES), DIM, 1)
    with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "index", DIM) as store:
        store.add(rows, [Record(str(number)) for number in range(count)])
        rows = rows.astype(np.float16)
        whole = flat(rows.astype(np.float32))
        for size, (floor, goal) in FIGURES.items():
            asked = queries[:size]
            first, _ = timed(partial(store.search, asked, K))
            note(f"nq{size}: first search {first:.2f} s")
            seconds, theirs = [], []
            for _ in range(ROUNDS):
                taken, found = timed(partial(store.search, asked, K))
                seconds.append(taken)
                taken, ids = timed(partial(nearest, whole, asked, K))
                theirs.append(taken)
                check_same(rows, asked, found.rows, ids)
            figure(
                f"nq{size}", [size / s for s in seconds], [size / s for s in theirs], "faiss.IndexFlatIP", floor, goal
            )


if __name__ == "__main__":
    main()
