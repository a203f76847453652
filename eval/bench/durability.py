"""What is left after a crash: the share of crash states in which the last acknowledged version, or the next, is whole.

    python -m eval.bench.durability          # figures `survives-faiss`, `survives-usearch`

Version 1 of 64 vectors is saved and acknowledged, then version 2 in its place, the way each library saves. Every
system call is a point; at each, the states that SIGKILL and a power cut could leave are rebuilt (eval/faults) and
opened in a process of their own. `lost`: nothing opens. `wrong`: it opens, and what it holds is neither version.
Linux on x86-64 only. usearch comes from the peers' environment.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from eval.bench import figure, note, peers_python, say
from eval.bench.vectors import unit_rows
from eval.faults.crashes import crashes, digest, write_files
from eval.faults.syscalls import acknowledge, watch

DIM, COUNT = 16, 64
WHOLE, LOST, WRONG = 0, 10, 11


def version(number: int) -> np.ndarray:
    """The unit rows of a version."""
    return unit_rows(COUNT, DIM, number)


class Library(Protocol):
    """A peer of the benchmark: saves vectors into a folder and loads them again."""

    def save(self, folder: Path, number: int) -> None:
        """Put a version there, in place of the one that is."""
        ...

    def load(self, folder: Path) -> np.ndarray:
        """The vectors that are there, (n, DIM). Raises where there are none, or they cannot be read."""
        ...


class Mmr:
    """Store.add, twice under the same ids."""

    def save(self, folder: Path, number: int) -> None:
        """Each vector under its number, the version as its stamp."""
        from indexes import Record, Store

        records = [Record(str(i), str(number)) for i in range(COUNT)]
        path = folder / "index"
        with Store.open(path, write=True) if path.exists() else Store.create(path, DIM) as store:
            store.add(version(number), records)

    def load(self, folder: Path) -> np.ndarray:
        """The vectors of every segment."""
        from indexes import Store

        with Store.open(folder / "index") as store:
            if len(store) == 0:
                raise FileNotFoundError
            return np.concatenate([rows for segment in store.segments for _, rows in segment.blocks()])


class Faiss:
    """faiss.write_index to the same path."""

    def save(self, folder: Path, number: int) -> None:
        """A flat index to a file."""
        import faiss

        index = faiss.IndexFlatIP(DIM)
        index.add(version(number))
        faiss.write_index(index, str(folder / "index.faiss"))

    def load(self, folder: Path) -> np.ndarray:
        """The vectors that the file holds."""
        import faiss

        index = faiss.read_index(str(folder / "index.faiss"))
        return index.reconstruct_n(0, index.ntotal)


class Usearch:
    """Index.save to the same path."""

    def save(self, folder: Path, number: int) -> None:
        """Keys from 0 to a file."""
        from usearch.index import Index

        index = Index(ndim=DIM, metric="ip", dtype="f32")
        index.add(np.arange(COUNT), version(number), threads=1)
        index.save(str(folder / "index.usearch"))

    def load(self, folder: Path) -> np.ndarray:
        """The vectors that the file holds."""
        from usearch.index import Index

        index = Index.restore(str(folder / "index.usearch"))
        if index is None:
            raise FileNotFoundError
        return np.asarray(index.get(np.arange(len(index))))


LIBRARIES: dict[str, type[Library]] = {"mmr": Mmr, "faiss": Faiss, "usearch": Usearch}


def outcomes(library: Library) -> dict[str, int]:
    """How many crash states are whole, lost or wrong."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as scratch:
        root = Path(scratch) / "live"
        root.mkdir()

        def work() -> None:
            for number in (1, 2):
                library.save(root, number)
                acknowledge()

        calls = watch(work, root).calls
        seen: dict[tuple[str, int], int] = {}
        count: Counter[int] = Counter()
        for number, crash in enumerate(crashes({}, calls)):
            key = (digest(crash.files), crash.acknowledged)
            if key not in seen:
                folder = Path(scratch) / str(number)
                write_files(folder, crash.files)
                seen[key] = in_child(partial(judge, library, folder, crash.acknowledged))
            count[seen[key]] += 1
    return {
        "states": sum(count.values()), "whole": count[WHOLE], "lost": count[LOST],
        "wrong": sum(n for code, n in count.items() if code not in (WHOLE, LOST)),
    }  # fmt: skip


def judge(library: Library, folder: Path, acknowledged: int) -> int:
    """WHOLE where one of the allowed versions is there; before the first promise nothing need be."""
    allowed = [version(number).astype(np.float16) for number in (acknowledged, acknowledged + 1) if 0 < number < 3]
    try:
        held = library.load(folder).astype(np.float16)
    except BaseException:
        return LOST if acknowledged else WHOLE
    return WHOLE if any(np.array_equal(held, rows) for rows in allowed) else WRONG


def in_child(work: Callable[[], int]) -> int:
    """The exit status of work in a forked child: a file that takes the process down takes this one."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """The figures; or, with a library's name, its counts alone."""
    if len(sys.argv) > 1:
        say(json.dumps(outcomes(LIBRARIES[sys.argv[1]]())))
        return
    ours = outcomes(Mmr())
    note(f"mmr: {ours}")
    for name in ("faiss", "usearch"):
        python = peers_python() if name == "usearch" else sys.executable
        run = subprocess.run(
            [python, "-m", "eval.bench.durability", name], capture_output=True, encoding="utf-8", check=True
        )
        theirs = json.loads(run.stdout.splitlines()[-1])
        note(f"{name}: {theirs}")
        share = [counts["whole"] / counts["states"] for counts in (ours, theirs)]
        figure(f"survives-{name}", [share[0]], [share[1]], name, 1, 1)


if __name__ == "__main__":
    main()
