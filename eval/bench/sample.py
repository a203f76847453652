"""Captions of which pictures teach the most? Those that `mmr sample` chooses, beside as many at random and other ways.

    python -m eval.bench.sample ENCODER CAPTIONS.csv                      # columns image, split (train, dev), caption
    python -m eval.bench.sample builtin "captions.csv?lang=en" --recipe bridge

The train pictures are indexed with the encoder. What is taught by all captions of n of them is measured on the dev
pictures, recall@10 both ways: by canonical correlation of what the towers' bodies say of pictures and of captions (the
encoder's vectors, where a tower is not a body and a head), shrunk the more the fewer there are; with --recipe by a run
of `mmr train`. Of each seed another half of the train pictures is the pool. One JSON line for each n and way of asking
(ours: what is chosen; the peer: the same number at random); the other ways on stderr: the farthest point of all chosen
before (k-center), medoids of k-means, and facility location, whose matrix of all pictures with all others is what a
large index cannot have.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eval import metrics
from eval.bench import figure, note
from eval.ranking import Right, rank
from indexes import Record, Store
from retrieval.datatypes import Item, Pair
from retrieval.search.spread import spread

if TYPE_CHECKING:
    from retrieval.encoders.encoder import DualEncoder

SEEDS, COUNTS, K = 3, (100, 300), 10


class Pictures(NamedTuple):
    """Pictures with their captions, of the pictures `owner` (m,).

    image, text: the encoder's unit rows (n, d), (m, d). seen, read: what a map is learned from and to, (n, w), (m, e).
    """

    pairs: Sequence[Pair]
    owner: np.ndarray
    image: np.ndarray
    text: np.ndarray
    seen: np.ndarray
    read: np.ndarray

    @classmethod
    def of(cls, source: str, encoder: "DualEncoder") -> "Pictures":
        """The pictures of a source that decode."""
        from retrieval import open_pairs
        from retrieval.encoders import encoding

        pairs = open_pairs(source)
        items: dict[str, Item] = {pair.item.id: pair.item for pair in pairs}
        batches = list(encoding.encode(list(items.values()), encoder))
        kept = [item for batch in batches for item in batch.items]
        place = {item.id: number for number, item in enumerate(kept)}
        pairs = [pair for pair in pairs if pair.item.id in place]
        captions = [pair.caption for pair in pairs]
        image, text = np.concatenate([batch.vectors for batch in batches]), encoder.encode_texts(captions)
        bodies = encoder.image_tower.has_features and encoder.text_tower.has_features
        seen, read = (seen_of(kept, encoder), read_of(captions, encoder)) if bodies else (image, text)
        return cls(pairs, np.array([place[pair.item.id] for pair in pairs]), image, text, unit(seen), unit(read))


def seen_of(items: Sequence[Item], encoder: "DualEncoder") -> np.ndarray:
    """What the body of the image tower says of each, (n, w). Of sums that are never below 0 the roots are taken."""
    import torch

    from retrieval.images.load import load

    parts = []
    for start in range(0, len(items), 64):
        pixels = [encoder.preprocess(load(item)) for item in items[start : start + 64]]
        with torch.inference_mode():
            shown = encoder.preprocess.normalize(torch.from_numpy(np.stack(pixels)))
            parts.append(encoder.image_tower.features(shown.to(encoder.device)).float().cpu().numpy())
    found = np.concatenate(parts)
    return np.sqrt(found) if found.min() >= 0 else found


def read_of(captions: Sequence[str], encoder: "DualEncoder") -> np.ndarray:
    """What the body of the text tower says of each, (m, e)."""
    import torch

    parts = []
    for start in range(0, len(captions), 512):
        with torch.inference_mode():
            tokens = torch.from_numpy(encoder.tokenize(captions[start : start + 512])).to(encoder.device)
            parts.append(encoder.text_tower.features(tokens).float().cpu().numpy())
    return np.concatenate(parts)


def unit(rows: np.ndarray) -> np.ndarray:
    """Each row scaled to unit length."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


# ---------------------------------------------------------------- ways to choose


def at_random(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows as they are drawn."""
    return np.random.default_rng(seed).permutation(len(x))[:count]


def ours(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Those of `mmr sample`."""
    with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "i", x.shape[1]) as store:
        store.add(x, [Record(str(number)) for number in range(len(x))])
        return np.array(spread(store, store.rows(), np.empty(0, np.int64), count, lambda row: True))


def farthest(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    """k-center, greedily: from the most usual one on, each the farthest from all before."""
    taken = [int(np.argmax(x @ x.mean(0)))]
    near = x @ x[taken[0]]
    while len(taken) < count:
        taken.append(int(np.argmin(near)))
        near = np.maximum(near, x @ x[taken[-1]])
    return np.array(taken)


def medoids(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The nearest to each mean of k-means."""
    from sklearn.cluster import KMeans

    means = KMeans(count, n_init=1, max_iter=30, random_state=seed).fit(x).cluster_centers_
    return np.unique((x @ means.T).argmax(0))


def facility(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Greedily those to which all are nearest."""
    scores = x @ x.T
    best = np.full(len(x), -1, np.float32)
    taken: list[int] = []
    for _ in range(count):
        gain = np.array([np.maximum(row, best).sum() for row in scores])
        gain[taken] = -np.inf
        taken.append(int(np.argmax(gain)))
        best = np.maximum(best, scores[taken[-1]])
    return np.array(taken)


WAYS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "random": at_random, "ours": ours, "farthest": farthest, "medoids": medoids, "facility": facility,
}  # fmt: skip


# ---------------------------------------------------------------- what is taught


def by_map(learn: Pictures, chosen: np.ndarray, held: Pictures) -> tuple[float, float]:
    """Recall@10, text to image and image to text, of the space that these pictures and their captions share."""
    said = np.isin(learn.owner, chosen)
    x, t = learn.seen[chosen], learn.read[said]
    usual, mean = x.mean(0), t.mean(0)
    each = np.stack([learn.read[learn.owner == one].mean(0) for one in chosen]) - mean
    ours, theirs = inverse_root(x - usual, 10 * (300 / len(x)) ** 0.85), inverse_root(t - mean, 1.0)
    left, strength, right = np.linalg.svd(ours @ ((x - usual).T @ each / len(x)) @ theirs, full_matrices=False)
    image = unit((held.seen - usual) @ ours @ left * strength)
    text = unit((held.read - mean) @ theirs @ right.T * strength)
    there, back = rank(text, image, Right.of(np.arange(len(text)), held.owner))
    return float(metrics.hit(metrics.Places(there), K).mean()), float(metrics.hit(metrics.Places(back), K).mean())


def inverse_root(rows: np.ndarray, shrink: float) -> np.ndarray:
    """The root of the inverse of the rows' covariance, float64 (d, d). shrink: added to it, times its mean variance."""
    values, vectors = np.linalg.eigh(rows.T.astype(np.float64) @ rows / len(rows))
    return (vectors / np.sqrt(np.maximum(values, 0) + shrink * values.mean())) @ vectors.T


def by_recipe(learn: Pictures, chosen: np.ndarray, held: Pictures, name: str, seed: int) -> tuple[float, float]:
    """The same of a run of `mmr train` on them."""
    from eval import evaluate
    from retrieval import RECIPES, train

    kept = set(chosen.tolist())
    pairs = [pair for pair, one in zip(learn.pairs, learn.owner.tolist(), strict=True) if one in kept]
    config = dataclasses.replace(RECIPES[name](len(chosen)), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        report = evaluate(train(pairs, Path(folder) / "run", config).encoder, held.pairs)
    return report.text_to_image[f"hit@{K}"], report.image_to_text[f"hit@{K}"]


def main() -> None:
    """The figures."""
    from retrieval import load_encoder

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder")
    parser.add_argument("source")
    parser.add_argument("--recipe", default="")
    asked = parser.parse_args()
    encoder = load_encoder(asked.encoder).to_fast_precision()
    name, _, options = asked.source.partition("?")
    learn, held = (
        Pictures.of(f"csv:{name}?{'&'.join(filter(None, [f'split={split}', options]))}", encoder)
        for split in ("train", "dev")
    )
    for count in COUNTS:
        figures: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for seed in range(SEEDS):
            pool = np.sort(np.random.default_rng(seed).permutation(len(learn.image))[: len(learn.image) // 2])
            for way, choose in WAYS.items():
                chosen = pool[choose(learn.image[pool], min(count, len(pool)), seed)]
                run = by_recipe(learn, chosen, held, asked.recipe, seed) if asked.recipe else None
                figures[way].append(run or by_map(learn, chosen, held))
                note(f"{count} pictures, seed {seed}, {way}: {figures[way][-1]}")
        for direction, title in enumerate(("text-to-image", "image-to-text")):
            mine, theirs = ([one[direction] for one in figures[way]] for way in ("ours", "random"))
            figure(f"{count} captioned pictures, recall@{K} {title}", mine, theirs, "at random", 1.0, 1.1)


if __name__ == "__main__":
    main()
