"""Words beside meaning: does asking both find what the better one finds, and more?

    python -m eval.bench.hybrid [--data FOLDER] [--only flickr8k]

Of real pictures with captions (flickr8k, fashion, emoji below FOLDER) an index is made by `mmr index`'s own code with
`builtin`, without the captions that are asked for. What is recorded in it of words beside meaning was measured on its
other captions alone. Beside it, on the same texts: bm25s (English stems and stop words) and mteb's reciprocal rank
fusion of its ranking and ours by meaning, which the peers' environment `.venv-peers/hybrid` has.

    flickr8k   the first caption of each picture of dev asks; the other four are in the index
    fashion    the title asks; in the index are half of its words, as products_partial.csv has it, and the attributes
    emoji      the English name asks; in the index are English tags and groups

A line each of JSON for recall@10 and nDCG@10: both, beside each peer and beside each alone, in percent.
"""

import argparse
import csv
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.bench import figure, note
from indexes.fulltext import texts
from retrieval import Retriever, cache, load_encoder
from retrieval.indexing.hybrid import Measured
from retrieval.search.answers import Asked

K, DEPTH = 10, 100
PEERS = ".venv-peers/hybrid/bin/python"
SHARE = 100.0


@dataclass(frozen=True, slots=True)
class Task:
    """Pictures, what the index says of each, and which queries ask for which of them."""

    rows: list[dict[str, str]]  # columns of a csv; `image` is a path
    queries: dict[str, set[str]]  # text -> images


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def flickr8k(data: Path) -> Task:
    """Photos with five captions."""
    captions: dict[str, list[str]] = {}
    for line in _lines(data / "flickr8k/captions.csv"):
        if (line["split"], line["lang"]) == ("dev", "en"):
            captions.setdefault(str(data / "flickr8k" / line["image"]), []).append(line["caption"])
    rows = [{"image": image, "caption": one} for image, (_, *others) in captions.items() for one in others]
    return Task(rows, _wanted((first, image) for image, (first, *_) in captions.items()))


def fashion(data: Path) -> Task:
    """Shop photos with titles, of which a careless catalogue has half the words."""
    folder = data / "fashion"
    rows = [line | {"image": str(folder / line["image"])} for line in _lines(folder / "products_partial.csv")]
    asked = _lines(folder / "products.csv")
    return Task(rows, _wanted((line["caption"], str(folder / line["image"])) for line in asked if line["caption"]))


def emoji(data: Path) -> Task:
    """Emoji with names and tags."""
    folder = data / "emoji"
    tags = {line["image"]: line["tags"] for line in _lines(folder / "tags.csv") if line["lang"] == "en"}
    lines = [line for line in _lines(folder / "labels.csv") if tags.get(line["image"]) and line["name_en"]]
    rows = [
        {
            "image": str(folder / line["image"]), "caption": tags[line["image"]].replace("|", ", "),
            "group": line["group"], "subgroup": line["subgroup"],
        } for line in lines
    ]  # fmt: skip
    return Task(rows, _wanted((line["name_en"], str(folder / line["image"])) for line in lines))


TASKS = {"flickr8k": flickr8k, "fashion": fashion, "emoji": emoji}


def _wanted(pairs: Iterator[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for text, image in pairs:
        found.setdefault(text, set()).add(image)
    return found


def opened(name: str, task: Task) -> Retriever:
    """The index of a task, in the cache: made, or brought up to date."""
    place = cache.folder("bench")
    table = place / f"hybrid-{name}.csv"
    place.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(task.rows[0]))
        writer.writeheader()
        writer.writerows(task.rows)
    retriever, _ = Retriever.build(
        f"csv:{table}", place / f"hybrid-{name}.mmr", load_encoder("builtin"), on_message=note
    )
    note(f"{name}: {len(retriever.store)} pictures, {len(task.queries)} queries")
    return retriever


def rankings(retriever: Retriever, task: Task) -> dict[str, list[list[str]]]:
    """The images that each way finds for each query, the best first."""
    found, asked = {}, list(task.queries)
    for by in ("meaning", "words", "both"):
        k = DEPTH if by == "meaning" else K
        hits = retriever.search_many([f"text:{text}" for text in asked], Asked(k=k, by=by))
        found[by] = [[str(hit.path) for hit in one] for one in hits]
    return found


def of_peers(retriever: Retriever, task: Task, meaning: Sequence[Sequence[str]]) -> dict[str, list[list[str]]]:
    """The same of the peers, on the same texts."""
    records = retriever.store.records(retriever.store.rows())
    images = [str(Path(record.fields["uri"])) for record in records]
    said = ["\n".join(texts.of(record.fields)) for record in records]
    work = {"images": images, "texts": said, "queries": list(task.queries), "meaning": meaning, "depth": DEPTH}
    with tempfile.TemporaryDirectory() as folder:
        given, answered = Path(folder) / "work.json", Path(folder) / "found.json"
        given.write_text(json.dumps(work), encoding="utf-8")
        subprocess.run([PEERS, "-m", "eval.bench.hybrid_peers", given, answered], check=True)
        return json.loads(answered.read_text(encoding="utf-8"))


def measured(found: Sequence[Sequence[str]], wanted: Sequence[set[str]]) -> Mapping[str, float]:
    """Means over the queries, in percent: recall@10 of at most ten wanted, and nDCG@10 with one grade."""
    gains = 1 / np.log2(np.arange(2, K + 2))
    recall, ndcg = [], []
    for images, right in zip(found, wanted, strict=True):
        hit = np.array([image in right for image in images[:K]], float)
        most = min(K, len(right))
        recall.append(hit.sum() / most)
        ndcg.append(hit @ gains[: len(hit)] / gains[:most].sum())
    return {"recall@10": SHARE * float(np.mean(recall)), "nDCG@10": SHARE * float(np.mean(ndcg))}


def run(name: str, data: Path) -> None:
    """One task."""
    task = TASKS[name](data)
    with opened(name, task) as retriever:
        note(f"{name}: {Measured.recorded(retriever.store)}")
        ours = rankings(retriever, task)
        peers = of_peers(retriever, task, ours["meaning"])
    wanted = list(task.queries.values())
    both = measured(ours["both"], wanted)
    beside = {"meaning alone": ours["meaning"], "words alone": ours["words"], **peers}
    figures = {peer: measured(found, wanted) for peer, found in beside.items()}
    for metric, value in both.items():
        for peer, of_peer in figures.items():
            least = (of_peer[metric] - 0.5) / max(of_peer[metric], 1e-9)
            figure(f"hybrid {name} {metric}", [value], [of_peer[metric]], peer, round(least, 3), 1.0)


def main() -> None:
    """All tasks, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=TASKS)
    given = parser.parse_args()
    for name in [given.only] if given.only else TASKS:
        run(name, given.data.resolve())


if __name__ == "__main__":
    main()
