"""/api/map: a collection as points of a plane, near ones alike, in named clusters."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from cli.serve import naming, parts, shown, umap_plane
from cli.serve.parts import Parts
from cli.serve.reply import reply
from cli.serve.shelf import Shelf
from indexes import Record, Store, distribution
from retrieval.errors import BadRequest
from retrieval.indexing import stored
from retrieval.indexing.cards import Card

CLUSTERS, TURNS = 12, 15  # and how often their middles move
WITHIN = 0.1  # how much the differences within clusters count beside those between them
RANKED = 0.5  # the share of a place that is its rank: outliers leave room for the others, and none lies on another
LONGEST = 80  # letters of a point's name
NAME = Annotated[str | None, Query(alias="index", max_length=200)]

router = APIRouter(prefix="/api", tags=["index"])


@router.get("/map")
async def map_of(
    request: Request, index: NAME = None, n: Annotated[int, Query(ge=1, le=20_000)] = 5000,
    by: Annotated[Literal["pca", "umap"], Query(description="How; umap where umap-learn is installed.")] = "pca",
) -> Response:  # fmt: skip
    """Up to n pictures as points, near ones alike, by the two directions in which they differ most; named clusters."""
    server = parts.of(request)
    shelf = server.shelves.get(index)
    if by == "umap" and not umap_plane.available():
        raise BadRequest(f"by=umap asks umap-learn: {distribution.install('map')}")
    return reply(await run_in_threadpool(_kept, server, shelf, n, by))


def _kept(server: Parts, shelf: Shelf, n: int, by: str) -> dict[str, Any]:
    def ask(store: Store) -> dict[str, Any]:
        return server.tables.get(
            ("map", store.key, n, by), lambda: _drawn(shelf, store, n, by), lambda: stored.are_all(store)
        )

    ways = ["pca", "umap"] if umap_plane.available() else ["pca"]
    return {"by": by, "ways": ways, **shelf.retriever.whole(ask)}


def _drawn(shelf: Shelf, store: Store, n: int, by: str) -> dict[str, Any]:
    rows = store.rows()
    if len(rows) > n:
        rows = np.sort(np.random.default_rng(0).choice(rows, n, replace=False))
    if len(rows) < 3:
        return {"points": [], "clusters": []}
    vectors, records = store.vectors(rows), store.records(rows)
    captions: Callable[[int], tuple[str, ...]] = lambda row: Card.of(records[row]).captions  # noqa: E731
    cluster = clusters(vectors)
    names = naming.named(cluster, vectors, captions, shelf.retriever.encoder)
    places = umap_plane.plane(vectors) if by == "umap" else plane(vectors, cluster)
    points = [
        {"id": shown.name_of(record.id), "x": _short(x), "y": _short(y), "cluster": int(number), "name": _name(record)}
        for record, (x, y), number in zip(records, places.tolist(), cluster, strict=True)
    ]
    told = [_told(*names[number], places[cluster == number], number) for number in names]
    return {"points": points, "clusters": told}


def _told(name: str, again: bool, places: np.ndarray, number: int) -> dict[str, Any]:
    """A cluster, named at the middle of its points. again: another one has that name, which it fits better."""
    x, y = np.median(places, axis=0).tolist()
    return {
        "name": shown.text(name), "again": again, "x": _short(x), "y": _short(y), "count": len(places),
        "cluster": number,
    }  # fmt: skip


def _name(record: Record) -> str:
    card = Card.of(record)
    return shown.text(card.captions[0] if card.captions else PurePosixPath(card.uri).name)[:LONGEST]


def _short(number: float) -> float:
    return round(number, 4)


def plane(vectors: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Where each row lies along the two directions in which its clusters differ most, (n, 2) in 0..1."""
    centred = vectors - vectors.mean(0)
    middles = np.stack([centred[cluster == number].mean(0) for number in np.unique(cluster)])
    counts = np.array([(cluster == number).sum() for number in np.unique(cluster)])[:, None]
    spread = (middles * counts).T @ middles + WITHIN * centred.T @ centred
    directions = np.linalg.eigh(spread)[1][:, :-3:-1]
    largest = directions[np.abs(directions).argmax(0), (0, 1)]
    found = centred @ (directions * np.sign(largest))  # else the map is mirrored now and then
    low, high = np.percentile(found, [2, 98], axis=0)
    linear = np.clip((found - low) / np.maximum(high - low, 1e-9), 0, 1)
    ranks = np.stack([_ranks(along) for along in found.T], axis=1)
    return (RANKED * ranks + (1 - RANKED) * linear) * 0.96 + 0.02


def _ranks(along: np.ndarray) -> np.ndarray:
    """The rank of each number in 0..1; equal ones share theirs."""
    ordered = np.sort(along)
    both = np.searchsorted(ordered, along, "left") + np.searchsorted(ordered, along, "right") - 1
    return both / (2 * max(1, len(along) - 1))


def clusters(vectors: np.ndarray) -> np.ndarray:
    """The cluster of each unit row, 0.. (k-means on the sphere, from rows that are far from each other)."""
    middles = vectors[:1]
    for _ in range(min(CLUSTERS, len(vectors)) - 1):
        farthest = (vectors @ middles.T).max(1).argmin()
        middles = np.vstack([middles, vectors[farthest]])
    for _ in range(TURNS):
        nearest = (vectors @ middles.T).argmax(1)
        sums = np.stack([vectors[nearest == number].sum(0) for number in range(len(middles))])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        middles = np.where(lengths > 0, sums / np.maximum(lengths, 1e-9), middles)
    return (vectors @ middles.T).argmax(1)
