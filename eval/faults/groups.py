"""An index whose every answer can be checked alone: what readers beside a writer are asked (readers.py).

Every item has a vector made from its id and stamp, and one commit gives all items of a group the same stamp: so half of
a state shows, and an answer that is made of two.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexes import Record, Store, filters
from retrieval.datatypes import Picture
from retrieval.encoders.preprocess import Preprocess
from retrieval.indexing.catalog import Identity
from retrieval.retriever import Retriever

DIM, GROUPS, GROUP = 16, 12, 5


class Words:
    """An encoder of texts alone: each text is a random direction of its own, the same everywhere."""

    name, dim, fingerprint, preprocess = "words", DIM, "words-1", Preprocess(8)
    lanes, bulk, numbers = 1, 32, "float32"

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (n, DIM), of unit length."""
        drawn = [np.random.default_rng(list(text.encode())).standard_normal(DIM) for text in texts]
        rows = np.array(drawn, np.float32).reshape(len(texts), DIM)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_images(self, images: Sequence[Picture]) -> np.ndarray:
        """There are no pictures here."""
        raise NotImplementedError

    def pool_frames(self, vectors: np.ndarray) -> np.ndarray:
        """Nor clips."""
        raise NotImplementedError


def said(name: str, stamp: str) -> str:
    """The words that give the vector of an item of that stamp."""
    return f"{name} of {stamp}"


def put(store: Store, group: int, stamp: str) -> None:
    """One commit: all items of a group have this stamp from now on."""
    names = [f"{group}/{number}" for number in range(GROUP)]
    fields = {"group": group, "meta": {"stamp": stamp, "group": group}}
    records = [Record(name, stamp, {"uri": name, "caption": said(name, stamp), **fields}) for name in names]
    store.add(Words().encode_texts([said(name, stamp) for name in names]), records)


def fill(path: Path) -> None:
    """The index before anybody reads it."""
    with Store.create(path, DIM, **Identity.of(Words(), path).entry()) as store:
        for group in range(GROUPS):
            put(store, group, "0")


def state_of(store: Store) -> dict[str, object]:
    """All that a store is asked here, checked in itself. Raises AssertionError where it is half of a state."""
    stamps = store.stamps()
    rows = store.rows()
    records = store.records(rows)
    assert {record.id: record.stamp for record in records} == stamps, "records and stamps differ"
    groups: dict[str, list[str]] = {}
    for name, stamp in stamps.items():
        groups.setdefault(name.split("/")[0], []).append(stamp)
    assert all(len(held) == GROUP and len(set(held)) == 1 for held in groups.values()), f"half of a commit: {groups}"
    found = {}
    for exact in (None, 1):
        queries = Words().encode_texts([said(record.id, record.stamp) for record in records])
        best = store.search(queries, 1, recall=exact) if records else None
        found[exact] = [] if best is None else best.rows[:, 0].tolist()
        assert found[exact] == rows.tolist(), "a row is not the nearest to its own vector"
    where = store.rows(filters.parse("group < 3")).tolist()
    return {"stamps": stamps, "rows": rows.tolist(), "where": where, "count": len(store), "bytes": bool(
        store.describe()["bytes"])}  # fmt: skip


def answers_of(retriever: Retriever) -> list[tuple[str, float]]:
    """What a Retriever says to some queries."""
    asked = [retriever.search(f"query {number}", k=4, exact=number % 2 == 0) for number in range(3)]
    asked += [retriever.search("query", k=4, where="group >= 3"), retriever.search("query", k=4, diversity=0.5)]
    asked.append(retriever.captions("query"))
    for hits in asked:
        for hit in hits:
            assert hit.caption == said(hit.id, hit.meta["stamp"]), "an answer is made of two states"
    return [(hit.caption or "", round(hit.score, 3)) for hits in asked for hit in hits]
