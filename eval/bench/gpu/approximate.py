"""FAISS on the device: lists are learned and rows proposed there (indexes/approximate/gpu.py), beside the CPU."""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from eval.bench.gpu.place import Figure, Place, Skipped
from eval.bench.gpu.searching import K, drawn
from indexes import exact
from indexes.approximate import ann, gpu
from indexes.approximate.recorded import Point
from indexes.segments import Segment


def figures(place: Place) -> Iterator[Figure]:
    """A kind that FAISS has on a GPU, and one that it learns there and searches on the CPU."""
    if place.device == "cuda" and not gpu.is_here():
        raise Skipped("this FAISS sees no GPU: it is faiss-cpu, or of another CUDA")
    count, dim, lists = place.sized((1_000_000, 256, 1024), (3000, 32, 16))
    rows = drawn(place, count, dim, 0)
    segments = [Segment(0, rows, np.empty(0, np.int64))]
    queries = (rows[: place.sized(2000, 50)] + 0.4 * drawn(place, place.sized(2000, 50), dim, 1)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    truth = exact.search(segments, queries, K, place.device).rows
    point = Point(1.0, lists // 8, 100, 1.0, 1.0)
    for spec in (f"IVF{lists},Flat", f"IVF{lists},PQ{dim // 2}x4fsr"):
        started = time.perf_counter()
        built = ann.build(segments, spec, dim, count, device=place.device)
        yield Figure(f"{spec}: built", time.perf_counter() - started, "s")
        for where in dict.fromkeys(("cpu", place.device)):
            search = partial(ann.search, built, point, segments, queries, K, device=where)
            recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(search().rows, truth, strict=True)])
            speed = len(queries) / place.seconds(search)
            yield Figure(f"{spec}: searched, {where}", speed, "queries/s", f"recall@{K} {recall:.3f}")
