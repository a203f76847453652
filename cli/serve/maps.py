"""/api/map: a collection as points of a plane."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from cli.serve import parts, shown
from cli.serve.parts import Parts
from cli.serve.reply import reply
from cli.serve.shelf import Shelf
from indexes import Store
from retrieval.encoders import prompts
from retrieval.indexing import stored

CLUSTERS, TURNS = 12, 15  # and how often their middles move
TEMPLATE = "a photo of {}"
NAME = Annotated[str | None, Query(alias="index", max_length=200)]

router = APIRouter(prefix="/api", tags=["index"])


@router.get("/map")
async def map_of(request: Request, index: NAME = None, n: Annotated[int, Query(ge=1, le=20_000)] = 5000) -> Response:
    """Up to n pictures as points, near ones alike, by the two directions in which they differ most; named clusters."""
    server = parts.of(request)
    shelf = server.shelves.get(index)
    return reply(await run_in_threadpool(_kept, server, shelf, n))


def _kept(server: Parts, shelf: Shelf, n: int) -> dict[str, Any]:
    def ask(store: Store) -> dict[str, Any]:
        return server.tables.get(("map", shelf.name, store.generation, n), lambda: _drawn(shelf, store, n))

    return shelf.retriever.whole(ask)


def _drawn(shelf: Shelf, store: Store, n: int) -> dict[str, Any]:
    rows = store.rows()
    if len(rows) > n:
        rows = np.sort(np.random.default_rng(0).choice(rows, n, replace=False))
    if len(rows) < 3:
        return {"points": [], "clusters": []}
    vectors = stored.vectors(store, rows)
    places, cluster = plane(vectors), clusters(vectors)
    points = [
        {"id": shown.name_of(record.id), "x": _short(x), "y": _short(y), "cluster": int(number)}
        for record, (x, y), number in zip(store.records(rows), places.tolist(), cluster, strict=True)
    ]
    return {"points": points, "clusters": _named(shelf, vectors, places, cluster)}


def plane(vectors: np.ndarray) -> np.ndarray:
    """Where each row lies along the two directions of greatest variance (PCA), (n, 2) in 0..1."""
    centred = vectors - vectors.mean(0)
    _, _, directions = np.linalg.svd(centred[: 4 * vectors.shape[1]], full_matrices=False)
    found = centred @ directions[:2].T
    low, high = np.percentile(found, [1, 99], axis=0)
    return np.clip((found - low) / np.maximum(high - low, 1e-9), 0, 1) * 0.96 + 0.02


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


def _named(shelf: Shelf, vectors: np.ndarray, places: np.ndarray, cluster: np.ndarray) -> list[dict[str, Any]]:
    """Each cluster under the thing whose name is nearer to it than to the others."""
    things = prompts.things()
    asked = shelf.retriever.encoder.encode_texts([TEMPLATE.format(thing) for thing in things])
    numbers = np.unique(cluster)
    near = np.stack([(vectors[cluster == number] @ asked.T).mean(0) for number in numbers])
    apart, told, taken = near - near.mean(0), [], set()
    for place, number in enumerate(numbers.tolist()):
        name = next(things[at] for at in np.argsort(-apart[place]) if at not in taken)
        taken.add(things.index(name))
        x, y = places[cluster == number].mean(0).tolist()
        count = int((cluster == number).sum())
        told.append({"name": name, "x": _short(x), "y": _short(y), "count": count})
    return told


def _short(number: float) -> float:
    return round(number, 4)
