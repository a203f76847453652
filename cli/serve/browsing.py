"""/api/info, /api/facets, /api/duplicates and /api/labels: what an index holds, and what people say of its items."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from cli.serve import parts, shown, tables
from cli.serve.parts import Parts
from cli.serve.reply import reply
from cli.serve.shelf import Shelf
from indexes import Condition, Store, distribution
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest
from retrieval.heads import labels as written
from retrieval.images import kinds
from retrieval.indexing import catalog, stored
from retrieval.indexing.catalog import Identity, root_of
from retrieval.search import answers, filters, languages, near_duplicates

GROUPS, MEMBERS = 500, 50  # of near-duplicates that are told
WRITER = 2.0  # seconds that another process is waited for, to label
MOST_ROWS = 50_000  # that are compared with each other: the work grows with the square

router = APIRouter(prefix="/api", tags=["index"])
Name = Annotated[str | None, Query(alias="index", max_length=200)]


@router.get("/info")
async def info(request: Request) -> Response:
    """The version, and the indexes that are served: rows, encoder, recall as it was measured."""
    server = parts.of(request)
    return reply(
        {
            "version": distribution.version(), "local": server.local, "may_write": server.may_write,
            "runs": list(server.runs), "reports": list(server.reports.files()),
            "indexes": await run_in_threadpool(lambda: [_told(server, shelf) for shelf in server.shelves]),
        }
    )  # fmt: skip


def _told(server: Parts, shelf: Shelf) -> dict[str, Any]:
    store, encoder = shelf.retriever.store, shelf.retriever.encoder
    recorded = store.approximate
    best = max(recorded.points, key=lambda point: point.asked, default=None) if recorded else None
    identity = Identity.recorded(store)
    return {
        "name": shelf.name, "rows": len(store), "encoder": identity.name if identity else None, "dim": store.dim,
        "unit": kinds.counted(catalog.kinds(store)),
        "generation": store.generation, "problem": server.told(shelf.problem) or None,
        "recall": {"asked": best.asked, "measured": best.recall, "low": best.low} if best else None,
        "root": root_of(store) if server.local else None, "languages": list(languages.known_to(encoder)) or None,
    }  # fmt: skip


@router.get("/facets")
async def facets(
    request: Request, index: Name = None, where: Annotated[str | None, Query(max_length=2000)] = None,
    inside: Annotated[str | None, Query(alias="in", max_length=1000)] = None,
) -> Response:  # fmt: skip
    """The fields of the items that meet a condition: types, counts, ranges; and their folders."""
    server = parts.of(request)
    shelf = server.shelves.get(index)
    return reply(await run_in_threadpool(tables.facets, server, shelf, where or None, inside or None))


@router.get("/duplicates")
async def duplicates(
    request: Request, index: Name = None, threshold: Annotated[float, Query(ge=0.5, le=1)] = 0.97,
    where: Annotated[str | None, Query(max_length=2000)] = None,
    inside: Annotated[str | None, Query(alias="in", max_length=1000)] = None,
) -> Response:  # fmt: skip
    """Groups of near-duplicates, the largest first; the first of each stands for the others."""
    server = parts.of(request)
    shelf = server.shelves.get(index)
    return reply(await run_in_threadpool(_duplicates, server, shelf, threshold, where or None, inside or None))


def _duplicates(server: Parts, shelf: Shelf, threshold: float, where: str | None, inside: str | None) -> dict[str, Any]:
    def ask(store: Store) -> dict[str, Any]:
        condition = filters.condition(store, where, inside)
        if (count := len(store.rows(condition))) > MOST_ROWS:
            raise BadRequest(
                f"{count} pictures are too many to compare with each other here: narrow them by a folder or a field, "
                "or ask `mmr dups`"
            )
        key = "duplicates", store.key, threshold, where, inside
        return server.tables.get(
            key, lambda: _grouped(shelf, store, threshold, condition), lambda: stored.are_all(store)
        )

    return shelf.retriever.whole(ask)


def _grouped(shelf: Shelf, store: Store, threshold: float, condition: Condition | None) -> dict[str, Any]:
    groups = near_duplicates.groups(store, threshold, condition)
    told = []
    for group in groups[:GROUPS]:
        records = store.records(group.rows[:MEMBERS])
        scores = group.scores[:MEMBERS].tolist()
        hits: list[Hit] = [
            answers.hit(store, rank, record, score)
            for rank, (record, score) in enumerate(zip(records, scores, strict=True), 1)
        ]
        told.append({"count": len(group.rows), "hits": [shown.as_json(hit, shelf) for hit in hits]})
    return {"count": len(groups), "groups": told}


class Labels(BaseModel):
    """A label for some items. value: None takes it away."""

    ids: list[str] = Field(min_length=1, max_length=10_000)
    name: str = Field("label", min_length=1, max_length=100)
    value: str | float | bool | None = None
    index: str | None = Field(None, max_length=200)


@router.post("/labels")
async def labels(said: Labels, request: Request) -> Response:
    """Write a label of items, or take it away. It needs the write key, and the index for a moment."""
    server = parts.of(request)
    shelf = server.shelves.get(said.index)
    return reply({"labelled": await run_in_threadpool(_label, shelf, said)})


def _label(shelf: Shelf, said: Labels) -> int:
    with Store.open(shelf.path, write=True, wait=WRITER) as store:
        written.require_free(store, said.name)
        records = stored.by_id(store, [shown.id_of(name) for name in said.ids])
        if len(records) != len(set(said.ids)):
            raise shown.NoSuchItem("some of these items are not in this index any more: search again")
        rows = stored.named(store, [record.id for record in records])
        store.require_sound(rows)
        changed = [written.written(record, {said.name: said.value}) for record in records]
        store.add(store.vectors(rows), changed)
    shelf.look()
    return len(records)
