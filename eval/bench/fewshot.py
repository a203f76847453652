"""Few-shot and full probes of an encoder's picture vectors, beside raw pixels and scikit-learn's own solver.

    python -m eval.bench.fewshot RUN LABELS.csv class          # columns image, split (train, validation, test), class

For 1, 2, 4, 8, 16 pictures a class (five draws) and for all of them: the accuracy on the test rows of ridge, logistic
regression, prototypes and nearest neighbors on the vectors (`--head`), and of logistic regression on 32 x 32 pixels
scaled to unit length. One JSON line a number of pictures (ours: the best head; the peer: pixels), and one that sets our
solver beside scikit-learn's at the penalty that ours chose.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.bench import note, say

if TYPE_CHECKING:
    import torch

    from retrieval.datatypes import Item
    from retrieval.encoders.protocol import Encoder
    from retrieval.heads.prepare import PreparedRows

SHOTS, DRAWS, SIDE = (1, 2, 4, 8, 16), 5, 32
HEADS = ("logistic", "ridge", "prototypes", "knn")


def drawn(labels: list[str], shots: int, seed: int) -> np.ndarray:
    """Rows: `shots` of each class, or as many as there are."""
    rng = np.random.default_rng(seed)
    groups = {name: [i for i, label in enumerate(labels) if label == name] for name in sorted(set(labels))}
    return np.array([row for rows in groups.values() for row in rng.permutation(rows)[:shots]])


def pixels(items: "list[Item]") -> np.ndarray:
    """float32 (n, 3072) of unit length, off their mean gray."""
    from PIL import Image

    from retrieval.images.load import load

    small = (Image.fromarray(np.asarray(load(item))).convert("RGB").resize((SIDE, SIDE)) for item in items)
    rows: np.ndarray = np.stack([np.asarray(picture, np.float32).ravel() for picture in small])
    rows = rows / 255 - 0.5
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def accuracy(
    head: str, learn: "PreparedRows", held: "PreparedRows", encoder: "Encoder", name: str, shots: int = 0, seed: int = 0
) -> float:
    """The accuracy of a head on one modality.

    Few pictures: two of each class at the most say which penalty, as CoOp does it.
    """
    from retrieval.heads.config import HeadConfig
    from retrieval.heads.prepare import train_head

    share = {1: 0.0, 2: 0.5, 4: 0.25}.get(shots, 0.25 if shots else 0.15)
    config = HeadConfig(fusion=name, head=head, validation=share, seed=seed)
    fitted, _ = train_head(learn, encoder, config)
    answers = fitted.scores(held.inputs).argmax(1)
    return float(np.mean([fitted.names[i] == label for i, label in zip(answers, held.examples.labels, strict=True)]))


def solvers(learn: "PreparedRows", held: "PreparedRows") -> tuple[float, float]:
    """Accuracy of our L-BFGS and of scikit-learn's on the same vectors, at the penalty that our search chose."""
    import torch
    from sklearn.linear_model import LogisticRegression

    from retrieval.heads import examples
    from retrieval.heads.probes import linear

    names = examples.classes_of(learn.examples)
    x, y = learn.inputs.vectors["image"], examples.targets(learn.examples.labels, names, "single")
    seen, truth = held.inputs.vectors["image"], examples.targets(held.examples.labels, names, "single")
    fit, chooser = examples.split(learn.examples.labels, 0.15, 0)

    def ours(
        rows: np.ndarray, target: np.ndarray, step: int, dtype: "torch.dtype" = torch.float32
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        penalty = linear.penalty_of(step)
        return linear.lbfgs(torch.from_numpy(rows), torch.from_numpy(target), len(names), penalty, dtype=dtype)

    def right(step: int) -> float:
        weight, bias = ours(x[fit], y[fit], step)
        return float(((torch.from_numpy(x[chooser]) @ weight.T + bias).argmax(1).numpy() == y[chooser]).mean())

    best = linear.search(right)
    weight, bias = ours(x, y, best, torch.float64)  # as the head `logistic` does
    mine = float(((torch.from_numpy(seen) @ weight.T + bias).argmax(1).numpy() == truth).mean())
    theirs = LogisticRegression(C=1 / linear.penalty_of(best), max_iter=2000, tol=1e-6).fit(x, y)
    return mine, float(theirs.score(seen, truth))


def main() -> None:
    """One JSON line a number of pictures; the table on stderr."""
    from retrieval import load_encoder
    from retrieval.heads.inputs import with_vectors
    from retrieval.heads.prepare import PreparedRows, prepare

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("table", type=Path)
    parser.add_argument("label")
    asked = parser.parse_args()
    encoder = load_encoder(asked.run).to_fast_precision()
    parts = []
    for split in ("train", "test"):
        one = prepare(f"csv:{asked.table}?split={split}", asked.label, "single", encoder, inputs=["image"])
        parts.append(PreparedRows(one.examples, with_vectors(one.inputs, "pixels", pixels(one.examples.items)), 0))
    learn, held = parts
    for shots in (*SHOTS, 0):
        figures: dict[str, list[float]] = {}
        for seed in range(DRAWS if shots else 1):
            some = learn[drawn(learn.examples.labels, shots, seed)] if shots else learn
            for head, name in (*((head, "image") for head in HEADS), ("logistic", "pixels")):
                figure = accuracy(head, some, held, encoder, name, shots, seed)
                figures.setdefault(name if name == "pixels" else head, []).append(figure)
        means = {name: float(np.mean(of)) for name, of in figures.items()}
        spread = {name: float(np.std(of)) for name, of in figures.items()}
        shown = {name: f"{means[name]:.3f} +- {spread[name]:.3f}" for name in means}
        note(f"{shots or 'all'} {shown}")
        best = max(HEADS, key=lambda head: means[head])
        say(json.dumps({
            "name": f"{asked.label}, {shots or 'all'} pictures a class ({best})", "ours": round(means[best], 4),
            "peer": round(means["pixels"], 4), "peer_name": "logistic regression on pixels",
            "ratio": round(means[best] / means["pixels"], 2), "floor": 1.0, "goal": 1.0,
            "heads": {name: round(mean, 4) for name, mean in means.items()},
        }))  # fmt: skip
    mine, theirs = solvers(learn, held)
    say(json.dumps({
        "name": f"{asked.label}, our solver", "ours": round(mine, 4), "peer": round(theirs, 4),
        "peer_name": "scikit-learn's, same vectors and penalty", "ratio": round(mine / theirs, 4),
        "floor": 0.998, "goal": 1.0,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
