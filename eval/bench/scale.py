"""What the cost model of eval/scale.py is made of, measured here: commits, bytes, a scan, memory of a list, encoding.

    python -m eval.bench.scale                            # 1,000,000 rows of 512; some five minutes
    python -m eval.bench.scale --rows 200000 --only commit,scan
    python -m eval.bench.scale --only encode --photos FOLDER

A JSON line a figure: {"name", "value", "unit", ...}; medians of ROUNDS runs where a run is short. One thread, for the
model multiplies by cores. Rows are random directions: speed and bytes do not depend on them. Records are as those of a
folder of pictures with a caption each.
"""

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.bench import note, say
from eval.bench.vectors import unit_rows
from indexes import Record, Store, cpu
from retrieval.datatypes import Item
from retrieval.indexing.cards import Card
from retrieval.indexing.line import Made
from retrieval.indexing.update import update

DIM, K, ROUNDS, COMMIT = 512, 10, 5, 20_000  # COMMIT: rows, as update() commits them
LISTED, COMPACTED = 200_000, 100_000
WARM = 320  # searches after which the rounded rows are there
PARTS = ("commit", "scan", "scattered", "compact", "list", "encode")
CAPTION = "a brown dog runs over the wet sand of a beach in the evening"


def shown(name: str, value: float, unit: str, **more: object) -> None:
    """Print one figure."""
    say(json.dumps({"name": name, "value": float(f"{value:.4g}"), "unit": unit, **more}))


def uri(number: int) -> str:
    """The name of a picture, below a folder of a thousand."""
    return f"2024/{number // 1000:05d}/IMG_{number:08d}.jpg"


def hashed(number: int) -> str:
    """The same below a hash, as names of fetched pictures are: each lands anywhere among the names before."""
    return f"{hashlib.sha256(str(number).encode()).hexdigest()[:32]}.jpg"


def record(number: int, named: Callable[[int], str] = uri) -> Record:
    """What is kept of a picture in a folder."""
    meta = {"folder": f"2024/{number // 1000:05d}", "size": 200_000 + number, "modified": "2024-06-01T12:00:00Z"}
    file = {"width": 1024, "height": 768}
    card = Card(named(number), (CAPTION,), meta, f"{number:032x}", file_fields=file)
    return card.record(named(number), f"{200_000 + number}:1717243200000000000")


# ---------------------------------------------------------------- a store that grows


def fill(store: Store, rows: int, named: Callable[[int], str] = uri) -> list[float]:
    """Commit so many rows, COMMIT at a time; the seconds of each commit."""
    taken = []
    block = unit_rows(COMMIT, DIM, 0)
    for start in range(0, rows, COMMIT):
        count = min(COMMIT, rows - start)
        records = [record(number, named) for number in range(start, start + count)]
        began = time.perf_counter()
        store.add(np.roll(block[:count], start, axis=1), records)
        taken.append(time.perf_counter() - began)
    return taken


def commit(store: Store, rows: int, named: Callable[[int], str] = uri) -> None:
    """Rows a second of the first commits and of the last, and bytes on disk of a row."""
    taken, kind = fill(store, rows, named), "" if named is uri else "_scattered"
    for name, some in (("first", taken[:ROUNDS]), ("last", taken[-ROUNDS:])):
        speed = min(COMMIT, rows) / statistics.median(some)
        shown(f"commit{kind}_{name}", speed, "rows/s", rows=rows, each=COMMIT)
    shown("record_bytes", (store.path / "mmr.db").stat().st_size / rows, "bytes/row", rows=rows)
    segments = sum(file.stat().st_size for file in (store.path / "segments").iterdir())
    shown("vector_bytes", segments / rows, "bytes/row", dim=DIM)


def scan(store: Store, rows: int) -> None:
    """Milliseconds of one query among a million rows, by the stored rows and by those rounded in memory."""
    queries = unit_rows(WARM, DIM, 1)

    def once(number: int) -> float:
        began = time.perf_counter()
        store.search(queries[number : number + 1], K)
        return (time.perf_counter() - began) * 1e3

    times = [once(number) for number in range(WARM)]
    warm = statistics.median(times[-ROUNDS:])
    kept = sum(copy.nbytes for segment in store.segments for copy in segment.copies.values())
    shown("scan_rounded", warm * 1e6 / rows, "ms/query/million rows", rows=rows, segments=len(store.segments))
    shown("scan_rounded_kept", kept / rows, "bytes/row")
    shown("scan_speed", (kept or rows * DIM * 2) / warm / 1e6, "GB/s", threads=1)


def compact(folder: Path) -> None:
    """Rows a second of a compaction, and the most memory it takes, which does not grow with the rows."""
    with Store.create(folder / "compacted", DIM) as store:
        fill(store, COMPACTED)
        began = time.perf_counter()
        store.compact()
        shown("compact", COMPACTED / (time.perf_counter() - began), "rows/s", rows=COMPACTED)
        shown("compact_memory", peak(store.compact), "bytes", rows=COMPACTED)


def peak(work: Callable[[], Any]) -> int:
    """The most bytes that Python and NumPy hold during `work`, beyond what they held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- a source that is listed


class _Listed(Exception):
    """The source was listed: this is where a benchmark ends."""


class _Line:
    """In place of what encodes: the list is whole when it is called."""

    together = 32

    def __call__(self, items: Sequence[Item], ocr: bool = False) -> Iterator[Made]:
        """End the benchmark."""
        raise _Listed


def items(root: Path, count: int) -> Iterator[Item]:
    """Items as a folder with texts beside its pictures gives them."""
    for number in range(count):
        said = record(number)
        yield Item(said.id, said.id, root / said.id, (f"{CAPTION} {number}",), said.stamp, said.fields["meta"])


def listed(folder: Path) -> None:
    """Bytes of an item in what indexing.update keeps of a source while it encodes: all are new."""
    with Store.create(folder / "listed", DIM) as store:
        tracemalloc.start()
        try:
            update(store, items(folder, LISTED), _Line())
        except _Listed:
            shown("listed_item", tracemalloc.get_traced_memory()[0] / LISTED, "bytes/item", items=LISTED)
        finally:
            tracemalloc.stop()


# ---------------------------------------------------------------- encoding


def encoded(photos: Path, name: str, count: int) -> None:
    """Pictures a second of one process, decoding included, as `mmr index` encodes them."""
    from retrieval import open_items
    from retrieval.encoders.bulk import load_for_bulk
    from retrieval.encoders.encoding import encode

    encoder = load_for_bulk(name, on_message=note)
    some = [item for _, item in zip(range(count), open_items(str(photos)), strict=False)]
    if not some:
        note(f"{photos} has no pictures: give --photos FOLDER")
        return
    next(encode(some[:32], encoder))
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        done = sum(len(batch.vectors) for batch in encode(some, encoder))
        taken.append(done / (time.perf_counter() - began))
    shown("encode", statistics.median(taken), "pictures/s", encoder=name, pictures=done, lanes=encoder.lanes)


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--encoder", default="builtin")
    parser.add_argument("--pictures", type=int, default=200)
    asked = parser.parse_args()
    parts = asked.only.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]}: give some of {','.join(PARTS)}")
    say(
        json.dumps({"name": "processor", "value": cpu.processor(), "threads": os.environ.get("OMP_NUM_THREADS", "all")})
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "commit" in parts or "scan" in parts:
            with Store.create(folder / "index", DIM) as store:
                commit(store, asked.rows)
                if "scan" in parts:
                    scan(store, asked.rows)
        if "scattered" in parts:
            with Store.create(folder / "scattered", DIM) as store:
                commit(store, asked.rows, hashed)
        if "compact" in parts:
            compact(folder)
        if "list" in parts:
            listed(folder)
    if "encode" in parts:
        encoded(asked.photos, asked.encoder, asked.pictures)


if __name__ == "__main__":
    main()
