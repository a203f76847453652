"""How far heads fall when titles are missing or belong to another picture, at the time they are asked.

    python -m eval.bench.robustness RUN PRODUCTS.csv LABEL --out robustness.png    # `split` says which rows are test

RUN must not have been trained on the test rows. Heads are fitted on the titles as they are; then the titles of a share
of the test rows are taken away, or exchanged. For each fusion and harm one JSON line: ours is its mean accuracy over
the shares, the peer's that of the picture alone, which no title can harm. ratio > 1: titles help more than they harm.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.bench import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from retrieval.heads.head import Head
    from retrieval.heads.inputs import Inputs
    from retrieval.heads.prepare import PreparedRows

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
FUSIONS = ("image", "concat", "gated", "attention", "common_space", "ensemble", "stacking")
DROPPED = "concat, modality dropout"  # concat that met missing modalities in training


def harmed(inputs: "Inputs", harm: str, share: float, seed: int) -> "Inputs":
    """Inputs with the texts of a share of the rows missing, or those of other rows ("exchanged")."""
    from retrieval.heads.inputs import IMAGE, Inputs

    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(inputs))[: round(share * len(inputs))]
    vectors, present = dict(inputs.vectors), dict(inputs.present)
    for name in (name for name in inputs.vectors if name != IMAGE):
        vectors[name], present[name] = vectors[name].copy(), present[name].copy()
        if harm == "missing":
            present[name][rows] = False
        else:
            turned = np.roll(rows, 1)
            vectors[name][rows], present[name][rows] = vectors[name][turned], present[name][turned]
    return Inputs(vectors, present)


def curves(head: "Head", held: "PreparedRows", harm: str) -> list[float]:
    """Accuracy at every share."""
    truth = held.examples.labels
    figures = []
    for share in SHARES:
        answers = head.scores(harmed(held.inputs, harm, share, seed=0)).argmax(1)
        figures.append(float(np.mean([head.names[i] == label for i, label in zip(answers, truth, strict=True)])))
    return figures


def measured(run: str, table: Path, label: str, seeds: int) -> dict[str, dict[str, list[float]]]:
    """harm -> fusion -> accuracy at every share, the mean of the seeds."""
    from retrieval import load_encoder
    from retrieval.heads.config import HeadConfig
    from retrieval.heads.prepare import prepare, train_head

    encoder = load_encoder(run).to_fast_precision()
    rows = prepare(f"csv:{table}", label, "single", encoder, learn=True)
    test = np.array([item.meta["split"] == "test" for item in rows.examples.items])
    learn, held = rows[np.flatnonzero(~test)], rows[np.flatnonzero(test)]
    kinds = {name: HeadConfig(fusion=name) for name in FUSIONS} | {DROPPED: HeadConfig(modality_dropout=0.4)}
    found: dict = {"missing": {}, "exchanged": {}}
    for name, config in kinds.items():
        heads = [train_head(learn, encoder, dataclasses.replace(config, seed=seed))[0] for seed in range(seeds)]
        for harm, of in found.items():
            of[name] = np.mean([curves(head, held, harm) for head in heads], 0).tolist()
    return found


def picture(found: dict[str, dict[str, list[float]]], label: str) -> "Figure":
    """Two panels beside each other, a line a fusion."""
    from retrieval.training.curves import Panel, figure_of

    return figure_of([
        Panel(f"{label}, titles {harm}", {name: [(100 * s, y) for s, y in zip(SHARES, of, strict=True)]
                                         for name, of in lines.items()},
              as_percent=True, from_zero=False, across="% of the titles", up="accuracy")
        for harm, lines in found.items()
    ])  # fmt: skip


def main() -> None:
    """One JSON line a fusion and harm; the curves as a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("table", type=Path)
    parser.add_argument("label")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="the curves, as a picture")
    asked = parser.parse_args()
    found = measured(asked.run, asked.table, asked.label, asked.seeds)
    for harm, lines in found.items():
        alone = float(np.mean(lines["image"]))
        for name, of in lines.items():
            mean = float(np.mean(of))
            say(json.dumps({
                "name": f"{asked.label}, titles {harm}: {name}", "ours": round(mean, 4), "peer": round(alone, 4),
                "peer_name": "picture alone", "ratio": round(mean / alone, 3), "floor": 1.0, "goal": 1.0,
                "shares": SHARES, "accuracy": [round(y, 4) for y in of],
            }))  # fmt: skip
    if asked.out:
        picture(found, asked.label).savefig(asked.out)


if __name__ == "__main__":
    main()
