"""/api/items: what is known of one item, its thumbnail, its file, and why it answers a query."""

import hashlib
import io
import mimetypes
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from cli.serve import parts, shown
from cli.serve.parts import Parts
from cli.serve.reply import reply
from cli.serve.shelf import Shelf
from indexes import Store
from retrieval.datatypes import Hit
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, ImageError
from retrieval.images import load
from retrieval.indexing import stored
from retrieval.search import heat, leaving_out, query

if TYPE_CHECKING:
    from PIL import Image

SIDES = (128, 256, 512, 1024)  # pixels of thumbnails
QUALITY = 80  # of WebP
TOLD = 20  # captions that are told by their nearness
FOREVER = "public, max-age=31536000, immutable"
# What browsers show by themselves without running anything in it: SVG is no picture of this list.
INLINE = ("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp", "video/mp4", "video/webm")

router = APIRouter(prefix="/api/items", tags=["items"])
Name = Annotated[str | None, Query(alias="index", max_length=200)]


@router.get("/{id}")
async def item(
    id: str, request: Request, index: Name = None,
    q: Annotated[list[str], Query(max_length=64, description="A query: why does the item answer it?")] = [],  # noqa: B006
) -> Response:  # fmt: skip
    """All that is known of one item; with a query also how near it is to each of its terms."""
    server = parts.of(request)
    shelf = server.shelves.get(index)
    return reply(await run_in_threadpool(_told, server, shelf, id, q))


def _told(server: Parts, shelf: Shelf, name: str, words: list[str]) -> dict[str, Any]:
    retriever = shelf.retriever

    def ask(store: Store) -> dict[str, Any]:
        hit = shown.item(shelf, store, name)
        told = shown.as_json(hit, shelf, score=False)
        told |= {
            "captions": [shown.text(caption) for caption in hit.captions], "fields": hit.meta, "index": shelf.name,
            "path": shown.text(hit.path) if hit.path and server.local else None,
        }  # fmt: skip
        return told | ({"why": _why(server, retriever.encoder, store, hit, words)} if words else {})

    return retriever.whole(ask)


def _why(server: Parts, encoder: Encoder, store: Store, hit: Hit, words: list[str]) -> dict[str, Any]:
    """The cosines of an item with a query, and with each term of it; its captions by their nearness to the query."""
    terms = query.parse_sent(words)
    vector_of = partial(stored.vector_of, store)
    asked = [terms, *([term] for term in terms)]
    plain = [[query.Part(part.kind, part.text) for part in one] if at else one for at, one in enumerate(asked)]
    vectors = query.encode(plain, encoder, vector_of, sent=server.sent.vectors(encoder))
    (own,) = store.vectors(stored.named(store, [hit.id]))
    scores = vectors @ own
    captions = list(hit.captions[:TOLD])
    near = encoder.encode_texts(captions) @ vectors[0] if captions else np.empty(0)
    return {
        "score": _round(scores[0]), "confidence": None,
        "terms": [
            {
                "term": shown.text(part.text), "kind": part.kind, "weight": part.weight, "score": _round(score),
                "words": _words(part, encoder, own),
            }
            for part, score in zip(terms, scores[1:], strict=True)
        ],
        "captions": [{"caption": captions[at], "score": _round(near[at])} for at in np.argsort(-near, kind="stable")],
    }  # fmt: skip


def _words(part: query.Part, encoder: Encoder, own: np.ndarray) -> list[dict[str, Any]]:
    """Which words of a term mattered: its cosine with each, less that without it."""
    found = leaving_out.words(part.text, encoder, own) if part.kind == "words" else []
    return [{"word": word.text, "matters": _round(word.matters)} for word in found]


def _round(score: float) -> float:
    return round(float(score), 4)


@router.get("/{id}/places")
async def places(
    id: str, request: Request, q: Annotated[list[str], Query(max_length=64, description="As of /api/search.")],
    index: Name = None,
) -> Response:  # fmt: skip
    """Where in a picture a query is: scores of its places, row by row, and boxes in pixels, the best first."""
    server = parts.of(request)
    shelf = server.shelves.get(index)
    return reply(await server.decode(_places, server, shelf, id, q))


def _places(server: Parts, shelf: Shelf, name: str, words: list[str]) -> dict[str, Any]:
    retriever = shelf.retriever
    encoder, terms = retriever.encoder, query.parse_sent(words)

    def ask(store: Store) -> tuple[Hit, np.ndarray]:
        sent = server.sent.vectors(encoder)
        return shown.item(shelf, store, name), query.encode(
            [terms], encoder, partial(stored.vector_of, store), sent=sent
        )[0]

    hit, vector = retriever.whole(ask)
    heat.require_places(encoder)
    look = lambda: heat.Places.of(_seen(shelf, hit), encoder)  # noqa: E731
    seen = server.looks.get((shelf.name, name, encoder.fingerprint, hit.key or retriever.store.key), look)
    found = seen.heat(vector)
    sure = heat.confidence(seen, found, encoder) if all(part.kind == "words" for part in terms) else None
    return heat.as_json(found, found.boxes()) | {"confidence": None if sure is None else _round(sure)}


def _seen(shelf: Shelf, hit: Hit) -> "Image.Image":
    """The picture of an item, or the middle of a clip. Raises BadRequest for a sound, as `mmr locate` does."""
    heat.require_seen(hit.kind, shown.text(hit.uri))
    if hit.kind == "picture":
        return shelf.allowed.picture(hit)
    content = shelf.allowed.content(hit)
    try:
        return load.look(content, 1)[0]
    except ImageError as error:
        raise BadRequest(f"{shown.text(hit.uri)}: {error}: give another picture") from error


# ---------------------------------------------------------------- pictures


@router.get("/{id}/thumb", responses={200: {"content": {"image/webp": {}}}})
async def thumb(
    id: str, request: Request, index: Name = None, s: Annotated[int, Query(ge=1, le=4096)] = 256,
    v: Annotated[str | None, Query(max_length=64, description="Of its content: it may be kept for ever then.")] = None,
) -> Response:  # fmt: skip
    """A small WebP of a picture, of a clip's middle, or of a sound's spectrogram."""
    server = parts.of(request)
    shelf = server.shelves.get(index)
    side = next((one for one in SIDES if one >= s), SIDES[-1])
    content = await run_in_threadpool(_thumb, server, shelf, id, side)
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers = {"etag": tag, "cache-control": FOREVER if v else "private, max-age=60"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return Response(content, media_type="image/webp", headers=headers)


def _thumb(server: Parts, shelf: Shelf, name: str, side: int) -> bytes:
    hit = shelf.retriever.whole(lambda store: shown.item(shelf, store, name))

    def make() -> bytes:
        image = shelf.allowed.picture(hit, side)
        image.thumbnail((side, side))
        file = io.BytesIO()
        image.save(file, "WEBP", quality=QUALITY)
        return file.getvalue()

    state = hit.key or shelf.retriever.store.key
    return server.thumbs.get((shelf.name, name, side, state), make)


@router.get("/{id}/file", responses={200: {"content": {"image/*": {}}}})
async def file(id: str, request: Request, index: Name = None) -> Response:
    """The file of a picture, a clip or a sound as it is; parts of it by Range."""
    server = parts.of(request)
    shelf = server.shelves.get(index)
    found = await run_in_threadpool(_file, shelf, id)
    kind = mimetypes.guess_type(found.name)[0] or ""
    inline = kind in INLINE or kind.startswith("audio/")
    return FileResponse(
        found, media_type=kind if inline else "application/octet-stream", filename=found.name,
        content_disposition_type="inline" if inline else "attachment", headers={"cache-control": "private, no-cache"},
    )  # fmt: skip


def _file(shelf: Shelf, name: str) -> Path:
    return shelf.allowed.file(shelf.retriever.whole(lambda store: shown.item(shelf, store, name)))


@router.post("/{id}/open")
async def open_folder(id: str, request: Request, index: Name = None) -> Response:
    """Open its folder on this machine, where only this machine can ask."""
    server = parts.of(request)
    if not server.local:
        raise BadRequest("folders are opened where the server is reached from this machine alone: copy the path")
    shelf = server.shelves.get(index)
    found = await run_in_threadpool(_file, shelf, id)
    import typer

    if await run_in_threadpool(typer.launch, str(found), locate=True):
        raise ImageError("no program to open folders is here: copy the path")
    return reply({"opened": True})
