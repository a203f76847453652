"""Exact search on a GPU: queries a second at 1M and 10M x 512, k = 10, as a share of what its memory and cores allow.

    python -m eval.bench.gpu_search          # figures `gpu-1m`, `gpu-10m`: ours, the limit, the share
                                             # `gpu-1m-flat`, `gpu-10m-flat`: beside FAISS's GpuIndexFlat in float16

Rows are bfloat16 on the device, candidates are re-scored in float32 with the same proof as on the CPU
(indexes/certified.py). The limit is 2 N d operations a query at the bfloat16 peak (an H200: 790 TFLOP/s; give another
with MMR_TFLOPS). It has not been run yet: no GPU was at hand.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from eval.bench import figure
from eval.bench.vectors import unit_rows
from indexes import certified

DIM, K, QUERIES, ROUNDS = 512, 10, 10_000, 3
SIZES = {"gpu-1m": 1_000_000, "gpu-10m": 10_000_000}
AIM, FLAT_AIM = 0.58, 5  # of the limit; times FAISS


def main() -> None:
    """The figures."""
    if not torch.cuda.is_available():
        sys.exit("no CUDA device is available here: run this where there is one")
    limit = float(os.environ.get("MMR_TFLOPS", "790")) * 1e12
    queries = unit_rows(QUERIES, DIM, 1)
    for name, count in SIZES.items():
        vectors = unit_rows(count, DIM, 0).astype(np.float16)
        mine = ours(vectors, queries)
        figure(name, mine, [limit / (2 * count * DIM)], "the device's limit", AIM, AIM)
        torch.cuda.empty_cache()  # the device needs the room
        figure(f"{name}-flat", mine, flat(vectors, queries), "faiss GpuIndexFlat, float16", 1, FLAT_AIM)


def ours(rows: np.ndarray, queries: np.ndarray) -> list[float]:
    """Queries a second of ours; its copies on the device are gone afterwards."""
    copies, nothing = certified.Copies(rows), np.empty(0, np.int64)
    certified.search(copies, nothing, queries[:10], K, "cuda")  # makes the copies on the device
    return rates(partial(certified.search, copies, nothing, queries, K, "cuda"))


def flat(rows: np.ndarray, queries: np.ndarray) -> list[float]:
    """Queries a second of FAISS's own exact search on the device."""
    import faiss

    options = faiss.GpuIndexFlatConfig()
    options.useFloat16 = True
    index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), DIM, options)
    for start in range(0, len(rows), 1 << 18):
        index.add(rows[start : start + (1 << 18)].astype(np.float32))
    return rates(lambda: index.search(queries, K))


def rates(search: Callable[[], object]) -> list[float]:
    """Queries a second of ROUNDS."""
    measured = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        search()
        torch.cuda.synchronize()
        measured.append(QUERIES / (time.perf_counter() - started))
    return measured


if __name__ == "__main__":
    main()
