"""/api/search and /api/captions: words, pictures, items and sums of them; pages, order and folding of answers."""

import time
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from cli.serve import parts, shown, tables
from cli.serve.gather import Found
from cli.serve.parts import Parts
from cli.serve.reply import PICTURE, reply
from cli.serve.sent import parse_crop
from cli.serve.shelf import Shelf
from indexes import Store
from retrieval.callbacks import OnMessage
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest, NoCaptions
from retrieval.indexing import stored
from retrieval.search import answers, languages, query
from retrieval.search.answers import Asked

DEEPEST = 10_000  # answers to a query that may be paged through
MOST = 1000  # in one page
BY_DATE = 200  # of the most relevant, which are put in the order of their dates
ALIKE = 0.97  # cosine of near-duplicates
JUDGED = 256  # items that a client likes, and as many that it does not

router = APIRouter(tags=["search"])


class Wanted(BaseModel):
    """What a page of answers should be."""

    q: list[str] = Field(
        [], max_length=64, examples=[["a dog", "-", "snow"]],
        description="Each an argument of `mmr search`: words, +, -, 2:words, id:URI, picture:NAME; none: all, by date.",
    )  # fmt: skip
    k: int = Field(60, ge=1, le=MOST, description="How many.")
    offset: int = Field(0, ge=0, le=100_000_000, description="How many to leave out: `next` of the answer before.")
    where: str | None = Field(None, max_length=2000, description="A condition on fields, as year >= 2011.")
    inside: str | None = Field(None, alias="in", max_length=1000, description="Only below this folder.")
    min_score: float | None = Field(None, ge=-1, le=1, description="The least cosine.")
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="Of words alone; 0 measures it, and leaves none out."
    )
    diverse: float = Field(0.0, ge=0, le=1, description="How much answers should differ from each other.")
    sort: Literal["relevance", "date", "-date"] = Field("relevance", description="By date: the most relevant ones.")
    fold: bool = Field(False, description="Near-duplicates behind the best of them.")
    exact: bool = Field(False, description="Go round an approximate index.")
    by: Literal["meaning", "words", "both"] | None = Field(
        None, description="By vectors, by the words of captions, names and fields, or both; else what finds more here."
    )
    like: list[str] = Field(
        [], max_length=JUDGED,
        description="Items of which more is wanted, by id or uri as answers give them, and picture:NAME; no answers.",
    )  # fmt: skip
    unlike: list[str] = Field([], max_length=JUDGED, description="Items of which less is wanted.")
    with_judged: bool = Field(False, description="What is liked and unliked may be an answer.")
    index: str | None = Field(None, max_length=200, description="Which index; the first if not given.")

    def asked(self, k: int) -> Asked:
        """As the library is asked."""
        return Asked(
            k=k, where=self.where or None, inside=self.inside or None, exact=self.exact, min_score=self.min_score,
            min_confidence=None if self.judged else self.min_confidence, diversity=self.diverse, by=self.by,
            unexplained=self.offset if self.sort == "relevance" else 0,
            like=tuple(map(_item, self.like)), unlike=tuple(map(_item, self.unlike)), with_judged=self.with_judged,
        )  # fmt: skip

    @property
    def judged(self) -> bool:
        """Was anything?"""
        return bool(self.like or self.unlike)

    def parts(self, words: list[str]) -> tuple[query.Part, ...]:
        """Those of a query, which may be empty where something was judged. Raises BadRequest."""
        return query.parse_sent(words) if words or not self.judged else ()


def _item(name: str) -> str:
    """What a client judges is of the index, or was sent: no file of this machine."""
    return name if name.startswith(("id:", "picture:")) else f"id:{name}"


async def _known(shelf: Shelf, wanted: Wanted) -> Wanted:
    """The same, with what was judged by its `id` in an answer called by the item's own."""
    names = {one: one.removeprefix("id:") for one in (*wanted.like, *wanted.unlike) if not one.startswith("picture:")}
    ids = {one: id for one, name in names.items() if (id := shown.id_if_any(name)) is not None}
    if not ids:
        return wanted
    said = [*ids.values(), *(names[one] for one in ids)]
    held = await run_in_threadpool(shelf.retriever.whole, lambda store: stored.found(store, said))
    meant = {one: f"id:{id}" for one, id in ids.items() if names[one] not in held and id in held}
    return wanted.model_copy(
        update={kind: [meant.get(one, one) for one in getattr(wanted, kind)] for kind in ("like", "unlike")}
    )


@router.get("/api/search")
async def search(wanted: Annotated[Wanted, Query()], request: Request) -> Response:
    """Pictures nearest to words, items and sums of them; without a query all of them, the newest first."""
    return reply(await found(parts.of(request), wanted, ()))


@router.post("/api/search", openapi_extra=PICTURE)
async def search_with_picture(
    wanted: Annotated[Wanted, Query()], request: Request, crop: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    """The same with a picture, whose bytes are the body, beside the query; `crop` is x,y,width,height in shares of it.

    The answer names it, as `picture:NAME`, for further queries.
    """
    server = parts.of(request)
    name = await sent(server, request, wanted.index, crop)
    more = ["picture:" + name] if not wanted.q else ["+", "picture:" + name]
    return reply({**await found(server, wanted, more), "picture": "picture:" + name})


async def sent(server: Parts, request: Request, index: str | None, crop: str | None) -> str:
    """Keep the picture that is the body of a request; its name. Raises BadRequest, ImageError."""
    shelf, box = server.shelves.get(index), parse_crop(crop)
    content = await request.body()
    if not content:
        raise BadRequest("the body is empty: send the bytes of a picture")
    return await server.decode(server.sent.keep, content, box, shelf)


async def found(server: Parts, wanted: Wanted, more: Any) -> dict[str, Any]:
    """A page of answers. more: further arguments of the query."""
    started = time.perf_counter()
    shelf = server.shelves.get(wanted.index)
    wanted = await _known(shelf, wanted)
    words = [*wanted.q, *more]
    notes: list[str] = []
    if words or wanted.judged:
        one, asked = _asked(shelf, wanted, words, notes.append)
        if asked.min_confidence is not None:  # the first asks hundreds of prompts: not where others wait for answers
            retriever = shelf.retriever
            await run_in_threadpool(retriever.whole, retriever.background)
        page = await server.gatherer(shelf).answer(
            (one, asked), lambda found: _page(server, shelf, wanted, asked, found),
            aside=bool(wanted.fold or asked.where or asked.inside),
        )  # fmt: skip
    else:
        page = await run_in_threadpool(_newest, server, shelf, wanted)
    end, deepest = wanted.offset + wanted.k, DEEPEST if words or wanted.judged else None
    if page.missing:
        notes.append(f"answered by {page.shards} shards: what the others hold is not among the answers")
    return {
        "index": shelf.name, "generation": page.generation, "query": words,
        "took_ms": round((time.perf_counter() - started) * 1e3, 1), "total": page.total, "deepest": deepest,
        "next": end if end < min(page.total, deepest or page.total) and page.hits else None,
        "fits": page.fits or wanted.min_confidence is None, "shards": page.shards, "note": "; ".join(notes) or None,
        "hits": page.hits,
    }  # fmt: skip


class _Page(NamedTuple):
    """What is shown of a state, a commit of it.

    total: of all pages. fits: anything answers at all. shards: how many of them answered, "7 of 8"; None of an index
    that has none.
    """

    hits: list[dict[str, Any]]
    total: int
    generation: int
    fits: bool = True
    shards: str | None = None

    @property
    def missing(self) -> bool:
        """Did some shards not answer?"""
        few, _, of = (self.shards or "").partition(" of ")
        return few != of


def _asked(
    shelf: Shelf, wanted: Wanted, words: list[str], say: OnMessage
) -> tuple[tuple[query.Part, ...], Asked]:  # fmt: skip
    deep = wanted.offset + wanted.k
    if deep > DEEPEST:
        raise BadRequest(f"{deep} answers are more than {DEEPEST}: ask more narrowly")
    one = wanted.parts(words)
    if wanted.by != "words":
        languages.say_of((part.text for part in one if part.kind == "words"), shelf.retriever.encoder, say)
    asked = wanted.asked(max(deep, BY_DATE) if wanted.sort != "relevance" else deep)
    if asked.min_confidence is not None and any(part.kind != "words" for part in one):
        asked = replace(asked, min_confidence=None)  # it is measured of words alone
    if asked.by == "words":  # one more: are there others?
        asked = replace(asked, k=asked.k + 1)
    return one, asked


def _page(server: Parts, shelf: Shelf, wanted: Wanted, asked: Asked, found: Found) -> _Page:
    hits, store = found
    if wanted.sort != "relevance":
        hits = sorted(hits, key=lambda hit: tables.date_of(hit.meta) or "", reverse=wanted.sort == "-date")
    whole = bool(asked.where or asked.inside)
    total = len(tables.rows(server, store, asked.where, asked.inside)) if whole else len(store)
    if (asked.min_score is not None or asked.min_confidence or asked.by == "words") and len(hits) < asked.k:
        total = min(total, len(hits))
    page = hits[wanted.offset : wanted.offset + wanted.k]
    shown_hits = [shown.as_json(hit, shelf) for hit in page]
    if wanted.fold and len(page) > 1:
        shown_hits = _folded(store, page, shown_hits)
    return _Page(shown_hits, total, store.generation, bool(hits), _answered(store))


def _answered(store: Store) -> str | None:
    few, of = store.answered
    return f"{few} of {of}" if of > 1 else None


def _newest(server: Parts, shelf: Shelf, wanted: Wanted) -> _Page:
    """A page of all items, the newest first ("date": the oldest first)."""

    def ask(store: Store) -> _Page:
        rows = tables.by_date(server, store, wanted.where, wanted.inside)
        ordered = rows if wanted.sort == "date" else rows[::-1]
        records = store.records(ordered[wanted.offset : wanted.offset + wanted.k])
        hits = [answers.hit(store, rank, record, 0.0) for rank, record in enumerate(records, 1)]
        shown_hits = [shown.as_json(hit, shelf, score=False) for hit in hits]
        return _Page(shown_hits, len(rows), store.generation, bool(hits), _answered(store))

    return shelf.retriever.whole(ask)


def _folded(store: Store, hits: list[Hit], shown_hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those that are near-duplicates of a better one that is shown, which says how many they are."""
    rows = {record.id: row for row, record in _rows(store, hits)}
    held = store.vectors([rows[hit.id] for hit in hits])
    kept: list[int] = []
    for place, near in enumerate(held @ held.T >= ALIKE):
        if near[kept].any():
            shown_hits[kept[int(near[kept].argmax())]]["folded"] += 1
        else:
            kept.append(place)
    return [shown_hits[place] for place in kept]


def _rows(store: Store, hits: list[Hit]) -> list[tuple[int, Any]]:
    rows = stored.named(store, [hit.id for hit in hits])
    return list(zip(rows, store.records(rows), strict=True))


@router.get("/api/captions")
async def captions(wanted: Annotated[Wanted, Query()], request: Request) -> Response:
    """Captions nearest to a query, each with the first item that has it."""
    return reply(await _captions(parts.of(request), wanted, wanted.q))


@router.post("/api/captions", openapi_extra=PICTURE)
async def captions_of_picture(
    wanted: Annotated[Wanted, Query()], request: Request, crop: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    """Captions nearest to a picture, whose bytes are the body."""
    server = parts.of(request)
    name = await sent(server, request, wanted.index, crop)
    return reply(await _captions(server, wanted, [*wanted.q, *(["+"] if wanted.q else []), "picture:" + name]))


async def _captions(server: Parts, wanted: Wanted, words: list[str]) -> dict[str, Any]:
    shelf = server.shelves.get(wanted.index)
    wanted = await _known(shelf, wanted)
    one, asked = wanted.parts(words), wanted.asked(min(wanted.k, 100))
    retriever = shelf.retriever
    sent_ones = server.sent.vectors(retriever.encoder)
    try:
        hits = await run_in_threadpool(retriever.captions_of, (one, asked), sent_ones)
    except NoCaptions:
        return {"captions": [], "any": False}
    told = [{"caption": hit.caption, "score": round(hit.score, 4), "id": shown.name_of(hit.id)} for hit in hits]
    return {"captions": told, "any": True}
