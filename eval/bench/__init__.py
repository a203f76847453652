"""One file a benchmark, run by `python -m eval.bench.NAME`; each figure is one JSON line on stdout.

{"name", "ours", "peer", "peer_name", "ratio", "floor", "goal"}; a ratio above 1 means that we are better. Peers run in
the same minutes on the same machine, in an environment of their own (.venv-peers, made by `make bench`).
"""

import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path


def peers_python() -> str:
    """The interpreter that has the peers: $MMR_PEERS, or .venv-peers of this folder."""
    found = os.environ.get("MMR_PEERS") or ".venv-peers/bin/python"
    if not Path(found).exists():
        sys.exit(f"no peers at {found}: run `make bench`, or set MMR_PEERS to their python")
    return found


def figure(
    name: str, ours: Sequence[float], peer: Sequence[float], peer_name: str, floor: float, goal: float,
    smaller_is_better: bool = False,
) -> None:  # fmt: skip
    """Print one figure: medians of several runs each, and their ratio."""
    mine, theirs = statistics.median(ours), statistics.median(peer)
    ratio = theirs / mine if smaller_is_better else mine / theirs
    line = {"name": name, "ours": round(mine, 3), "peer": round(theirs, 3), "peer_name": peer_name}
    say(json.dumps(line | {"ratio": round(ratio, 2), "floor": floor, "goal": goal}))


def say(line: str) -> None:
    """What was measured: to stdout, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def note(line: str) -> None:
    """What is not a figure: to stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
