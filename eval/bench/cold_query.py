"""Seconds of a cold `mmr search "a dog"`, the whole process, beside `rclip --no-indexing "a dog"`, in turns.

    python -m eval.bench.cold_query              # figures `400`, `400-memory`, `200k`, `200k-memory`
    python -m eval.bench.cold_query 400 --quick  # three rounds: does everything run?

Both hold the same random unit vectors under the same paths: rclip's written by its own class into its database, ours as
`mmr index` leaves them, approximate index included (a while to build at 200,000). Both have the same random weights of
ViT-B-32-256 (indexing.py says how) and the same two cores. `-memory` is the most that the process held at once, in MB.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from eval.bench import figure, note, say
from eval.bench.indexing import Finished, in_ours, mmr, model_name, peer, rclip_home, run
from eval.bench.vectors import unit_rows

DIM, K, ROUNDS, QUERY = 512, 10, 7, "a dog"
FIGURES = {"400": (400, 1.5, 2.5), "200k": (200_000, 3, 6)}  # pictures, floor, goal

_FILL_RCLIP = """
import sys
import numpy as np
from rclip.db import DB
names, vectors = open(sys.argv[2], encoding="utf-8").read().split("\\n"), np.load(sys.argv[3])
database = DB(sys.argv[1])
for number, (name, vector) in enumerate(zip(names, vectors, strict=True)):
    image = {"filepath": name, "modified_at": 1.7e9 + number, "size": 60_000 + number, "hash": f"{number:064x}"}
    database.upsert_image(image | {"vector": vector.tobytes()}, commit=False)
database.close()
"""


# ---------------------------------------------------------------- the collections


def lay_out(folder: Path, count: int) -> Path:
    """The photos, which are empty files that nobody reads, in the folder that is returned; vectors.npy and paths."""
    photos = folder / "photos"
    photos.mkdir()
    paths = [str(photos / f"{number // 1000:03d}" / f"{number:06d}.jpg") for number in range(count)]
    for path in paths:
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).touch()
    (folder / "paths").write_text("\n".join(paths), "utf-8")
    np.save(folder / "vectors.npy", unit_rows(count, DIM, 0))
    return photos


def fill(folder: Path, count: int) -> Path:
    """Both collections in `folder`, over the folder of photos that is returned."""
    photos = lay_out(folder, count)
    database = rclip_home(folder / "rclip") / "db.sqlite3"
    given = [str(folder / "paths"), str(folder / "vectors.npy")]
    run([peer("rclip", "python"), "-c", _FILL_RCLIP, str(database), *given], folder)
    done = in_ours("eval.bench.cold_query", "--fill", str(folder), "--model", model_name())
    note(f"mmr's collection of {count}: {done.stdout.strip()} ({done.seconds:.0f} s)")
    return photos


def fill_ours(folder: Path, model: str) -> None:
    """What `mmr index` would leave of those vectors; in a process of its own, as it loads the encoder."""
    from retrieval import load_encoder
    from retrieval.datatypes import Item
    from retrieval.encoders import query_encoder
    from retrieval.indexing import approximate, build, cards
    from retrieval.sources.registry import parse_uri

    photos = folder / "photos"
    encoder = load_encoder(model).to_fast_precision()
    names = [Path(path).relative_to(photos).as_posix() for path in (folder / "paths").read_text("utf-8").split("\n")]
    items = [Item(name, name, photos / name, stamp=f"{60_000 + at}:{at}") for at, name in enumerate(names)]
    with build.open_or_create(folder / "index", parse_uri(f"folder:{photos}"), encoder) as store:
        store.add(np.load(folder / "vectors.npy"), [cards.record_of(item) for item in items])
        said: list[str] = []
        approximate.keep(store, encoder, say=said.append)
        query_encoder.ensure_exported(encoder)
    say(said[-1] if said else "searched exactly")


# ---------------------------------------------------------------- measuring


def ours(folder: Path) -> Finished:
    """One query; its hits' paths, one a line."""
    return mmr("search", QUERY, "--index", str(folder / "index"), "-k", str(K))


def rclip(folder: Path) -> Finished:
    """One query, no look at the files."""
    command = [peer("rclip", "rclip"), "--no-indexing", "--top", str(K), QUERY]
    return run(command, folder / "photos", RCLIP_DATADIR=str(folder / "rclip"))


def names_in(finished: Finished) -> set[str]:
    """The pictures' file names that a process printed."""
    words = finished.stdout.replace("/", " ").replace('"', " ").split()
    return {word for word in words if word.endswith(".jpg")}


def compare(name: str, count: int, rounds: int, floor: float, goal: float) -> None:
    """The figures of one collection. Ends the benchmark where the two do not agree on most answers."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        fill(folder, count)
        mine, theirs = ours(folder), rclip(folder)  # not counted: the first ones read the files from the disk
        same = len(names_in(mine) & names_in(theirs))
        note(f"{name}: {same} of {K} answers are the same")
        if same < K // 2:
            sys.exit(f"the answers differ:\n{mine.stdout}\n{theirs.stdout}")
        pairs = [(ours(folder), rclip(folder)) for _ in range(rounds)]
    for suffix, field, least, wanted in (("", "seconds", floor, goal), ("-memory", "peak", 1, 1)):
        own, peers = ([getattr(finished, field) for finished in side] for side in zip(*pairs, strict=True))
        figure(name + suffix, own, peers, "rclip --no-indexing", least, wanted, smaller_is_better=True)


def main() -> None:
    """The figures; or, with --fill, our collection."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FIGURES)}; all, if none is given")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.fill:
        fill_ours(asked.fill, asked.model)
        return
    if unknown := set(asked.names) - set(FIGURES):
        parser.error(f"no figure {', '.join(unknown)}")
    for name in asked.names or FIGURES:
        count, floor, goal = FIGURES[name]
        compare(name, count, 3 if asked.quick else asked.rounds, floor, goal)


if __name__ == "__main__":
    main()
