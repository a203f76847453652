"""What hybrid.py is measured beside, run in the peers' own environment: bm25s, and mteb's fusion of ranks.

python -m eval.bench.hybrid_peers WORK.json FOUND.json
"""

import json
import sys
from pathlib import Path

import bm25s
import Stemmer
from mteb.models.hybrid_wrappers import fuse_rrf


def main(work: Path, answer: Path) -> None:
    """The rankings of both for each query."""
    asked = json.loads(work.read_text(encoding="utf-8"))
    images, depth = asked["images"], min(asked["depth"], len(asked["images"]))
    stem = Stemmer.Stemmer("english")
    index = bm25s.BM25()  # its defaults: k1 1.5, b 0.75
    index.index(bm25s.tokenize(asked["texts"], stopwords="en", stemmer=stem, show_progress=False), show_progress=False)
    words = bm25s.tokenize(asked["queries"], stopwords="en", stemmer=stem, show_progress=False)
    rows, scores = index.retrieve(words, k=depth, show_progress=False)
    found: dict[str, list[list[str]]] = {"bm25s": [], "mteb's RRF": []}
    for ranked, score, near in zip(rows, scores, asked["meaning"], strict=True):
        worded = {images[row]: float(value) for row, value in zip(ranked, score, strict=True) if value > 0}
        meant = {image: float(-place) for place, image in enumerate(near)}
        fused = fuse_rrf([meant, worded], [1.0, 1.0])
        found["bm25s"].append(list(worded))
        found["mteb's RRF"].append(sorted(fused, key=lambda image: (-fused[image], image)))
    answer.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
