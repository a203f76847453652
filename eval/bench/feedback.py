"""What judgements of answers are worth: `mmr search --like --unlike` and `--train-on`, beside the query alone.

    python -m eval.bench.feedback builtin class "csv:labels.csv?split=test" "csv:labels.csv?split=validation"

A user asks for a class, by its name in three wordings and by one of its pictures, and judges the five best answers that
are not judged yet by their true class, then the next five of the moved query, up to twenty. Mean average precision, of
three seeds, which draw halves of the pictures and the picture that is asked with:

    other half    pictures that nobody could judge: the user sees one half, and the other is ranked (test and control)
    residual      of the user's half what is left unjudged; none: the query alone on the same pictures
    all           of the user's half everything, with what was judged

One JSON line for each after 5 and 20 judgements: ours what `mmr search` takes for so many, the peer the query alone,
with Rocchio, the head and textbook weights of Rocchio (1, 0.75, 0.15; Manning, Raghavan and Schuetze 2008) beside. Ways
are compared on the other half alone: each leaves a residual of its own. The intervals of 95 % are of the differences,
by the bootstrap over classes, as the queries of one are not independent of each other.

Then the same where nothing is liked: the first 1, 5 and 20 wrong answers to the query are unliked at once.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from eval import intervals
from eval.bench import note, say
from retrieval import load_encoder, open_items
from retrieval.encoders import encoding
from retrieval.search import feedback
from retrieval.search.feedback import Space

SEEDS, ROUND, MARKS = 3, 5, (5, 20)
UNLIKES = (1, 5, 20)  # of which nothing is liked
WORDINGS = ("{}", "a photo of {}", "picture of a {}")
FEWEST = 20  # pictures of a class
MEASURES = ("other half", "residual", "all")


class Known(NamedTuple):
    """What was judged of a query. asked: (d,). liked, unliked: rows (m, d) and (n, d). near: best unjudged rows."""

    asked: np.ndarray
    liked: np.ndarray
    unliked: np.ndarray
    near: np.ndarray
    space: Space

    @classmethod
    def of(cls, seen: np.ndarray, right: np.ndarray, asked: np.ndarray, judged: np.ndarray, space: Space) -> "Known":
        """That of vectors (n, d), of which some are right and some judged: bool (n,)."""
        near = np.argsort(-np.where(judged, -np.inf, seen @ asked), kind="stable")[: feedback.NEAR]
        return cls(asked, seen[judged & right], seen[judged & ~right], seen[near[~judged[near]]], space)


def textbook(known: Known) -> np.ndarray:
    """Rocchio's sum of unit vectors as they are."""
    moved = known.asked + 0.75 * known.liked.mean(0) if len(known.liked) else known.asked
    return moved - 0.15 * known.unliked.mean(0) if len(known.unliked) else moved


Way = Callable[[Known], np.ndarray]
WAYS: dict[str, Way] = {
    "none": lambda known: known.asked,
    "textbook": textbook,
    "rocchio": lambda known: feedback.rocchio(known.asked, known.liked, known.unliked, known.space),
    "head": lambda known: feedback.head(known.asked, known.liked, known.unliked, known.space),
    "ours": lambda known: feedback.chosen(*known),
}


class Pictures(NamedTuple):
    """vectors: float64 (n, d), unit rows. labels: (n,). texts: label -> float64 (3, d), its wordings."""

    vectors: np.ndarray
    labels: np.ndarray
    texts: dict[str, np.ndarray]

    @classmethod
    def of(cls, name: str, column: str, sources: Sequence[str]) -> "Pictures":
        """The pictures of these sources that decode, and the classes that have enough of them."""
        encoder = load_encoder(name)
        items = [item for source in sources for item in open_items(source)]
        batches = list(encoding.encode(items, encoder))
        labels = np.array([str(item.meta.get(column) or "") for batch in batches for item in batch.items])
        names = [one for one in sorted(set(labels)) if one and (labels == one).sum() >= FEWEST]
        words = [wording.format(one.replace("-", " ").lower()) for one in names for wording in WORDINGS]
        texts = encoder.encode_texts(words).astype(np.float64).reshape(len(names), len(WORDINGS), -1)
        vectors = np.concatenate([batch.vectors for batch in batches]).astype(np.float64)
        return cls(vectors, labels, dict(zip(names, texts, strict=True)))


def average_precision(scores: np.ndarray, right: np.ndarray) -> float:
    """Of one ranking: the mean of the precision at each right answer. NaN where there is none."""
    found = right[np.argsort(-scores, kind="stable")]
    places = np.flatnonzero(found)
    return float(((np.arange(len(places)) + 1) / (places + 1)).mean()) if len(places) else np.nan


Judged = Iterator[tuple[int, np.ndarray, np.ndarray]]  # (judgements, moved query, which are judged)


def judge(seen: np.ndarray, right: np.ndarray, asked: np.ndarray, way: Way) -> Judged:
    """After each round."""
    moved, judged, space = asked, np.zeros(len(seen), bool), Space.of(seen)
    while judged.sum() < MARKS[-1]:
        best = np.argsort(-np.where(judged, -np.inf, seen @ moved), kind="stable")[:ROUND]
        judged[best] = True
        moved = way(Known.of(seen, right, asked, judged, space))
        yield int(judged.sum()), moved, judged.copy()


def unlike(seen: np.ndarray, right: np.ndarray, asked: np.ndarray, way: Way) -> Judged:
    """After each count of UNLIKES, of the first wrong answers to the query."""
    wrong, space = np.argsort(-np.where(right, -np.inf, seen @ asked), kind="stable"), Space.of(seen)
    for count in UNLIKES:
        judged = np.zeros(len(seen), bool)
        judged[wrong[:count]] = True
        yield count, way(Known.of(seen, right, asked, judged, space)), judged


Judge = Callable[[np.ndarray, np.ndarray, np.ndarray, Way], Judged]
KINDS: dict[str, tuple[Judge, tuple[int, ...]]] = {"judgements": (judge, MARKS), "unlikes alone": (unlike, UNLIKES)}


def figures(known: Pictures, seed: int, kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """(class, float64 (ways, marks, measures)) of each query; of none the residual is (ways, marks) of the others'."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(known.labels))
    mine, other = np.sort(drawn[: len(drawn) // 2]), np.sort(drawn[len(drawn) // 2 :])
    for name, texts in known.texts.items():
        right = known.labels == name
        picture = known.vectors[rng.choice(other[right[other]])]
        for asked in (*texts, picture):
            yield name, _of_query(known.vectors, right, mine, other, asked, kind)


def _of_query(
    x: np.ndarray, right: np.ndarray, mine: np.ndarray, other: np.ndarray, asked: np.ndarray, kind: str
) -> np.ndarray:
    """float64 (ways, marks, 4): the measures, and the query alone on the same residual."""
    judging, marks = KINDS[kind]
    found = np.empty((len(WAYS), len(marks), len(MEASURES) + 1))
    for number, way in enumerate(WAYS.values()):
        for count, moved, judged in judging(x[mine], right[mine], asked, way):
            if count in marks:
                left, scores = mine[~judged], x @ moved
                of = [average_precision(scores[rows], right[rows]) for rows in (other, left, mine)]
                found[number, marks.index(count)] = [*of, average_precision(x[left] @ asked, right[left])]
    return found


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder")
    parser.add_argument("label")
    parser.add_argument("sources", nargs="+")
    given = parser.parse_args()
    known = Pictures.of(given.encoder, given.label, given.sources)
    note(f"{len(known.labels)} pictures, {len(known.texts)} classes")
    for kind, (_, marks) in KINDS.items():
        lines = [line for seed in range(SEEDS) for line in figures(known, seed, kind)]
        owner = np.unique([name for name, _ in lines], return_inverse=True)[1]
        found = np.stack([values for _, values in lines])
        for mark, count in enumerate(marks):
            for number, measure in enumerate(MEASURES):
                _say(f"{given.label}, {measure}, {count} {kind}", found[:, :, mark, :], number, owner)


def _say(name: str, found: np.ndarray, number: int, owner: np.ndarray) -> None:
    """One line. found: (queries, ways, 4); number: of the measure."""
    alone = found[:, :, 3] if MEASURES[number] == "residual" else np.repeat(found[:, :1, number], len(WAYS), 1)
    moved = found[:, :, number]
    at = {way: place for place, way in enumerate(WAYS)}
    pairs = {way: moved[:, at[way]] - alone[:, at[way]] for way in list(WAYS)[1:]}
    pairs["head - rocchio"] = moved[:, at["head"]] - moved[:, at["rocchio"]]
    whole = np.isfinite(np.stack([*pairs.values()])).all(0)
    low, high = intervals.confidence(np.stack([of[whole] for of in pairs.values()], 1), owner[whole])
    sure = {name: [round(float(a), 3), round(float(b), 3)] for name, a, b in zip(pairs, low, high, strict=True)}
    mine, peer = float(moved[whole, at["ours"]].mean()), float(alone[whole, at["ours"]].mean())
    say(json.dumps({
        "name": name, "ours": round(mine, 3), "peer": round(peer, 3), "peer_name": "none",
        "ratio": round(mine / peer, 2), "floor": 1.0, "goal": 1.0 if "alone" in name else 1.2,
        "ways": {name: round(float(moved[whole, place].mean()), 3) for name, place in at.items()},
        "differences": sure, "queries": int(whole.sum()),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
