"""Real cross-modal vectors: crops of captioned pictures as rows, captions as queries, all by one trained run.

    python -m eval.bench.crossmodal RUN CAPTIONS.csv            # makes crossmodal.npz in the cache, prints the gap
    python -m eval.bench.crossmodal --made                      # makes made.npz: 1M x 512, no pictures needed

Rows are crops of the train pictures; queries are captions, of train for tuning and of dev for measuring, and crops of
the dev pictures as pictures that ask. Crops of one picture are near-duplicates, so the gap is checked: how
many more lists must an IVF index visit for words than for pictures to reach a recall of 0.95? Published encoders of
more pictures show 2 to 3 times; `--made` draws vectors that do.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch

from eval.bench import note
from eval.bench.vectors import flat, inverted_lists, nearest, parameters, save
from indexes.approximate import tune
from retrieval import cache, load_encoder, open_pairs
from retrieval.datatypes import Item
from retrieval.encoders.encoder import DualEncoder
from retrieval.images.load import load as load_picture
from retrieval.training.dataset import augment

SIZE, KEPT, SMALLEST = 64, 128, 0.15  # pixels of a crop; pixels kept of a picture; least share of its area
MADE_DIM, TOPICS, AT_ONCE = 512, 20_000, 50_000
VARIED, OWN, VAGUE, APART = 0.5, 0.5, 0.9, 0.5  # of a topic's length: what is added to it, see `draw`


def cached(name: str = "crossmodal") -> Path:
    """The file that the vectors are kept in, in `bench` of mmr's cache."""
    return cache.folder("bench") / f"{name}.npz"


def make(run: str, source: str, rows: int) -> dict[str, np.ndarray]:
    """rows float16 (n, d), tune and test float32 captions, pictures float32: crops of pictures that are not in rows."""
    encoder = load_encoder(run)
    encoder.preprocess = dataclasses.replace(encoder.preprocess, size=SIZE)
    split = {name: open_pairs(f"csv:{source}?split={name}&lang=en") for name in ("train", "dev")}
    items = {name: list({pair.item.id: pair.item for pair in pairs}.values()) for name, pairs in split.items()}
    rng = np.random.default_rng(0)

    def texts(name: str, count: int) -> np.ndarray:
        captions = sorted({pair.caption for pair in split[name]})
        return encoder.encode_texts([captions[i] for i in rng.permutation(len(captions))[:count]])

    queries = {"tune": texts("train", 4000), "test": texts("dev", 4000)}
    encoder.to_fast_precision()
    each = -(-rows // len(items["train"]))
    made = crops(encoder, items["train"], each)[:rows].astype(np.float16)
    return {**queries, "pictures": crops(encoder, items["dev"], 2), "rows": made}


@torch.inference_mode()
def crops(encoder: DualEncoder, items: list[Item], each: int) -> np.ndarray:
    """`each` random crops of every picture, float32 (n, d) of unit length, in random order."""
    generator = torch.Generator().manual_seed(0)
    keep = dataclasses.replace(encoder.preprocess, size=KEPT)
    found = []
    for number, item in enumerate(items):
        pixels = torch.from_numpy(keep(load_picture(item, at_least=2 * KEPT)))[None].expand(each, -1, -1, -1)
        image = encoder(images=augment(pixels, SIZE, SMALLEST, True, generator)).image
        assert image is not None  # pictures were given
        found.append(image.float().numpy())
        if number % 500 == 0:
            note(f"{number}/{len(items)} pictures")
    rows = np.concatenate(found)
    return rows[np.random.default_rng(1).permutation(len(rows))]


def draw(rows: int) -> dict[str, np.ndarray]:
    """Vectors as of two encoders that agree on topics only, some more popular than others.

    A picture is its topic, what varies within the topic, and what only pictures have (of a spectrum turned away);
    words are their topic, vaguely. Each kind lies around a mean of its own: the modality gap. Every spectrum falls as
    i^-1 (in variance) and has full rank, so that no reduction is given a present.
    """
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, MADE_DIM + 1) ** -0.5
    spectrum /= spectrum.norm()

    def normal(count: int) -> torch.Tensor:
        return torch.randn(count, MADE_DIM, generator=generator)

    topics, turn = normal(TOPICS) * spectrum, torch.linalg.qr(normal(MADE_DIM))[0]
    means = torch.nn.functional.normalize(normal(2)) * APART
    popular = torch.arange(1, TOPICS + 1) ** -0.5

    def of_topics(count: int) -> torch.Tensor:
        return topics[torch.multinomial(popular, count, True, generator=generator)]

    def pictures(count: int) -> np.ndarray:
        varied = VARIED * normal(count) * spectrum + OWN * (normal(count) * spectrum) @ turn
        return torch.nn.functional.normalize(of_topics(count) + varied + means[0]).numpy()

    def words(count: int) -> np.ndarray:
        return torch.nn.functional.normalize(of_topics(count) + VAGUE * normal(count) * spectrum + means[1]).numpy()

    made = np.concatenate([pictures(AT_ONCE).astype(np.float16) for _ in range(-(-rows // AT_ONCE))])[:rows]
    return {"rows": made, "tune": words(4000), "test": words(4000), "pictures": pictures(1000)}


def load(name: str = "crossmodal") -> dict[str, np.ndarray]:
    """The vectors that `make` or `draw` kept."""
    if not cached(name).is_file():
        sys.exit("no vectors yet: run `python -m eval.bench.crossmodal RUN CAPTIONS.csv`, or with --made")
    with np.load(cached(name)) as kept:
        return {name: kept[name] for name in kept.files}


def gap(vectors: dict[str, np.ndarray]) -> dict[str, int]:
    """Lists that IVF1024,Flat must visit for a recall@10 of 0.95, by kind of query."""
    rows = vectors["rows"].astype(np.float32)
    exact, lists = flat(rows), inverted_lists(rows)
    needed = {}
    for kind in ("test", "pictures"):
        queries = vectors[kind][:1000]
        truth = nearest(exact, queries, tune.K)
        for probes in (2 ** (power / 4) for power in range(41)):
            some = parameters("SearchParametersIVF", nprobe=round(probes))
            if tune.hits(nearest(lists, queries, tune.K, some), truth).mean() >= 0.95:
                needed[kind] = round(probes)
                break
    return needed


def main() -> None:
    """Make the vectors, keep them, and say how wide the gap is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?")
    parser.add_argument("source", nargs="?")
    parser.add_argument("--made", action="store_true")
    parser.add_argument("--rows", type=int)
    asked = parser.parse_args()
    if not asked.made and not asked.source:
        parser.error("give a run and its captions, or --made")
    vectors = draw(asked.rows or 10**6) if asked.made else make(asked.run, asked.source, asked.rows or 504_000)
    file = cached("made" if asked.made else "crossmodal")
    file.parent.mkdir(parents=True, exist_ok=True)
    save(file, vectors)
    needed = gap(vectors)
    note(f"{len(vectors['rows'])} rows in {file}; lists visited for 0.95: {needed}")
    note(f"words need {needed['test'] / needed['pictures']:.1f} times the work of pictures")


if __name__ == "__main__":
    main()
