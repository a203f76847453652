"""The server as an ASGI application: routes, errors as lines of words, and the layers around them."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from cli.output import show
from cli.serve import (
    browsing,
    clip_retrieval,
    downloads,
    embeddings,
    items,
    maps,
    parts,
    searching,
    trainings,
    watching,
)
from cli.serve.guards import Doors, Guards, Refused
from cli.serve.parts import Parts
from cli.serve.reply import reply
from cli.serve.shown import NoSuchItem
from indexes import StoreError, distribution
from retrieval.errors import ImageError, MissingModel, RetrievalError

PAGE = Path(__file__).parent / "page"


def make(
    server: Parts, doors: Doors, log: Callable[[str], None] | None = None, queries: bool = False
) -> Guards:  # fmt: skip
    """The application. It starts to look for new states of the indexes when it starts, and closes them when it ends.

    log, queries: of requests, as Guards takes them.
    """
    app = FastAPI(
        title="mmr", version=distribution.version(), lifespan=_lifespan, docs_url=None, redoc_url=None,
        openapi_url="/openapi.json", description="Pictures by words, and words by pictures, from indexes of `mmr`.",
    )  # fmt: skip
    app.state.parts = server
    for module in (searching, items, downloads, browsing, maps, trainings, embeddings, watching, clip_retrieval):
        app.include_router(module.router)
    _answer_errors(app)
    app.get("/", include_in_schema=False)(_page)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.state.watch = watching.Watch(app)
    return Guards(app.state.watch, doors, log, queries)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.parts.shelves.start()
    yield
    app.state.parts.close()


async def _page() -> Response:
    content = (PAGE / "index.html").read_bytes()
    return Response(content, media_type="text/html; charset=utf-8", headers={"cache-control": "no-cache"})


# ---------------------------------------------------------------- errors


def _answer_errors(app: FastAPI) -> None:
    for kind in (Refused, RetrievalError, StoreError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _error)


async def _error(request: Request, error: Exception) -> Response:
    status, text = _said(error)
    return reply({"error": parts.of(request).told(text)}, status)


def _said(error: Exception) -> tuple[int, str]:
    """The status and the line of an error."""
    if isinstance(error, Refused):
        return error.status, str(error)
    if isinstance(error, HTTPException):
        return error.status_code, f"{error.detail}: see /openapi.json for what can be asked"
    if isinstance(error, RequestValidationError):
        return 422, _invalid(error)
    if isinstance(error, NoSuchItem):
        return 404, str(error)
    if isinstance(error, ImageError):
        return (410 if "no such file" in str(error) else 415), f"{error}: it cannot be shown"
    if isinstance(error, MissingModel):
        return 503, str(error)
    if isinstance(error, RetrievalError):
        return 400, str(error)
    if isinstance(error, StoreError):
        return (400 if type(error).__name__ in ("BadFilter", "BadWords") else 503), str(error)
    if show.is_of_machine(error):
        line = show.explain(error)[0].removeprefix("mmr: ")
        return 503, line.replace("run the same command again", "ask again")
    return 500, f"the server failed ({type(error).__name__}): ask again, and report what its log says"


def _invalid(error: RequestValidationError) -> str:
    first: Any = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    given = json.dumps(first.get("input"), default=str)[:60]
    return f"{where}: {first['msg'].lower()}, not {given}: see /openapi.json for what can be asked"
