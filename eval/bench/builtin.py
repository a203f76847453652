"""What is in the box beside rclip with its 605 MB model: `mmr index` and a cold `mmr search` of the same photos.

    python -m eval.bench.builtin --photos FOLDER    # without --photos: drawn ones
    python -m eval.bench.builtin --quick            # 60 photos, one round: does everything run?

`builtin-index`    photos a second of a whole process that indexes 400 of them, its start included; rounds in turns
`builtin-search`   seconds of a cold `mmr search "a dog"`, beside `rclip --no-indexing "a dog"`
`builtin-memory`   the most that such a search holds at once, in MB

rclip has random weights of its model's shape, as indexing.py says, which time does not depend on; mmr has its own, made
ready before. rclip cannot index without a query: what its query takes alone is taken off.
"""

import argparse
import tempfile
from pathlib import Path

from eval.bench import figure, note
from eval.bench.cold_query import QUERY
from eval.bench.indexing import Finished, make_photos, mmr, peer, rclip, rclip_home, run
from indexes import Store

COUNT, QUICK, ROUNDS, SEARCHES = 400, 60, 3, 7


def ours(photos: Path, folder: Path, model: str) -> tuple[float, Path]:
    """Photos a second of `mmr index`, and the index."""
    index = folder / "index"
    done = mmr("index", str(photos), "--index", str(index), "--model", model)
    with Store.open(index) as store:
        return len(store) / done.seconds, index


def theirs(photos: Path, folder: Path) -> float:
    """Photos a second of rclip."""
    count, done = rclip(photos, folder)
    return count / done.seconds


def compare_indexing(photos: Path, folder: Path, model: str, rounds: int) -> Path:
    """The figure of indexing; an index that was made."""
    ours(photos, _new(folder / "first"), model)  # mmr exports its encoder then, once; both read their files
    note("made ready")
    own, peers = [], []
    for turn in range(rounds):
        speed, index = ours(photos, _new(folder / f"ours{turn}"), model)
        own.append(speed)
        peers.append(theirs(photos, _new(folder / f"theirs{turn}")))
        note(f"round {turn + 1}: {own[-1]:.1f} and {peers[-1]:.1f} photos/s")
    figure("builtin-index", own, peers, "rclip", 4, 8)
    return index


def compare_searches(photos: Path, folder: Path, index: Path, rounds: int) -> None:
    """The figures of a cold search among those photos."""
    home = rclip_home(folder / "home")
    command = [peer("rclip", "rclip"), "--no-indexing", QUERY]
    run([peer("rclip", "rclip"), QUERY], photos, RCLIP_DATADIR=str(home))

    def both() -> tuple[Finished, Finished]:
        return mmr("search", QUERY, "--index", str(index)), run(command, photos, RCLIP_DATADIR=str(home))

    both()  # not counted: files are read from the disk
    pairs = [both() for _ in range(rounds)]
    for name, field, floor, goal in (("search", "seconds", 2, 4), ("memory", "peak", 1, 1)):
        own, peers = ([getattr(finished, field) for finished in side] for side in zip(*pairs, strict=True))
        figure(f"builtin-{name}", own, peers, "rclip --no-indexing", floor, goal, smaller_is_better=True)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files; drawn ones otherwise")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photos = make_photos(folder / "photos", QUICK if asked.quick else COUNT, asked.photos, None)
        index = compare_indexing(photos, folder, asked.model, 1 if asked.quick else ROUNDS)
        compare_searches(photos, folder, index, 3 if asked.quick else SEARCHES)


if __name__ == "__main__":
    main()
