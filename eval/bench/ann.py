"""Approximate search on real words: beside hnswlib, usearch, FAISS HNSW32, FAISS IVF-PQ fast-scan + refine, autofaiss.

    python -m eval.bench.crossmodal RUN CAPTIONS.csv        # once
    python -m eval.bench.ann                                # figures below
    python -m eval.bench.ann --made                         # the same on `crossmodal --made`
    python -m eval.bench.ann --quick                        # 50,000 rows: does everything run?

`qps@0.95`    queries a second at a text recall@10 of 0.95, beside the best peer; `qps-autofaiss`: at its own recall
`memory`      bytes of hot data (HNSW32's over ours)
`build`       seconds until it can be searched at a recall (HNSW32's over ours, choosing and tuning included, while its
              own efSearch is not counted); `build-alone`: training and adding, the same work on both sides
`open`        seconds to open and answer one query, beside faiss.read_index of the Flat index
`delivered`   the largest |recall asked - recall on held-out words| at 0.90, 0.95, 0.99 (peer: the tolerance, 0.01)

Everyone is tuned on the same captions and measured on others, two threads each, in processes of their own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import faiss

from eval.bench import figure, note, peers_python, say
from eval.bench.vectors import flat, nearest, parameters, save

K, THREADS, ROUNDS, BUILDS = 10, 2, 5, 3
ASKED = (0.90, 0.95, 0.99)
EFFORTS = [round(2 ** (power / 4)) for power in range(8, 45)]


# ---------------------------------------------------------------- the peers: name -> (rows) -> (search, bytes)

Search = Callable[[np.ndarray, int], np.ndarray]  # (queries, effort) -> ids (q, K)


def hnswlib(rows: np.ndarray) -> tuple[Search, float]:
    """M = 16 (32 links on the ground), ef_construction = 200."""
    import hnswlib

    index = hnswlib.Index("ip", rows.shape[1])
    index.init_index(len(rows), M=16, ef_construction=200)
    index.set_num_threads(THREADS)
    index.add_items(rows)

    def search(queries: np.ndarray, effort: int) -> np.ndarray:
        index.set_ef(max(K, effort))
        return index.knn_query(queries, K)[0].astype(np.int64)

    return search, index.index_file_size()


def usearch(rows: np.ndarray) -> tuple[Search, float]:
    """connectivity 16, expansion_add 128, float16 inside."""
    from usearch.index import Index

    index = Index(ndim=rows.shape[1], metric="ip", dtype="f16", connectivity=16)
    index.add(np.arange(len(rows)), rows, threads=THREADS)

    def search(queries: np.ndarray, effort: int) -> np.ndarray:
        index.expansion_search = effort
        return index.search(queries, K, threads=THREADS).keys.astype(np.int64)

    return search, index.memory_usage


def faiss_hnsw32(rows: np.ndarray) -> tuple[Search, float]:
    """HNSW32,Flat with efConstruction 40, FAISS's default."""
    import faiss

    index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(rows)
    return _graph(index), _size(index)


def faiss_ivfpq(rows: np.ndarray, lists_a_root: float = 2, k_factor: int = 8) -> tuple[Search, float]:
    """IVF + PQ x4 fast-scan, re-ranked by FAISS's own refine from float16 (VIBE's best FAISS entry).

    lists_a_root: lists for each square root of the rows. k_factor: rows re-ranked for each one asked for.
    """
    import faiss

    dim = rows.shape[1]
    lists = 2 ** round(np.log2(lists_a_root * np.sqrt(len(rows))))
    index = faiss.index_factory(dim, f"IVF{lists},PQ{dim // 2}x4fsr,Refine(SQfp16)", faiss.METRIC_INNER_PRODUCT)
    index.train(rows[:: max(1, len(rows) // (64 * lists))])
    index.add(rows)

    def search(queries: np.ndarray, effort: int) -> np.ndarray:
        inside = parameters("SearchParametersIVF", nprobe=min(effort, lists))
        whole = parameters("IndexRefineSearchParameters", k_factor=k_factor, base_index_params=inside)
        return nearest(index, queries, K, whole)

    return search, _size(index)


def autofaiss(rows: np.ndarray) -> tuple[Search, float]:
    """The index and the effort that autofaiss itself chooses; `effort` is ignored."""
    import faiss
    from autofaiss import build_index

    index, _ = build_index(rows, save_on_disk=False, metric_type="ip", nb_cores=THREADS, verbose=40)
    return lambda queries, effort: nearest(index, queries, K), _size(faiss.downcast_index(index))


PEERS: dict[str, Callable[[np.ndarray], tuple[Search, float]]] = {
    "hnswlib": hnswlib, "usearch": usearch, "faiss HNSW32": faiss_hnsw32, "faiss IVFPQfs": faiss_ivfpq,
    "faiss IVFPQfs, k_factor 4": partial(faiss_ivfpq, k_factor=4),
    "faiss IVFPQfs, k_factor 16": partial(faiss_ivfpq, k_factor=16),
    "faiss IVFPQfs, twice the lists": partial(faiss_ivfpq, lists_a_root=4), "autofaiss": autofaiss,
}  # fmt: skip
_IN_PEERS = ("hnswlib", "usearch", "autofaiss")


def _graph(index: "faiss.IndexHNSWFlat") -> Search:
    def search(queries: np.ndarray, effort: int) -> np.ndarray:
        return nearest(index, queries, K, parameters("SearchParametersHNSW", efSearch=effort))

    return search


def _size(index: "faiss.Index") -> float:
    import faiss

    return len(faiss.serialize_index(index))


# ---------------------------------------------------------------- measuring


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """The mean share of the true ten that was found."""
    return float((truth[:, :, None] == found[:, None, :]).any(2).mean())


def per_second(search: Callable[[], object], count: int) -> float:
    """The median of ROUNDS."""
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        search()
        rates.append(count / (time.perf_counter() - started))
    return float(np.median(rates))


def measure(search: Search, data: dict[str, np.ndarray], efforts: Iterator[int]) -> dict[float, dict[str, float]]:
    """recall asked -> {effort, qps, recall on held-out words}: the least effort that reaches it on the tuning words."""
    points: dict[float, dict[str, float]] = {}
    left = list(ASKED)
    for effort in efforts:
        reached = recall(search(data["tune"], effort), data["tune_truth"])
        while left and reached >= left[0]:
            asked = left.pop(0)
            held_out = recall(search(data["test"], effort), data["test_truth"])
            qps = per_second(partial(search, data["test"], effort), len(data["test"]))
            points[asked] = {"effort": effort, "qps": qps, "recall": held_out}
        if not left:
            break
    return points


def peer(name: str, file: str) -> dict[str, Any]:
    """Build, tune and measure a peer; called in a process of its own."""
    with np.load(file) as kept:
        data = {key: kept[key] for key in kept.files}
    rows = data["rows"].astype(np.float32)
    seconds = []
    for _ in range(BUILDS if name == "faiss HNSW32" else 1):
        started = time.perf_counter()
        search, size = PEERS[name](rows)
        seconds.append(time.perf_counter() - started)
    if name == "autofaiss":
        found = search(data["test"], 0)
        qps = per_second(lambda: search(data["test"], 0), len(data["test"]))
        return {"build": seconds, "bytes": size, "recall": recall(found, data["test_truth"]), "qps": qps}
    return {"build": seconds, "bytes": size, "points": measure(search, data, iter(EFFORTS))}


def run_peer(name: str, file: Path) -> dict[str, Any] | None:
    """What `peer` says in the right environment; None, with the reason on stderr, where it fails."""
    python = peers_python() if name in _IN_PEERS else sys.executable
    command = [python, "-m", "eval.bench.ann", "--peer", name, "--data", str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=environment)
    if run.returncode:
        note(f"{name} failed: {run.stderr.strip().splitlines()[-1]}")
        return None
    result = json.loads(run.stdout.splitlines()[-1])
    note(f"{name}: {result}")
    return result


def ours(data: dict[str, np.ndarray], folder: Path) -> dict[str, Any]:
    """Build through the store, open again, and measure each promised point on held-out words."""
    from indexes import Record, Store

    rows = data["rows"].astype(np.float32)
    dim = rows.shape[1]
    with Store.create(folder / "index", dim) as store:
        store.add(rows / np.linalg.norm(rows, axis=1, keepdims=True), [Record(str(i)) for i in range(len(rows))])
    whole, alone = zip(*(build(folder / "index", data["tune"]) for _ in range(BUILDS)), strict=True)
    started = time.perf_counter()
    store = Store.open(folder / "index")
    store.search(data["test"][:1], K)
    opened = time.perf_counter() - started
    points = {}
    for asked in (*ASKED, 0.0):
        search = partial(store.search, data["test"], K, recall=asked)
        points[asked] = {
            "recall": recall(search().rows, data["test_truth"]),
            "qps": per_second(search, len(data["test"])),
        }
    (file,) = (folder / "index" / "derived").iterdir()
    recorded = store.derived.recorded
    assert recorded is not None  # `build` set it
    return {
        "build": whole, "alone": alone, "open": opened, "bytes": file.stat().st_size, "points": points,
        "store": store, "spec": recorded.spec,
    }  # fmt: skip


def build(path: Path, words: np.ndarray) -> tuple[float, float]:
    """Seconds to choose, build, tune and commit, with nothing kept from before; of the building alone, once more."""
    import torch  # noqa: F401 - whoever indexes has encoded with it: its threads are there when FAISS runs

    from indexes import Store
    from indexes.approximate import ann, tune

    def told(text: str) -> None:
        note(f"ours: {text}")

    with Store.open(path, write=True) as store:
        rows, memory = len(store), (4 * store.dim + 272) / 8 * len(store)
        started = time.perf_counter()
        built = tune.choose(store.segments, words, store.dim, rows, 0.95, memory, say=told)
        store.set_approximate(built, 0.95)
        chosen = time.perf_counter()
        ann.build(store.segments, built.spec, store.dim, rows, words[tune.LEARNED])
    return chosen - started, time.perf_counter() - chosen


def open_flat(rows: np.ndarray, query: np.ndarray, folder: Path) -> float:
    """Seconds of faiss.read_index and one query, from a warm page cache."""
    import faiss

    index = flat(rows)
    file = str(folder / "flat.faiss")
    faiss.write_index(index, file)
    started = time.perf_counter()
    faiss.read_index(file).search(query, K)
    return time.perf_counter() - started


def prepare(name: str, quick: bool) -> dict[str, np.ndarray]:
    """The vectors with the exact answers to the words."""
    import faiss

    from eval.bench import crossmodal  # late: the peers' environments have none of ours

    data = crossmodal.load(name)
    if quick:
        data["rows"] = data["rows"][:50_000]
    faiss.omp_set_num_threads(THREADS)
    exact = flat(data["rows"].astype(np.float32))
    return data | {f"{kind}_truth": nearest(exact, data[kind], K) for kind in ("tune", "test")}


def main() -> None:
    """The figures; or, with --peer, one peer's numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--made", action="store_true")
    parser.add_argument("--only", default="", help="peers whose names begin like this")
    parser.add_argument("--peer", choices=PEERS)
    parser.add_argument("--data")
    asked = parser.parse_args()
    if asked.peer:
        say(json.dumps(peer(asked.peer, asked.data)))
        return
    data = prepare("made" if asked.made else "crossmodal", asked.quick)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        save(file, data)
        others = {name: result for name in PEERS if name.startswith(asked.only) and (result := run_peer(name, file))}
        mine = ours(data, Path(folder))
        opened = open_flat(data["rows"].astype(np.float32), data["test"][:1], Path(folder))
        report(mine, others, opened)
        mine["store"].close()


def report(mine: dict[str, Any], others: dict[str, dict[str, Any]], opened: float) -> None:
    """The figures of the module's docstring. opened: seconds until a Flat index of FAISS's has answered a query."""
    note(f"ours: {mine['spec']} {mine['points']}")
    own = others.pop("autofaiss", None)
    best = max(others, key=lambda name: others[name]["points"].get("0.95", {"qps": 0})["qps"])
    qps = mine["points"][0.95]["qps"]
    figure("qps@0.95", [qps], [others[best]["points"]["0.95"]["qps"]], best, 1.15, 1.6)
    if own:
        reached = next((asked for asked in ASKED if asked >= own["recall"]), 0.99)
        figure("qps-autofaiss", [mine["points"][reached]["qps"]], [own["qps"]], "autofaiss", 3, 3)
    if graph := others.get("faiss HNSW32"):
        figure("memory", [mine["bytes"]], [graph["bytes"]], "faiss HNSW32", 8, 8, smaller_is_better=True)
        figure("build", mine["build"], graph["build"], "faiss HNSW32", 8, 8, smaller_is_better=True)
        figure("build-alone", mine["alone"], graph["build"], "faiss HNSW32", 8, 8, smaller_is_better=True)
    figure("open", [mine["open"]], [opened], "faiss.read_index of Flat", 5, 5, smaller_is_better=True)
    off = max(abs(asked - mine["points"][asked]["recall"]) for asked in ASKED)
    figure("delivered", [off], [0.01], "tolerance", 1, 1, smaller_is_better=True)


if __name__ == "__main__":
    main()
