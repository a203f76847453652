"""Names of pictures in 28 languages as queries: recall@1 and @10 in each, and which of them the text tower reads.

    python -m eval.bench.languages --data LABELS.csv         # columns image and name_LANGUAGE ($MMR_EMOJI may name it)

Nothing says which language a query is in. Pictures are drawn into two halves; what is fitted is fitted on one half and
asked for the other, both ways, for each of three seeds. A query has one right answer among the half that is asked for.
What is asked, a JSON line for each language of each:

    builtin          the encoder in the box: it saw none of these pictures, and no pair
    bridge-english   `mmr train --recipe bridge` on the English names of the other half
    bridge-all       the same on the names in all languages: captions in each of them
"""

import argparse
import csv
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from eval import metrics, ranking
from eval.bench import note, say
from eval.ranking import Right
from retrieval import DualEncoder, load_encoder, open_pairs, recipes
from retrieval.encoders.views import views
from retrieval.images import load
from retrieval.search.languages import known_to
from retrieval.training.loop import train

SEEDS, AT_ONCE = 3, 16
NAME = "name_"  # how the columns of names begin
FITTED = {"bridge-english": ("en",), "bridge-all": ()}  # (): names in all languages
CODES = {"zh-hant": "zh-TW"}  # as the encoders say it


@dataclass(frozen=True, slots=True)
class Named:
    """Pictures, and their names in each language: as many as there are pictures, in their order."""

    files: list[Path]
    names: dict[str, list[str]]

    @classmethod
    def of(cls, table: Path) -> "Named":
        """What a table says."""
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        languages = [column.removeprefix(NAME) for column in rows[0] if column.startswith(NAME)]
        names = {language: [row[NAME + language] for row in rows] for language in languages}
        return cls([table.parent / row["image"] for row in rows], names)

    def pairs(self, rows: Sequence[int], languages: Sequence[str], out: Path) -> Path:
        """A csv of some of the pictures with their names in these languages; () is all of them."""
        with out.open("w", newline="", encoding="utf-8") as file:
            write = csv.writer(file).writerow
            write(("image", "caption"))
            for row in rows:
                for language in languages or self.names:
                    write((self.files[row].absolute(), self.names[language][row]))
        return out


@dataclass(frozen=True, slots=True)
class Looks:
    """What frozen bodies make of all of it, once: pictures (n, views, width), names of each language (n, width)."""

    pictures: torch.Tensor
    names: dict[str, torch.Tensor]

    @classmethod
    @torch.inference_mode()
    def of(cls, encoder: DualEncoder, named: Named) -> "Looks":
        """As the bodies of a bridged encoder see it: those of another fit are the same."""
        size, parts = encoder.preprocess.size, []
        for start in range(0, len(named.files), AT_ONCE):
            shown = [encoder.preprocess(load.decode(file, size)) for file in named.files[start : start + AT_ONCE]]
            pixels = encoder.preprocess.normalize(torch.from_numpy(np.stack(shown)))
            looks = [encoder.image_tower.features(view) for view in views(pixels, encoder.preprocess.views)]
            parts.append(torch.stack(looks, 1).float())
        names = {language: _features(encoder, texts) for language, texts in named.names.items()}
        return cls(torch.cat(parts), names)

    @torch.inference_mode()
    def vectors(self, encoder: DualEncoder, rows: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Unit rows of some pictures, and of their names, by an encoder's heads."""
        seen = self.pictures[rows]
        looks = F.normalize(encoder.image_tower.head(seen.flatten(0, 1)), dim=-1).unflatten(0, seen.shape[:2])
        pictures = F.normalize(looks.sum(1), dim=-1).numpy()
        return pictures, {
            language: F.normalize(encoder.text_tower.head(found[rows]), dim=-1).numpy()
            for language, found in self.names.items()
        }


def _features(encoder: DualEncoder, texts: Sequence[str]) -> torch.Tensor:
    parts = [
        encoder.text_tower.features(torch.from_numpy(encoder.tokenize(texts[start : start + 256]))).float()
        for start in range(0, len(texts), 256)
    ]
    return torch.cat(parts)


def halves(count: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(seed, rows that are fitted, rows that are asked for): every row is asked for once a seed."""
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(count)
        first, second = np.sort(order[: count // 2]), np.sort(order[count // 2 :])
        yield from ((seed, first, second), (seed, second, first))


def found(pictures: np.ndarray, names: np.ndarray) -> tuple[float, float]:
    """recall@1 and @10 of names whose pictures have the same row."""
    rows = np.arange(len(names))
    told = metrics.measure(ranking.rank(names, pictures, Right.of(rows, rows))[0])
    return told["hit@1"], told["hit@10"]


def fitted(named: Named, rows: np.ndarray, languages: Sequence[str], folder: Path, seed: int) -> DualEncoder:
    """The recipe `bridge` on some of the pictures."""
    pairs = open_pairs(f"csv:{named.pairs(rows.tolist(), languages, folder / 'pairs.csv')}")
    return train(pairs, folder / "run", dataclasses.replace(recipes.bridge(len(rows)), seed=seed)).encoder


def tell(name: str, language: str, values: Sequence[tuple[float, float]], held: int, read: bool) -> None:
    """The line of a language: means over folds, the spread over the means of the seeds, and chance, in percent."""
    line: dict[str, object] = {"name": f"languages-{name}", "language": language, "read": read, "pictures": held}
    for place, k in enumerate((1, 10)):
        seeds = [statistics.mean(fold[place] for fold in values[at : at + 2]) for at in range(0, len(values), 2)]
        line[f"recall@{k}"] = round(100 * statistics.mean(seeds), 1)
        line[f"spread@{k}"] = round(100 * (max(seeds) - min(seeds)), 1)
        line[f"chance@{k}"] = round(100 * k / held, 1)
    say(json.dumps(line))


def compare(named: Named) -> None:
    """All lines."""
    folds = list(halves(len(named.files)))
    held = len(folds[0][2])
    builtin = load_encoder("builtin")
    reads = known_to(builtin)
    known = {one: CODES.get(one, one.partition("-")[0]) in reads for one in named.names}
    pictures = np.concatenate([
        builtin.encode_images([load.decode(file, builtin.preprocess.size) for file in named.files[at : at + AT_ONCE]])
        for at in range(0, len(named.files), AT_ONCE)
    ])  # fmt: skip
    for language, texts in named.names.items():
        rows = builtin.encode_texts(texts)
        tell("builtin", language, [found(pictures[asked], rows[asked]) for *_, asked in folds], held, known[language])
    del builtin
    looks = None
    for name, languages in FITTED.items():
        values: dict[str, list[tuple[float, float]]] = {language: [] for language in named.names}
        for seed, fit, asked in folds:
            with tempfile.TemporaryDirectory() as folder:
                encoder = fitted(named, fit, languages, Path(folder), seed)
            looks = looks or Looks.of(encoder, named)
            shown, asking = looks.vectors(encoder, asked)
            for language, rows in asking.items():
                values[language].append(found(shown, rows))
            note(
                f"{name}, seed {seed}: {statistics.mean(one[-1][1] for one in values.values()):.1%} @10 over languages"
            )
        for language, several in values.items():
            tell(name, language, several, held, known[language])


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MMR_EMOJI"), metavar="LABELS.csv")
    args = parser.parse_args()
    if not args.data:
        sys.exit("pictures with names in several languages are needed: add --data LABELS.csv")
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("MMR_CACHE", cache)
        compare(Named.of(args.data.resolve()))


if __name__ == "__main__":
    main()
