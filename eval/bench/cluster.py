"""What many machines cost on one: `mmr index --ray local` beside one process, and search over shards in processes.

    python -m eval.bench.cluster --photos FOLDER     # without --photos: drawn ones
    python -m eval.bench.cluster shards lost         # some of it
    python -m eval.bench.cluster --quick             # 200 photos, 20,000 rows: does everything run?

`overhead`   seconds of a whole `mmr index` of 2,000 photos by one process, over those of `--ray local`, in turns
`shards-N`   milliseconds of a query, p50, of one index in this process, over those of N shards, each in a process of
             Ray Serve's; p99 and how many come in a second when eight ask at once are told beside
`lost`       with two replicas of each of two shards, one is killed: the slowest answer, partial ones, errors

Everything is held to the cores that this machine has: more shards than cores cannot be faster here.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np

from eval.bench import figure, note, say
from eval.bench.indexing import FIRST, make_photos, mmr, model_name
from eval.bench.vectors import unit_rows
from indexes import Record, Store, cpu
from indexes.sharded.opening import open_reader
from retrieval.callbacks import no_message, no_progress
from retrieval.cluster import splitting
from retrieval.cluster.serving import Serving, served

FIGURES = ("overhead", "shards", "lost")
PHOTOS, ROWS, QUICK = 2000, 400_000, 10  # QUICK: times as few
DIM, QUERIES, ASKING = 512, 200, 8
SHARDS = (1, 2, 4, 8)


def seconds(photos: Path, *more: str) -> float:
    """Of a whole `mmr index`."""
    with tempfile.TemporaryDirectory() as folder:
        done = mmr("index", str(photos), "--index", str(Path(folder) / "index"), "--model", model_name(), *more)
        with Store.open(Path(folder) / "index") as store:
            assert len(store) == len(list(photos.iterdir())), more
    note(f"mmr index {' '.join(more)}: {done.seconds:.1f} s, peak {done.peak:.0f} MB")
    return done.seconds


def overhead(photos: Path, rounds: int) -> None:
    """The figure `overhead`; what is made once is made before."""
    alone, over = [], []
    for _ in range(rounds):
        alone.append(seconds(photos))
        over.append(seconds(photos, "--ray", "local"))
    figure("overhead", over, alone, "one process", round(1 / 1.25, 2), round(1 / 1.1, 2), smaller_is_better=True)


def filled(path: Path, rows: int) -> Path:
    """An index of random rows, of an encoder that is never asked."""
    with Store.create(path, DIM, encoder={"name": "none", "fingerprint": "none"}) as store:
        for start in range(0, rows, 100_000):
            count = min(100_000, rows - start)
            names = range(start, start + count)
            store.add(unit_rows(count, DIM, start), [Record(f"{name:09d}", "", {"uri": f"{name}"}) for name in names])
    return path


def asked(search: Callable[[np.ndarray], object], queries: np.ndarray) -> np.ndarray:
    """Milliseconds of each query, one after the other."""
    found = []
    for query in queries:
        started = time.perf_counter()
        search(query[None])
        found.append((time.perf_counter() - started) * 1e3)
    return np.array(found)


def rate(search: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Queries a second, where several ask at once."""
    started = time.perf_counter()
    with ThreadPoolExecutor(ASKING) as pool:
        list(pool.map(lambda query: search(query[None]), queries))
    return len(queries) / (time.perf_counter() - started)


def split(index: Path, into: int, folder: Path) -> Path:
    """Shards of an index."""
    splitting.split(index, into, folder, splitting.Said(_none, no_progress, no_message))
    return folder


def _none(store: Store) -> NoReturn:
    raise AssertionError("there is no approximate index to tune")


def shards(index: Path, folder: Path) -> None:
    """The figures `shards-N`."""
    queries = unit_rows(QUERIES, DIM, 7)
    with open_reader(index) as whole:
        expected = whole.search(queries, 10)
        asked(lambda query: whole.search(query, 10), queries)
        alone = asked(lambda query: whole.search(query, 10), queries)
        told("one index, here", alone, rate(lambda query: whole.search(query, 10), queries))
    for count in SHARDS:
        with served(split(index, count, folder / f"{count}"), "local") as serving:
            store = serving.read(folder / f"{count}")
            found = store.search(queries, 10)
            assert np.array_equal(found.scores, expected.scores), "the answers are those of one index"
            asked(lambda query, store=store: store.view().search(query, 10), queries)  # type: ignore[misc]
            over = asked(lambda query, store=store: store.view().search(query, 10), queries)  # type: ignore[misc]
            several = rate(lambda query, store=store: store.view().search(query, 10), queries)  # type: ignore[misc]
        told(f"{count} shards", over, several)
        figure(f"shards-{count}", over.tolist(), alone.tolist(), "one index", 0, 0, smaller_is_better=True)


def told(what: str, milliseconds: np.ndarray, a_second: float) -> None:
    """What one figure does not say."""
    p50, p99 = np.percentile(milliseconds, [50, 99])
    note(f"{what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms; {a_second:.0f} queries/s where {ASKING} ask at once")


def lost(index: Path, folder: Path) -> None:
    """The figure `lost`, a line of JSON of its own: nothing stands beside it."""
    queries = unit_rows(QUERIES, DIM, 8)
    with served(split(index, 2, folder / "lost"), "local", replicas=2) as serving:
        store = serving.read(folder / "lost")
        _both_alive(serving)
        before = asked(lambda query: store.view().search(query, 10), queries)
        os.kill(_a_replica(), signal.SIGKILL)
        after, partial, errors, ended = [], 0, 0, time.monotonic() + 10
        while time.monotonic() < ended:
            view, started = store.view(), time.perf_counter()
            try:
                view.search(queries[:1], 10)
                partial += view.answered != (2, 2)
            except Exception as error:
                errors += 1
                note(repr(error))
            after.append((time.perf_counter() - started) * 1e3)
    slowest, p99 = max(after), float(np.percentile(before, 99))
    said = {"name": "lost", "answers": len(after), "partial": partial, "errors": errors}
    say(json.dumps(said | {"slowest_ms": round(slowest, 1), "p99_before_ms": round(p99, 1)}))


def _both_alive(serving: Serving) -> None:
    while not all(serving.alive(number) == 2 for number in range(2)):
        time.sleep(0.1)


def _a_replica() -> int:
    """The id of the process of one."""
    processes = [process for process in Path("/proc").iterdir() if process.name.isdigit()]
    return next(int(one.name) for one in processes if b"ServeReplica" in _words(one))


def _words(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def main() -> None:
    """The figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FIGURES)}; all, if none is given")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="of JPEG files of about 0.2 MP")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    names, fewer = given.names or FIGURES, QUICK if given.quick else 1
    if unknown := set(names) - set(FIGURES):
        parser.error(f"no figure {', '.join(unknown)}")
    note(cpu.processor())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "overhead" in names:
            seconds(make_photos(folder / "first", FIRST, given.photos, None))  # what is made once
            overhead(make_photos(folder / "photos", PHOTOS // fewer, given.photos, None), given.rounds)
        if {"shards", "lost"} & set(names):
            index = filled(folder / "index", ROWS // fewer)
        if "shards" in names:
            shards(index, folder)
        if "lost" in names:
            lost(index, folder)


if __name__ == "__main__":
    main()
