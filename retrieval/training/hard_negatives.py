"""Hard negatives: which pictures are like each other, by the vectors of an index that holds them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexes import Store
from retrieval.errors import BadRequest

NEIGHBORS = 16
TOO_NEAR = 0.98  # the same picture once more: its caption would be right
_AT_ONCE = 1024


def nearest(index: Path | str, ids: Sequence[str], count: int = NEIGHBORS) -> np.ndarray:
    """The positions in `ids` of the items most like each, best first, int64 (n, count); -1 where there are fewer.

    Items that the index does not hold, and near-duplicates, are nobody's neighbors. Raises StoreError where there is no
    index, BadRequest where it holds none of the items.
    """
    with Store.open(index) as store:
        rows = store.rows()
        row_of = {record.id: int(row) for record, row in zip(store.records(rows), rows, strict=True)}
        known = [place for place, name in enumerate(ids) if name in row_of]
        if len(known) < 2:
            raise BadRequest(f"{index} holds none of the pictures: fill it with mmr index SOURCE --index {index}")
        place_of = {row_of[ids[place]]: place for place in known}
        found = np.full((len(ids), count), -1, np.int64)
        for first in range(0, len(known), _AT_ONCE):
            some = known[first : first + _AT_ONCE]
            queries = store.vectors([row_of[ids[place]] for place in some])
            # Twice as many: near-duplicates, and what is no training picture, are left out of them.
            asked = store.search(queries, min(len(store), 2 * count + 1), recall=1)
            for place, near, scores in zip(some, asked.rows.tolist(), asked.scores.tolist(), strict=True):
                others = [place_of.get(row, place) for row, score in zip(near, scores, strict=True) if score < TOO_NEAR]
                kept = [other for other in others if other != place][:count]
                found[place, : len(kept)] = kept
    return found
