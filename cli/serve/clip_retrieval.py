"""clip-retrieval's routes, so that its ClipClient and clip-front work with these indexes: read-only, raw-bodied.

Clients send JSON without a Content-Type, or as text/plain; addresses of pictures are not fetched. "image" of an answer
is a JPEG that fits a page, where clip-retrieval sends each picture whole.
"""

import base64
import binascii
import io
import json
import time
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from cli.serve import parts, shown
from cli.serve.gather import Found
from cli.serve.parts import Parts
from cli.serve.reply import reply
from cli.serve.shelf import Shelf
from indexes import Store
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest, ImageError
from retrieval.indexing import stored
from retrieval.search import answers, query
from retrieval.search.answers import Asked

MOST = 10_000  # results that are named
SHOWN = 200  # of them that carry a picture
SIDE = 512  # pixels of it
ALIKE = 0.94  # cosine from which clip-retrieval takes two for one

router = APIRouter(include_in_schema=False)


@router.post("/knn-service")
async def knn(request: Request) -> Response:
    """`[{"id", "similarity", "caption", "image_path", "url", "image"}, ...]`, the best first."""
    with _step(request, "full_knn_request_time"):
        answer, few = await _found(request, parts.of(request), _object(await request.body()))
        found = reply(answer)
        if few:  # the list is its clients' and has no place for it
            found.headers["x-answered-by"] = few
        return found


async def _found(request: Request, server: Parts, said: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The answer; and "7 of 8 shards", where not all of them gave it."""
    shelf = server.shelves.get(_one(said, "indice_name", str) or None)
    count = _number(said, "num_images", 40)
    most = _number(said, "num_result_ids", count)
    asked = await _asked(request, server, shelf, said), Asked(k=max(1, min(max(count, most), MOST)), by="meaning")

    def told(found: Found) -> tuple[list[dict[str, Any]], str]:
        request.app.state.watch.spent("knn_index_time", time.perf_counter() - started)
        hits = found.hits[: max(count, most)]
        if said.get("deduplicate"):
            with _step(request, "dedup_time"):
                hits = _without_alike(found.store, hits)
        with _step(request, "metadata_get_time"):
            told = _told(shelf, Found(hits, found.store), min(count, SHOWN))
        return told, stored.partial(found.store)

    started = time.perf_counter()
    return await server.gatherer(shelf).answer(asked, told, aside=True)


def _step(request: Request, name: str) -> AbstractContextManager[None]:
    return request.app.state.watch.step(name)


async def _asked(
    request: Request, server: Parts, shelf: Shelf, said: dict[str, Any]
) -> tuple[query.Part, ...]:  # fmt: skip
    if _one(said, "text", str):
        return tuple(query.parse_sent(["text:" + said["text"]]))
    if _one(said, "image", str):
        with _step(request, "image_clip_inference_time"):
            name = await server.decode(server.sent.keep, _picture(said["image"]), None, shelf)
        return (query.Part("sent", name),)
    if _one(said, "image_url", str):
        raise BadRequest("no address is fetched: send the picture itself, as base64 in `image`")
    if said.get("embedding_input") is not None:
        return (query.Part("sent", server.sent.keep_vector(_vector(said["embedding_input"], shelf), shelf)),)
    raise BadRequest("nothing is asked: give text, image (base64) or embedding_input")


def _told(shelf: Shelf, found: Found, whole: int) -> list[dict[str, Any]]:
    hits, rows = found.hits, _numbers(found.store, found.hits)
    return [
        (_metadata(shelf, hit) if place < whole else {}) | {"id": row, "similarity": round(hit.score, 6)}
        for place, (hit, row) in enumerate(zip(hits, rows, strict=True))
    ]


def _numbers(store: Store, hits: list[Hit]) -> list[int]:
    return stored.named(store, [hit.id for hit in hits])


def _metadata(shelf: Shelf, hit: Hit) -> dict[str, Any]:
    said: dict[str, Any] = {"caption": shown.text(hit.caption or ""), "image_path": shown.text(hit.uri)}
    if url := hit.meta.get("url"):  # clip-front shows it in place of the picture, also where it is null
        said["url"] = url
    try:
        image = shelf.allowed.picture(hit, SIDE)
    except ImageError:
        return said
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return said | {"image": base64.b64encode(file.getvalue()).decode()}


def _without_alike(store: Store, hits: list[Hit]) -> list[Hit]:
    """The first of each that are nearly the same."""
    if not hits:
        return hits
    held = store.vectors(_numbers(store, hits))
    kept: list[int] = []
    for place, vector in enumerate(held):
        if not kept or float((held[kept] @ vector).max()) <= ALIKE:
            kept.append(place)
    return [hits[place] for place in kept]


@router.post("/metadata")
async def metadata(request: Request) -> Response:
    """`[{"id", "metadata"}, ...]` of the ids that a search gave."""
    server, said = parts.of(request), _object(await request.body())
    shelf = server.shelves.get(_one(said, "indice_name", str) or None)
    ids = said.get("ids", [])
    if (
        not isinstance(ids, list)
        or not all(isinstance(one, int) and 0 <= one < 1 << 62 for one in ids)
        or len(ids) > SHOWN
    ):
        raise BadRequest(f"ids are at most {SHOWN} numbers of a search: ask again with those")
    return reply(await run_in_threadpool(_looked_up, shelf, ids))


def _looked_up(shelf: Shelf, ids: list[int]) -> list[dict[str, Any]]:
    def ask(store: Store) -> list[tuple[int, Hit]]:
        there = store.among(ids)
        return [
            (row, answers.hit(store, 1, record, 0.0))
            for row, record in zip(there.tolist(), store.records(there), strict=True)
        ]

    found = dict(shelf.retriever.whole(ask))
    return [{"id": one, "metadata": _metadata(shelf, found[one])} for one in ids if one in found]


@router.get("/indices-list")
async def indices(request: Request) -> Response:
    """The names of the indexes."""
    return reply([shelf.name for shelf in parts.of(request).shelves])


@router.get("/metrics-summary")
async def metrics_summary(request: Request) -> Response:
    """How long the steps of /knn-service take, as text."""
    return Response(request.app.state.watch.summary(), media_type="text/plain")


@router.get("/config.json")
async def config(request: Request) -> Response:
    """What clip-front begins with; its address has no slash at its end, which clip-front would double."""
    first = next(iter(parts.of(request).shelves)).name
    return reply({"defaultBackend": str(request.base_url).rstrip("/"), "defaultIndex": first, "urlColumn": "url"})


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is no JSON: send an object with `text`, say") from None
    if not isinstance(said, dict):
        raise BadRequest("the body is no JSON object: send one with `text`, say")
    return said


def _one(said: dict[str, Any], name: str, kind: type) -> Any:
    value = said.get(name)
    if value is not None and not isinstance(value, kind):
        raise BadRequest(f"{name} is no text: send one")
    return value


def _number(said: dict[str, Any], name: str, otherwise: int) -> int:
    value = said.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise BadRequest(f"{name} is no number from 0 to {MOST}: give one")
    return value


def _picture(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise BadRequest("image is no base64: send the bytes of a picture so") from None


def _vector(said: Any, shelf: Shelf) -> np.ndarray:
    try:
        vector = np.asarray(said, np.float64)
    except (TypeError, ValueError, OverflowError):
        vector = np.empty(0)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if vector.shape != (shelf.retriever.store.dim,) or not np.isfinite(vector).all() or not 0 < length < np.inf:
        raise BadRequest(
            f"embedding_input is not {shelf.retriever.store.dim} numbers: send a vector of the index's encoder"
        )
    return (vector / length).astype(np.float32)
