"""The peers of eval/bench/exact.py, in an environment of their own (.venv-peers/exact): asked line by line.

    python -m eval.bench.exact_peers FOLDER THREADS    # FOLDER has rows.npy, float16, and queries.npy, float32

Each line of stdin is `PEER QUERIES`; one of JSON answers: {"seconds", "rows"}, or {"missing": why}. They hold their
rows in memory: usearch as float16 or eight bits, FAISS and LoRANN as float32, turbovec as four bits.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

K = 10
Ask = Callable[[np.ndarray], Any]


def usearch(rows: np.ndarray, threads: int) -> Ask:
    """Its exact search, in the rows' own type."""
    from usearch.index import MetricKind, search

    def asked(queries: np.ndarray) -> Any:
        found = search(rows, as_stored(queries, rows), K, MetricKind.IP, exact=True, threads=threads)
        return np.asarray(found.keys).reshape(len(queries), K)

    return asked


def as_stored(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Queries in the rows' type."""
    return in_eight_bits(queries) if rows.dtype == np.int8 else queries.astype(rows.dtype)


def in_eight_bits(rows: np.ndarray) -> np.ndarray:
    """int8, the greatest number as 127."""
    rows = rows.astype(np.float32)
    return np.rint(rows * (127 / np.abs(rows).max())).astype(np.int8)


def flat(rows: np.ndarray, threads: int) -> Ask:
    """FAISS's IndexFlatIP."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows.astype(np.float32))
    return lambda queries: index.search(queries, K)[1]


def lorann(rows: np.ndarray, threads: int) -> Ask:
    """LoRANN's exact search."""
    from lorann import IP, LorannIndex

    index = LorannIndex(rows.astype(np.float32), 64, 128, distance=IP)
    return lambda queries: index.exact_search(queries, K, n_threads=threads)


def turbovec(rows: np.ndarray, threads: int) -> Ask:
    """TurboQuant of four bits."""
    from turbovec import TurboQuantIndex

    index = TurboQuantIndex(rows.shape[1], 4)
    index.add(rows.astype(np.float32))
    return lambda queries: index.search(queries, K)[1]


PEERS: dict[str, Callable[[np.ndarray, int], Ask]] = {
    "usearch-float16": usearch, "faiss-flat": flat, "usearch-int8": lambda rows, n: usearch(in_eight_bits(rows), n),
    "lorann": lorann, "turbovec": turbovec,
}  # fmt: skip


def main() -> None:
    """Answer until stdin ends."""
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    rows, queries = np.load(folder / "rows.npy"), np.load(folder / "queries.npy")
    made = cache(lambda name: PEERS[name](rows, threads))
    for line in sys.stdin:
        name, count = line.split()
        try:
            asked = made(name)
            started = time.perf_counter()
            found = asked(queries[: int(count)])
            answer = {"seconds": time.perf_counter() - started, "rows": np.asarray(found).tolist()}
        except Exception as error:  # whatever a peer raises: it has no figure, the others have
            answer = {"missing": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
