"""Labels of a few items that reach those like them, without a head: over the graph of each item's nearest (Zhou 2004).

nearest     the edges between each row and its k nearest, as the index finds them
spread      values that flow along edges
propagate   labels spread from the few rows that have one
fill        the same in an index: a column that some of its items have, for all of them
"""

import numpy as np
import torch

from indexes import Record, Store, exact, segments
from retrieval.callbacks import OnProgress, no_progress
from retrieval.errors import BadRequest
from retrieval.heads import labels
from retrieval.indexing.cards import Card

NEIGHBORS = 10
SHARE = 0.9  # of what a row is said to be that comes from those like it
_AT_ONCE = 10_000  # rows of a commit


def nearest(vectors: np.ndarray, k: int) -> np.ndarray:
    """int64 (2, e): each row (n, d) and its k nearest others, both ways, each edge once."""
    segment = segments.Segment(0, vectors.astype(np.float16), np.empty(0, np.int64))
    found = exact.search([segment], np.ascontiguousarray(vectors, np.float32), min(k + 1, len(vectors))).rows
    rows = np.repeat(np.arange(len(vectors)), found.shape[1])
    pairs = np.stack([rows, found.ravel()])[:, (rows != found.ravel()) & (found.ravel() >= 0)]
    return np.unique(np.concatenate([pairs, pairs[::-1]], 1), axis=1)


def spread(values: np.ndarray, edges: np.ndarray, share: float, steps: int = 30) -> np.ndarray:
    """values (n, c): each step is `share` of the neighbors' (symmetrically normalized) and the rest of one's own.

    A node without edges keeps its value, as every node does where share is 0.
    """
    count = np.bincount(edges[1], minlength=len(values)).astype(np.float64)
    weight = 1 / np.sqrt(count[edges[0]] * count[edges[1]])
    places, shape = torch.from_numpy(edges[::-1].copy()), (len(values), len(values))
    along = torch.sparse_coo_tensor(places, torch.from_numpy(weight), shape, check_invariants=True)
    own = torch.from_numpy(values.astype(np.float64))
    alone = torch.from_numpy(count == 0)[:, None]
    now = own
    for _ in range(steps):
        now = torch.where(alone, own, share * torch.sparse.mm(along, now) + (1 - share) * own)
    return now.numpy()


def propagate(labels: np.ndarray, classes: int, edges: np.ndarray, share: float = SHARE) -> np.ndarray:
    """float64 (n, classes), of which the greatest is the answer; all 0 where no label comes.

    labels: int64 (n,), -1 where there is none. Classes count alike, however many rows have them.
    """
    known = np.zeros((len(labels), classes))
    known[labels >= 0, labels[labels >= 0]] = 1
    return spread(known / np.maximum(1, known.sum(0)), edges, share)


def fill(
    store: Store, column: str, field: str = "", neighbors: int = NEIGHBORS, share: float = SHARE,
    on_progress: OnProgress = no_progress,
) -> tuple[str, int, int]:  # fmt: skip
    """Write what some items have in `column` into a label of all that hang together with them.

    An item with a label keeps it. `..._probability` beside the field is the share of the answer among all classes.
    Returns the field, how many items have it now, and how many no label reached. Raises BadRequest where the column
    does not tell classes apart, and for a field of the source.
    """
    rows = store.rows()
    store.require_sound()
    vectors, records = store.vectors(rows), store.records(rows)
    values = [Card.of(record).fields.get(column) for record in records]
    given = [labels.text_of(value) for value in values]
    names = sorted({label for label in given if label})
    if len(names) < 2:
        only = f"only `{names[0]}`" if names else "nothing"
        raise BadRequest(f"{store.path} has {only} in `{column}`: label items of two classes or more, then index again")
    field = field or f"predicted_{column}"
    labels.require_free(store, field)
    place = {name: number for number, name in enumerate(names)}
    known = np.array([-1 if label is None else place[label] for label in given], np.int64)
    scores = propagate(known, len(names), nearest(vectors, neighbors), share)
    scores[known >= 0] = np.eye(len(names))[known[known >= 0]]
    reached = np.flatnonzero(scores.sum(1) > 0)
    for start in range(0, len(reached), _AT_ONCE):
        part = reached[start : start + _AT_ONCE]
        store.add(vectors[part], [_said(records[i], field, names, scores[i]) for i in part])
        on_progress(start + len(part), len(reached))
    return field, len(reached), len(rows) - len(reached)


def _said(record: Record, field: str, names: list[str], scores: np.ndarray) -> Record:
    best = int(scores.argmax())
    return labels.written(record, labels.said(field, names[best], float(scores[best] / scores.sum())))
