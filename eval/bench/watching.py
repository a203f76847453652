"""Seconds from a file's last write until it is in the index of `mmr watch`, a process of its own over drawn pictures.

    python -m eval.bench.watching                # a folder of 1,000 pictures, `builtin`: two minutes
    python -m eval.bench.watching --files 10000

`one`: a new file at a time. `grows`: one that is written in ten parts over a second. `burst`: a hundred files, until
the last of them is there. Medians and the worst of all rounds; the index is looked at every 10 ms.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from eval.bench import say
from indexes import Store, StoreError
from retrieval.sources.picturebook import Scene

FILES, ROUNDS, BURST, PARTS, GOAL = 1000, 20, 100, 10, 2.0
SIDE, LONGEST = 96, 1800  # pixels; seconds


def drawn(number: int) -> bytes:
    """A scene as the bytes of a JPEG."""
    file = io.BytesIO()
    Scene.make(number).draw(SIDE).save(file, "JPEG")
    return file.getvalue()


def held(index: Path) -> set[str]:
    """The names of what is in an index; nothing while there is none."""
    with suppress(StoreError, OSError), Store.open(index) as store:
        return set(store.stamps())
    return set()


@contextmanager
def watched(root: Path, index: Path, model: str) -> Iterator[None]:
    """`mmr watch` until the end, once all that is there is indexed."""
    command = [sys.executable, "-m", "cli.main", "watch", str(root), "--index", str(index), "--model", model]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(index, {path.name for path in root.iterdir()})
        yield
    finally:
        process.terminate()
        process.wait()


def until(index: Path, names: set[str]) -> float:
    """Seconds until an index has all of these. Raises TimeoutError."""
    began = time.perf_counter()
    while not names <= held(index):
        if time.perf_counter() - began > LONGEST:
            raise TimeoutError(f"{index} has not all of {len(names)} files after {LONGEST} s")
        time.sleep(0.01)
    return time.perf_counter() - began


def seconds_of(root: Path, index: Path, names: Sequence[str], parts: int = 1) -> float:
    """Write these files, each in so many parts: the seconds from the last write until the index has them."""
    contents = {name: drawn(crc32(name.encode()) % 10**6) for name in names}
    for name, content in contents.items():
        with (root / name).open("wb") as file:
            for part in range(parts):
                time.sleep(0.1 * (part > 0))
                file.write(content[part * len(content) // parts : (part + 1) * len(content) // parts])
                file.flush()
    return until(index, set(names))


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--model", default="builtin")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, index = Path(folder) / "photos", Path(folder) / "photos.mmr"
        root.mkdir()
        for number in range(given.files):
            (root / f"{number:06d}.jpg").write_bytes(drawn(number))
        with watched(root, index, given.model):
            for name, count, parts, rounds in (("one", 1, 1, ROUNDS), ("grows", 1, PARTS, 5), ("burst", BURST, 1, 5)):
                took = [
                    seconds_of(root, index, [f"{name} {turn} {file}.jpg" for file in range(count)], parts)
                    for turn in range(rounds)
                ]
                line = {"name": f"watching, {name}", "ours": round(statistics.median(took), 2), "goal": GOAL}
                say(json.dumps(line | {"worst": round(max(took), 2), "files": given.files}))


if __name__ == "__main__":
    main()
