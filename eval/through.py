"""What an index costs beyond its encoder: the captions asked of the index as it searches, beside its exact answers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.measuring import Measured
from indexes import Store
from indexes.errors import WrongEncoder
from retrieval.errors import BadRequest
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import Identity, root_of

K = 10
_TOGETHER = 1000  # records that are read at once


@dataclass(frozen=True, slots=True)
class Through:
    """hit@10 of captions among all pictures of an index.

    Attributes:
        encoder: Which asked.
        index: The folder of the index.
        rows: How many pictures it holds: those of the pairs, and others.
        queries: How many captions were asked, whose picture it holds.
        exact: hit@10 of its exact answers.
        searched: hit@10 as it searches unless asked for more.
        recall: The share of the ten nearest that it found.
    """

    encoder: str
    index: str
    rows: int
    queries: int
    exact: float
    searched: float
    recall: float

    def __str__(self) -> str:
        return (
            f"through {self.index} ({self.rows} pictures), {self.encoder}: text-to-image hit@10 {self.exact:.1%} "
            f"exactly, {self.searched:.1%} as it searches, which finds {self.recall:.1%} of the ten nearest "
            f"({self.queries} captions)"
        )


def search(measured: Measured, path: Path) -> Through:
    """Ask an index of the same encoder the captions whose pictures it holds.

    Raises:
        StoreError: There is no index, it cannot be read, or has another encoder.
        BadRequest: It holds none of these pictures.
    """
    with Store.open(path) as store:
        known = Identity.recorded(store)
        if known is None or known.fingerprint != measured.fingerprint:
            raise WrongEncoder(
                f"{path} is of {known.name if known else 'an unknown encoder'}, not of {measured.encoder}: index with "
                f"it, as `mmr index --model {measured.encoder}`, or leave out --through"
            )
        where = _rows(store, measured)
        asked = np.flatnonzero(where[measured.owner] >= 0)
        if not len(asked):
            raise BadRequest(f"{path} holds none of these pictures: index them, or leave out --through")
        right = where[measured.owner[asked]]
        exact = store.search(measured.texts[asked], K, recall=1).rows
        found = store.search(measured.texts[asked], K).rows
        same = [len(np.intersect1d(one[one >= 0], other[other >= 0])) for one, other in zip(exact, found, strict=True)]
        return Through(
            measured.encoder, str(path), len(store), len(asked), _hits(exact, right), _hits(found, right),
            float(np.mean(same) / min(K, len(store))),
        )  # fmt: skip


def _hits(rows: np.ndarray, right: np.ndarray) -> float:
    return float((rows == right[:, None]).any(1).mean())


def _rows(store: Store, measured: Measured) -> np.ndarray:
    """The row of each picture, by where its file is, or by its id; -1 for those that are not there: int64 (n,)."""
    names = {_name(item.content, item.id): number for number, item in enumerate(measured.items)}
    names |= {item.id: number for number, item in enumerate(measured.items)}
    found, root, rows = np.full(len(measured.items), -1), root_of(store), store.rows()
    for start in range(0, len(rows), _TOGETHER):
        part = rows[start : start + _TOGETHER]
        for row, record in zip(part.tolist(), store.records(part), strict=True):
            path = Card.of(record).path_below(root)
            number = names.get(path or record.id, names.get(record.id, -1))
            if number >= 0:
                found[number] = row
    return found


def _name(content: object, otherwise: str) -> str:
    return str(content.resolve()) if isinstance(content, Path) else otherwise
