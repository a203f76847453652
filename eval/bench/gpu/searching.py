"""Exact search on the device: the same rows as on the CPU, and queries a second as a share of what the device allows.

Rows are bfloat16 there, and candidates are scored again in float32 with the same proof as on the CPU
(indexes/certified.py). A query costs at least 2 N d operations.
"""

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from eval.bench.gpu import device
from eval.bench.gpu.place import Figure, Place
from indexes import certified, exact
from indexes.segments import Segment

K = 10
AT_ONCE = 1 << 18  # rows that are drawn together


def equality(place: Place) -> Iterator[Figure]:
    """Random rows, some of them deleted, some equal, some nearly; the two devices must name the same ones."""
    count, dim = place.sized((200_000, 256), (6000, 32))
    rows = drawn(place, count, dim, 0)
    rows[1000:1100] = rows[:100]  # ties go to the lower row
    rows[2000:2500] = near(rows[5], 500)
    halves, dead = np.split(rows, [count // 2 + 7]), np.arange(3, 2000, 17)
    segments = [Segment(0, halves[0], dead), Segment(len(halves[0]), halves[1], dead)]
    asked = np.concatenate([drawn(place, 990, dim, 1), rows[:10]]).astype(np.float32)
    for some in (1, 32, len(asked)):
        here, there = (exact.search(segments, asked[-some:], K, each) for each in ("cpu", place.device))
        yield Figure(f"{some} queries: answers that differ", float((here.rows != there.rows).sum()), "", most=0)
        worst = np.abs(here.scores - there.scores).max()
        yield Figure(f"{some} queries: their scores", float(worst), "greatest difference", most=1e-6)


def near(row: np.ndarray, count: int) -> np.ndarray:
    """Rows at about a cosine of .999 of one."""
    noise = np.random.default_rng(3).standard_normal((count, len(row)), np.float32) * 0.03 / len(row) ** 0.5
    close = row.astype(np.float32) + noise
    return (close / np.linalg.norm(close, axis=1, keepdims=True)).astype(np.float16)


def drawn(place: Place, count: int, dim: int, seed: int) -> np.ndarray:
    """Random directions, drawn on the device: float16 (count, dim)."""
    rows, generator = np.empty((count, dim), np.float16), place.generator(seed)
    for start in range(0, count, AT_ONCE):
        size = min(AT_ONCE, count - start)
        part = F.normalize(torch.randn(size, dim, device=place.device, generator=generator), dim=1)
        rows[start : start + size] = part.half().cpu().numpy()
    return rows


def one_million(place: Place) -> Iterator[Figure]:
    """1,000,000 rows."""
    return _speed(place, place.sized(1_000_000, 4000))


def ten_million(place: Place) -> Iterator[Figure]:
    """10,000,000 rows."""
    return _speed(place, place.sized(10_000_000, 8000))


def _speed(place: Place, count: int) -> Iterator[Figure]:
    dim, most = place.sized(512, 32), place.sized(10_000, 100)
    rows = drawn(place, count, dim, 0)
    queries = drawn(place, most, dim, 1).astype(np.float32)
    segment, proven = Segment(0, rows, np.empty(0, np.int64)), exact.proven(place.device)

    def search(some: int) -> object:
        return proven(segment, queries[:some], K)

    first = place.seconds(lambda: search(1), 1)  # makes the copies
    _, _, unanswered = certified.search(segment.copies["torch", 0], segment.dead, queries, K, place.device)
    yield Figure("queries that the proof leaves unanswered", float(len(unanswered)), f"of {most}")
    for some in (1, 32, most // 10, most):
        seconds = first if some == 1 else place.seconds(lambda: search(some))  # noqa: B023 - called at once
        yield Figure(f"{some} queries at once", 1000 * seconds, "ms", f"{some / seconds:,.0f} queries/s")
    yield from device.shares(place, 2 * count * dim * most / seconds / 1e12)
    yield from _beside_faiss(place, rows, queries)


def _beside_faiss(place: Place, rows: np.ndarray, queries: np.ndarray) -> Iterator[Figure]:
    """FAISS's own exact search: in float16 on a device, in float32 on the CPU."""
    name, index = f"FAISS Flat, {len(queries)} queries at once", _flat(place, rows.shape[1])
    if isinstance(index, str):
        yield Figure(name, None, "ms", index)
        return
    for start in range(0, len(rows), AT_ONCE):
        index.add(rows[start : start + AT_ONCE].astype(np.float32))
    seconds = place.seconds(lambda: index.search(queries, K))
    yield Figure(name, 1000 * seconds, "ms", f"{len(queries) / seconds:,.0f} queries/s")


def _flat(place: Place, dim: int) -> Any:
    """An empty index of FAISS's, or why there is none."""
    if not importlib.util.find_spec("faiss"):
        return "faiss is not installed"
    import faiss

    from indexes.approximate import gpu

    if place.device == "cpu":
        return faiss.IndexFlatIP(dim)
    if not gpu.is_here():
        return "this FAISS sees no GPU"
    options = faiss.GpuIndexFlatConfig()
    options.useFloat16 = True
    return faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), dim, options)
