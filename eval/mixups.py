"""What is mixed up with what: answers that many queries find wrongly, pictures that are taken for each other, and
captions that say the same of different pictures, which no encoder could tell apart.
"""

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from eval.answers import Firsts
from eval.measuring import Measured
from eval.ranking import finite
from indexes.folding import fold

NEAR = 0.995  # the cosine from which two captions are alike
COMPARED = 20_000  # captions whose vectors are compared with each other: the first ones
_ROWS = 1024  # that are compared at once
_GAPS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Hub:
    """An item that is the first answer of several queries to which it is wrong: item, and their numbers."""

    item: int
    queries: list[int]


@dataclass(frozen=True, slots=True)
class Mixed:
    """Two pictures that are answered for each other.

    Attributes:
        one: The picture with more captions that lead to the other, or the first.
        other: The other.
        to_other: The captions of the one that find the other first.
        to_one: The captions of the other that find the one first.
    """

    one: int
    other: int
    to_other: list[int]
    to_one: list[int]


@dataclass(frozen=True, slots=True)
class Alike:
    """Captions of at least two pictures that cannot be told apart.

    Attributes:
        captions: Their numbers, ascending.
        pictures: How many pictures they are of.
        same_words: Whether all have the same words, whatever their case and punctuation; else their vectors are near.
    """

    captions: list[int]
    pictures: int
    same_words: bool


def hubs(found: Firsts, least: int = 2) -> list[Hub]:
    """The wrong first answers of at least so many queries, the most frequent ones first, then in their order."""
    queries = defaultdict(list)
    for at in np.flatnonzero(~found.found):
        queries[int(found.wrong[at])].append(int(found.asked[at]))
    made = [Hub(item, of) for item, of in sorted(queries.items()) if len(of) >= least]
    return sorted(made, key=lambda hub: -len(hub.queries))


def mixed(found: Firsts, owner: np.ndarray) -> list[Mixed]:
    """Pictures that captions of each other find first, those with the most such captions first.

    found: Of words that find pictures. owner: int64 (q,), the picture of each caption.
    """
    leads: dict[tuple[int, int], list[int]] = defaultdict(list)
    for at in np.flatnonzero(~found.found):
        caption = int(found.asked[at])
        leads[int(owner[caption]), int(found.wrong[at])].append(caption)
    both = [(one, other, to, leads.get((other, one), [])) for (one, other), to in leads.items()]
    # Of the two ways to tell a pair, the one that begins with more captions, or with the first picture.
    made = [
        Mixed(one, other, to, back) for one, other, to, back in both if back and (len(to), other) > (len(back), one)
    ]
    return sorted(made, key=lambda two: (-len(two.to_other) - len(two.to_one), two.one))


def alike(measured: Measured) -> list[Alike]:
    """Groups of captions with the same words, or with vectors whose cosine is at least NEAR; the most pictures first.

    Vectors are compared for the first COMPARED captions. A caption joins the first one that is near it.
    """
    words = [words_of(pair.caption) for pair in measured.pairs]
    group, seen = np.arange(len(words)), dict[str, int]()
    for number, text in enumerate(words):
        group[number] = seen.setdefault(text, number)
    _join_near(group, measured.texts[:COMPARED])
    members = defaultdict(list)
    for number, first in enumerate(group.tolist()):
        members[first].append(number)
    pictures = {first: len(set(measured.owner[of].tolist())) for first, of in members.items()}
    made = [Alike(of, pictures[first], len({words[one] for one in of}) == 1) for first, of in members.items()]
    return sorted((one for one in made if one.pictures > 1), key=lambda one: (-one.pictures, one.captions[0]))


def words_of(text: str) -> str:
    """A text without case, punctuation and repeated blanks."""
    kept = "".join(" " if unicodedata.category(letter)[0] in "PZC" else letter for letter in fold(text))
    return _GAPS.sub(" ", kept).strip()


def _join_near(group: np.ndarray, texts: np.ndarray) -> None:
    """Put captions into the group of the first one that is near: group int64 (q,), the first caption of each one's."""
    (texts, mute), compared = finite(texts), group[: len(texts)]
    for start in range(0, len(texts), _ROWS):
        rows = texts[start : start + _ROWS]
        near = rows @ texts[: start + len(rows)].T >= NEAR
        near &= ~mute[start : start + len(rows), None] & np.tri(len(rows), near.shape[1], start - 1, dtype=bool)
        for row in np.flatnonzero(near.any(1)).tolist():
            mine, theirs = compared[start + row], compared[near[row].argmax()]
            compared[compared == max(mine, theirs)] = min(mine, theirs)
    group[:] = group[group]  # of captions behind those compared, whose first one has joined another
