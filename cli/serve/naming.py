"""What clusters of pictures are called: a caption of their own where one fits better, else a thing of the bank."""

from collections.abc import Callable, Sequence

import numpy as np

from retrieval.encoders import prompts
from retrieval.encoders.protocol import Encoder

TEMPLATE = "a photo of {}"
COMMON = 0.5  # of what a name has with all pictures is taken away: it should tell a cluster from the others
NEARLY = 0.8  # of the score of the best name, which another one must have to stand in for it
BETTER = 1.1  # times the score of a thing, which a caption must have
NEAREST = 25  # items of a cluster, by their nearness to its middle, whose captions may name it
LONGEST = 50  # letters of such a caption
Captions = Callable[[int], Sequence[str]]


def named(
    cluster: np.ndarray, vectors: np.ndarray, captions: Captions, encoder: Encoder
) -> dict[int, tuple[str, bool]]:  # fmt: skip
    """Names for clusters. One whose best name is taken has another only if that fits about as well.

    Args:
        cluster: The number of each row, int64 (n,).
        vectors: Unit rows, float32 (n, d).
        captions: Those of a row.
        encoder: Theirs.

    Returns:
        By number, those that fit best first: the name, and whether a cluster before it has the same one.
    """
    numbers = np.unique(cluster)
    middles = np.stack([vectors[cluster == number].mean(0) for number in numbers]) - COMMON * vectors.mean(0)
    things = prompts.things()
    asked = encoder.encode_texts([TEMPLATE.format(thing) for thing in things])
    own = [_own(vectors, np.flatnonzero(cluster == number), captions) for number in numbers]
    bank = dict(zip(things, asked, strict=True))
    scored = [_scored(middle, bank, texts, encoder) for middle, texts in zip(middles, own, strict=True)]
    return _given(dict(zip(numbers.tolist(), scored, strict=True)))


def _own(vectors: np.ndarray, rows: np.ndarray, captions: Captions) -> list[str]:
    """The short captions of the rows that are nearest to the middle of all of them."""
    near = vectors[rows] @ vectors[rows].mean(0)
    nearest = rows[np.argsort(-near, kind="stable")[:NEAREST]]
    texts = (caption.strip(" .") for row in nearest.tolist() for caption in captions(row))
    return list(dict.fromkeys(text for text in texts if 0 < len(text) <= LONGEST))


def _scored(
    middle: np.ndarray, things: dict[str, np.ndarray], texts: list[str], encoder: Encoder
) -> list[tuple[float, str]]:  # fmt: skip
    """Names with how near they are to the middle of a cluster, the best first; captions where they are BETTER."""
    found = [(float(vector @ middle), thing) for thing, vector in things.items()]
    best = max(score for score, _ in found)
    if texts:
        near = zip((encoder.encode_texts(texts) @ middle).tolist(), texts, strict=True)
        found += [(score, text) for score, text in near if score > BETTER * best]
    return sorted(found, reverse=True)


def _given(scored: dict[int, list[tuple[float, str]]]) -> dict[int, tuple[str, bool]]:
    """Each cluster the best name that is still free, or its best one again where the free ones fit much worse."""
    names: dict[int, tuple[str, bool]] = {}
    taken: set[str] = set()
    for number, found in sorted(scored.items(), key=lambda entry: -entry[1][0][0]):
        best = found[0][0]
        free = (name for score, name in found if score >= NEARLY * best and name.casefold() not in taken)
        name = next(free, found[0][1])
        names[number] = name, name.casefold() in taken
        taken.add(name.casefold())
    return names
