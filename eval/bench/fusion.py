"""Fusions on a table of products beside plain scikit-learn: PCA of pixels, TF-IDF of words, both in one regression.

    python -m eval.bench.fusion RUN PRODUCTS.csv articleType,usage     # a column `split` says which rows are test

RUN must not have been trained on the test rows. For each label one JSON line: ours is the accuracy of the best
fusion, the peer's that of pixels and words together, on the same test rows. ratio > 1: we are better.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.bench import note, say

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SIDE, PARTS = 32, 128  # pixels of a side, principal components


def peer(table: Path, label: str) -> dict[str, float]:
    """Accuracy of pixels, words, and both; the penalty of each is the better one of two on the test rows (a favor)."""
    import scipy.sparse as sparse
    from PIL import Image
    from sklearn.decomposition import PCA
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[label]]
    test = np.array([row["split"] == "test" for row in rows])
    truth = np.array([row[label] for row in rows])
    pictures = (Image.open(table.parent / row["image"]).convert("RGB").resize((SIDE, SIDE)) for row in rows)
    pixels = np.stack([np.asarray(picture, np.float32).ravel() / 255 for picture in pictures])
    seen = PCA(PARTS, random_state=0).fit(pixels[~test]).transform(pixels)
    seen = sparse.csr_matrix(seen / seen[~test].std())
    captions = np.array([row["caption"] for row in rows])
    said = TfidfVectorizer().fit(captions[~test]).transform(captions)

    def accuracy(features: "csr_matrix") -> float:
        return max(
            LogisticRegression(C=c, max_iter=400).fit(features[~test], truth[~test]).score(features[test], truth[test])
            for c in (1.0, 10.0)
        )

    both = sparse.hstack([seen, said]).tocsr()
    return {name: accuracy(part) for name, part in (("pixels", seen), ("words", said), ("both", both))}


def main() -> None:
    """One JSON line a label; the table on stderr."""
    from eval.fusion import compare
    from retrieval import load_encoder
    from retrieval.heads.config import HeadConfig
    from retrieval.heads.prepare import prepare

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("table", type=Path)
    parser.add_argument("labels")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fusions", nargs="*", default=[], help="some of them; bare: all")
    asked = parser.parse_args()
    encoder = load_encoder(asked.run).to_fast_precision()
    for label in asked.labels.split(","):
        everything = prepare(f"csv:{asked.table}", label, "single", encoder, learn=True)
        held = np.array([item.meta["split"] == "test" for item in everything.examples.items])
        result = compare(everything[np.flatnonzero(~held)], everything[np.flatnonzero(held)], encoder, asked.fusions,
                         HeadConfig(), asked.seeds)  # fmt: skip
        note(str(result))
        best = max((line for line in result.lines if not line.alone), key=lambda line: line.figure)
        plain = peer(asked.table, label)
        note(f"  plain: {plain}")
        figures = {"ours": best.figure, "peer": plain["both"], "ratio": best.figure / plain["both"]}
        shown = {name: round(value, 4) for name, value in figures.items()}
        names = {"name": f"fusion {label} ({best.name})", "peer_name": "scikit-learn, pixels and words"}
        say(json.dumps(names | shown | {"floor": 1.0, "goal": 1.0}))


if __name__ == "__main__":
    main()
