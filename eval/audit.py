"""What a reader should know before believing a figure: of the pairs, and of the vectors. A line each.

Nothing here is averaged away: what cannot be told apart, is met twice, or is no number counts as it is, and is said.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from eval.measuring import Measured
from eval.mixups import words_of
from retrieval.datatypes import Item, Pair
from retrieval.indexing import contents

COLLAPSED = 0.97  # mean cosine of different pictures, or captions, from which they are hardly told apart
DRAWN = 2000  # rows, for that mean
NAMED = 3  # of what is listed within a line


def of_pairs(pairs: Sequence[Pair]) -> list[str]:
    """Captions of several pictures, captions that come twice, pictures that do."""
    owners: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        owners[words_of(pair.caption) or pair.caption].append(pair.item.id)
    shared = {text: ids for text, ids in owners.items() if len(set(ids)) > 1}
    notes = []
    if shared:
        count, example = sum(map(len, shared.values())), max(shared, key=lambda text: len(shared[text]))
        notes.append(
            f"captions that several pictures have: {count}, as {_quoted(example)} of {len(set(shared[example]))}; no "
            "encoder can tell which is meant"
        )
    again = sum(sum(times - 1 for times in Counter(ids).values()) for ids in owners.values())
    if again:
        notes.append(f"captions that come again with the same picture: {again}, each time a query")
    items = {pair.item.id: pair.item for pair in pairs}
    alike = [names for names in by_content(items.values()).values() if len(names) > 1]
    if alike:
        count = sum(map(len, alike))
        notes.append(
            f"{count} pictures are copies of each other, as {_some(alike[0])}: one is wrong where the other is right"
        )
    return notes


def seen_before(pairs: Sequence[Pair], trained_on: Iterable[Pair]) -> tuple[str, list[str]]:
    """A line on pictures that training had as well, by their content, "" where there are none; and their uris."""
    known = set(by_content({pair.item.id: pair.item for pair in trained_on}.values()))
    here = by_content({pair.item.id: pair.item for pair in pairs}.values())
    names = sorted(name for key, held in here.items() if key in known for name in held)
    if not names:
        return "", []
    return (
        f"pictures that were trained on as well: {len(names)}, as {_some(names)}; leave them out to know what it knows",
        names,
    )


def of_vectors(measured: Measured) -> list[str]:
    """Vectors that are no numbers, and encoders that make one of everything."""
    notes = []
    for what, rows in (("pictures", measured.images), ("captions", measured.texts)):
        bad = int((~np.isfinite(rows).all(1)).sum())
        if bad:
            notes.append(f"{measured.encoder}: {bad} {what} have vectors that are no numbers: they count as found last")
        cosine = mean_cosine(rows)
        if cosine > COLLAPSED:
            notes.append(
                f"{measured.encoder}: {what} are hardly told apart, their mean cosine is {cosine:.3f}: the encoder has "
                "collapsed"
            )
    return notes


def mean_cosine(rows: np.ndarray) -> float:
    """Of different rows, drawn where they are many; 0 for fewer than two."""
    rows = rows[np.isfinite(rows).all(1)]
    if len(rows) > DRAWN:
        rows = rows[np.random.default_rng(0).choice(len(rows), DRAWN, replace=False)]
    count = len(rows)
    if count < 2:
        return 0.0
    total = rows.sum(0, dtype=np.float64)
    return float((total @ total - np.einsum("nd,nd->", rows, rows, dtype=np.float64)) / (count * (count - 1)))


def by_content(items: Iterable[Item]) -> dict[str, list[str]]:
    """Key of a file's content -> the uris of those that have it. Pictures that are no files have none."""
    found: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if key := contents.key_of(item):
            found[key].append(item.uri)
    return dict(found)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _quoted(text: str) -> str:
    return f'"{text if len(text) <= 60 else text[:57] + "..."}"'
