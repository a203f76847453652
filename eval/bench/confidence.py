"""Is there such a picture at all? What `mmr search --min-confidence` knows of it, beside the raw top score.

    python -m eval.bench.confidence RUN CAPTIONS.csv        # its dev pictures, its English captions

Areas under the ROC curve, 0.5 is chance. `half`: captions whose picture is among the half of the pictures that is
indexed against captions of the other half (scenes of the same kind are there all the same). `thing`: captions about a
thing against an index with and without the pictures of it. `one`: the same where a single picture of it is there. The
peer is the top cosine. Within one index ours orders as it does; what it adds is the scale, so a fourth line says which
share of captions about things that are not there passes at a confidence of 0.9 (0.1 is asked).
"""

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from eval.bench import figure, say
from indexes import Record, Store
from retrieval import load_encoder, open_pairs
from retrieval.encoders import encoding
from retrieval.search import confidence

SEEDS, ASKED = 3, 0.9
THINGS = (
    r"\bdogs?\b", r"\bsnow\w*", r"\b(water|ocean|sea|lake|pool|river|beach)\b", r"\b(bikes?|bicycles?|motorcycles?)\b",
    r"\b(football|soccer|basketball|baseball|tennis|ball)\b", r"\b(climb\w*|rocks?|mountains?|cliff)\b",
    r"\b(child|children|boys?|girls?|baby|toddler|kids?)\b", r"\b(street|city|building|sidewalk|road)\b",
    r"\b(grass|field|grassy)\b", r"\b(woman|women|lady)\b",
)  # fmt: skip


class Gallery:
    """Pictures with their captions, encoded once. vectors: (n, d); texts: (m, d), of the pictures `owner` (m,)."""

    def __init__(self, run: str, source: str) -> None:
        self.encoder = load_encoder(run)
        pairs = open_pairs(f"csv:{source}?split=dev&lang=en")
        items = {pair.item.id: pair.item for pair in pairs}
        self.vectors = np.concatenate([b.vectors for b in encoding.encode(items.values(), self.encoder)])
        self.captions = [pair.caption.lower() for pair in pairs]
        self.texts = self.encoder.encode_texts(self.captions)
        place = {name: number for number, name in enumerate(items)}
        self.owner = np.array([place[pair.item.id] for pair in pairs])

    def ask(self, pictures: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """(top score, confidence) of these captions in an index of these pictures: (2, q)."""
        with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "i", self.vectors.shape[1]) as store:
            store.add(self.vectors[pictures], [Record(str(number)) for number in pictures])
            top = store.search(self.texts[asked], 1).scores[:, 0]
            return np.stack([top, confidence.ask(store, self.encoder).confidence(top)])


def half(known: Gallery, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What captions get whose picture is there, and whose picture is not."""
    drawn = np.random.default_rng(seed).permutation(len(known.vectors))[: len(known.vectors) // 2]
    found = known.ask(np.sort(drawn), np.arange(len(known.texts)))
    there = np.isin(known.owner, drawn)
    return found[:, there], found[:, ~there]


def things(known: Gallery, seed: int, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """What captions about each thing get where `count` pictures of it are there (None: all), and where none is."""
    pairs = list(_of_each_thing(known, seed, count))
    return np.concatenate([a for a, _ in pairs], axis=1), np.concatenate([b for _, b in pairs], axis=1)


def _of_each_thing(known: Gallery, seed: int, count: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for thing in THINGS:
        about = np.array([bool(re.search(thing, caption)) for caption in known.captions])
        shown = np.unique(known.owner[about])
        others = np.setdiff1d(np.arange(len(known.vectors)), shown)
        kept = np.random.default_rng(seed).permutation(shown)[:count]
        asked = np.flatnonzero(about & np.isin(known.owner, kept))
        yield known.ask(np.union1d(others, kept), asked), known.ask(others, asked)


def auc(there: np.ndarray, gone: np.ndarray) -> float:
    """The chance that a caption of what is there gets more than one of what is not; a tie counts as half."""
    gone = np.sort(gone)
    below, at_most = np.searchsorted(gone, there, "left"), np.searchsorted(gone, there, "right")
    return float((below + at_most).mean() / 2 / len(gone))


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("source")
    asked = parser.parse_args()
    known = Gallery(asked.run, asked.source)
    ways: dict[str, Callable[[int], tuple[np.ndarray, np.ndarray]]] = {
        "half": lambda seed: half(known, seed),
        "thing": lambda seed: things(known, seed, None),
        "one": lambda seed: things(known, seed, 1),
    }
    for name, way in ways.items():
        found = [way(seed) for seed in range(SEEDS)]
        raw, ours = ([auc(there[line], gone[line]) for there, gone in found] for line in (0, 1))
        figure(f"confidence, AUC, {name}", ours, raw, "top score", 0.95, 1)
    passed = float(
        np.median([(gone[1] >= ASKED).mean() for _, gone in found])
    )  # of `one`: nothing of the thing is there
    line = {"name": f"passing at {ASKED} of what is not there", "ours": round(passed, 3)}
    say(json.dumps(line | {"peer": round(1 - ASKED, 3), "peer_name": "asked"}))


if __name__ == "__main__":
    main()
