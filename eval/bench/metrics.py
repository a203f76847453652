"""Recall of both directions beside CLIP_benchmark's own code on the same vectors, and how memory grows.

    python -m eval.bench.metrics             # figures `recall` and `recall-memory`: 25,000 captions x 5,000 pictures
    python -m eval.bench.metrics --curve     # seconds and memory of ours alone, to 200,000 x 200,000; a process each

Ours is all that `mmr eval` computes of vectors, but the intervals: places, ties both ways, thirteen metrics of either
direction. Theirs is hit@1, 5 and 10. Both must say the same, or there is no figure. Theirs holds every score and every
pair, 5 bytes for a caption and a picture, and of its batch the answers one-hot: what it would take is said beside ours.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from eval.bench import figure, note, peers_python
from eval.bench.vectors import unit_rows
from eval.measuring import Measured
from eval.metrics import KS

SIZE, DIM, ROUNDS, BATCH = (25_000, 5_000), 512, 3, 64
CURVE, CURVE_DIM, LIMIT = ((25_000, 5_000), (50_000, 50_000), (100_000, 100_000), (200_000, 200_000)), 64, 1800
NOISE = 0.27  # of a number of a caption's vector: some captions find their picture, some do not
SAME = 1e-3
WAYS = {"image_retrieval": "text_to_image", "text_retrieval": "image_to_text"}


def drawn(texts: int, images: int, dim: int) -> Measured:
    """As many captions a picture, each its picture's vector with noise."""
    pictures, owner = unit_rows(images, dim, 0), np.arange(texts) * images // texts
    captions = pictures[owner]
    captions += NOISE * np.random.default_rng(1).standard_normal(captions.shape, np.float32)
    captions /= np.linalg.norm(captions, axis=1, keepdims=True)
    return Measured("drawn", "", (), (), pictures, captions, owner)


def ours(measured: Measured) -> dict[str, float]:
    """hit@k by CLIP_benchmark's names, of everything computed anew."""
    anew = Measured("drawn", "", (), (), measured.images, measured.texts, measured.owner)
    return {f"{name}_recall@{k}": anew.each[way][f"hit@{k}"].mean() for k in KS for name, way in WAYS.items()}


def memory() -> int:
    """The most that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def once(texts: int, images: int, dim: int) -> dict[str, float]:
    """Seconds and memory of ours, in a process of its own."""
    words = [sys.executable, "-m", "eval.bench.metrics", "--once", str(texts), str(images), str(dim)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, timeout=LIMIT).stdout)


def said_once(texts: int, images: int, dim: int) -> None:
    """What `once` reads."""
    measured, started = drawn(texts, images, dim), time.perf_counter()
    ours(measured)
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"seconds": seconds, "most": memory()}))


def compare() -> None:
    """The figures."""
    measured = drawn(*SIZE, DIM)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("texts", "images", "owner"):
            np.save(Path(folder) / f"{name}.npy", getattr(measured, name))
        threads = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
        words = [peers_python(), "-m", "eval.bench.metrics_peers", folder]
        peer = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=threads)
        seconds: tuple[list[float], list[float]] = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            found = ours(measured)
            seconds[0].append(time.perf_counter() - started)
            answer = _asked(peer)
            seconds[1].append(answer["seconds"])
            for name, value in answer["metrics"].items():
                if abs(found[name] - value) > SAME:
                    sys.exit(f"{name}: {found[name]} instead of {value}")
        peer.communicate()
    note(f"the same figures from both: {', '.join(f'{name} {value:.3f}' for name, value in found.items())}")
    figure("recall", *seconds, "CLIP_benchmark", 3, 5, smaller_is_better=True)
    most = [once(*SIZE, DIM)["most"]]
    figure("recall-memory", most, [answer["most"]], "CLIP_benchmark", 3, 5, smaller_is_better=True)


def _asked(peer: subprocess.Popen) -> dict:
    assert peer.stdin and peer.stdout
    peer.stdin.write(f"{BATCH}\n")
    peer.stdin.flush()
    answer = json.loads(peer.stdout.readline())
    if "missing" in answer:
        sys.exit(f"CLIP_benchmark: {answer['missing']}")
    return answer


def curve(dim: int) -> None:
    """Seconds and memory, size by size, until one takes too long."""
    for texts, images in CURVE:
        try:
            found = once(texts, images, dim)
        except subprocess.TimeoutExpired:
            return note(f"{texts} x {images}: more than {LIMIT} s")
        theirs = texts * images * 5 + BATCH * max(KS) * max(texts, images) * 8
        vectors = (texts + images) * dim * 4
        note(
            f"{texts} x {images} x {dim}: {found['seconds']:.1f} s, at most {found['most']} MiB, of which its vectors "
            f"are {vectors >> 20}; CLIP_benchmark's scores, pairs and answers are at least {theirs >> 20} MiB"
        )
    return None


def main() -> None:
    """The figures, or the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--once", type=int, nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        said_once(*asked.once)
    elif asked.curve:
        curve(CURVE_DIM)
    else:
        compare()


if __name__ == "__main__":
    main()
