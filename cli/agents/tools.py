"""What agents can ask of an index. Nothing here knows the protocol; server.py has the names and descriptions.

Errors are those of the packages below, raised as they are: server.py makes one line of each.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from cli.agents import sheet, told, words
from cli.collection import Collection, names
from cli.output import plain
from cli.output.hits import is_gone
from indexes import Store, StoreError
from indexes.approximate.recorded import cheapest
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest, ImageError, RetrievalError
from retrieval.indexing import field_table, roots
from retrieval.indexing.catalog import Identity
from retrieval.indexing.field_table import Field
from retrieval.search import filters, languages
from retrieval.search.answers import Asked
from retrieval.sources import within
from retrieval.sources.allowed import OUTSIDE, Allowed

MOST_ANSWERS, MOST_TILES = 50, 48
LEAST_SIDE, MOST_SIDE = 64, 1568  # pixels: models are shown no more
LOOKED_AT = 10_000  # items whose fields are listed
UNSURE = 0.5  # the best answer of every other question is nearer: there may be no such picture
_KEYWORDS = frozenset("and or not null true false in is like between contains".split())  # of `where`

Query = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool gives: text that says all of it, the same as data (told.py), and a JPEG where there is one."""

    text: str
    data: Any
    picture: bytes | None = None


class Indexes:
    """The tools over each of several indexes, by its name; the first where none is given."""

    def __init__(self, collections: Iterable[Collection]) -> None:
        given = list(collections)
        called = (words.encodable(name) for name in names(one.path for one in given))
        self._named = dict(zip(called, map(Tools, given), strict=True))

    @property
    def names(self) -> list[str]:
        """Of all of them, the first by default."""
        return list(self._named)

    def of(self, name: str | None) -> "Tools":
        """One of them. Raises BadRequest for a name that none has."""
        if not name:
            return next(iter(self._named.values()))
        if name not in self._named:
            raise BadRequest(f"no index is called {name[:60]}: give index as one of {', '.join(self._named)}")
        return self._named[name]

    def info(self, name: str | None) -> Answer:
        """What is asked: all of them, or one."""
        asked = {name: self.of(name)} if name else self._named
        found, notes, lines = list[told.Info](), list[str](), list[str]()
        for called, tools in asked.items():
            try:
                data, said = tools.info(called)
            except (StoreError, RetrievalError) as error:
                notes.append(words.for_agents(f"{called} cannot be asked now: {error}"))
                continue
            found.append(data)
            lines += said
        if not found and len(notes) == 1:
            raise BadRequest(notes[0])
        return Answer("\n".join([*notes, *lines]), told.Infos(found, notes))


class Tools:
    """The tools, over one index."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def search(
        self, query: Query, k: int, where: str | None, folder: str | None, min_confidence: float | None,
        like: Sequence[str] = (), unlike: Sequence[str] = (),
    ) -> Answer:  # fmt: skip
        """The pictures nearest to a query, moved by those that were judged right and wrong."""
        liked, unliked = ([f"id:{words.bare(id)}" for id in ids] for ids in (like, unlike))
        hits, notes = self._hits(query, k, where, folder, min_confidence, liked, unliked)
        return _answers(hits, notes)

    def more_like_this(self, id: str, k: int, but_not: str | None) -> Answer:
        """The pictures nearest to one of the index, less what words name."""
        asked = [f"id:{words.bare(id)}", *(["-", f"text:{but_not}"] if but_not else [])]
        return _answers(*self._hits(asked, k, None, None, None))

    def _hits(
        self, query: Query, k: int, where: str | None, folder: str | None, min_confidence: float | None,
        like: Sequence[str] = (), unlike: Sequence[str] = (),
    ) -> tuple[list[Hit], list[str]]:  # fmt: skip
        _check("k", k, 1, MOST_ANSWERS)
        parts, notes = words.parts(query), list[str]()
        texts = [part.text for part in parts if part.kind == "words"]
        if min_confidence is not None and len(texts) < len(parts):
            raise BadRequest("min_confidence is measured for words alone: leave it out where the query has id:")
        alone = len(texts) == len(parts) == 1 and not like and not unlike
        measured = 0.0 if min_confidence is None and alone else min_confidence
        retriever = self._collection.now()
        languages.say_of(texts, retriever.encoder, notes.append)
        wanted = Asked(
            k=k, where=where or None, inside=folder or None, min_confidence=measured, like=like, unlike=unlike
        )  # fmt: skip
        (hits,) = retriever.search_each([(parts, wanted)])
        if words.looks_like_a_sum(query):
            notes.append('searched for as words: a sum is a list, as in ["a dog", "-", "people"]')
        if not hits:
            notes.append(_why_none(retriever.store, wanted, min_confidence))
        elif not _by_words(hits[0]) and hits[0].confidence is not None and hits[0].confidence < UNSURE:
            notes.append(_unsure(hits[0].confidence))
        return hits, notes

    def describe_item(self, id: str) -> Answer:
        """All that the index knows of a picture."""
        (hit,) = self._collection.items([words.bare(id)])
        data = told.Description(
            hit.id, hit.uri, hit.path, list(hit.captions), hit.kind, is_gone(hit.path), within.to_json(hit.within),
            dict(hit.meta),
        )  # fmt: skip
        fields = [f"{name}: {plain.line(json.dumps(value, ensure_ascii=False))}" for name, value in hit.meta.items()]
        return Answer("\n".join([told.Found.of(hit, asked=False).named(), *map(plain.line, fields)]), data)

    def show(self, id: str, size: int) -> Answer:
        """One picture; of a clip its middle frame."""
        _check("size", size, LEAST_SIDE, MOST_SIDE)
        (hit,) = self._collection.items([words.bare(id)])
        try:
            picture = sheet.fitted(self._collection.allowed().picture(hit, size), size)
        except ImageError as error:
            raise BadRequest(
                f"{id} cannot be shown: {_reason(error)}: describe_item says what is known of it"
            ) from error
        found = told.Found.of(hit, asked=False)
        sent = sheet.jpeg(picture)
        text = f"{found.named()}  ({picture.width} x {picture.height} pixels here)"
        return Answer(text, told.Shown(found, picture.width, picture.height), sent)

    def contact_sheet(self, ids: Sequence[str] | None, query: Query | None, k: int) -> Answer:
        """Several pictures as numbered tiles in one."""
        if bool(ids) == bool(query):
            raise BadRequest("ids and query are two ways to say which pictures: give one of them")
        _check("k" if query else "the number of ids", len(ids) if ids else k, 1, MOST_TILES)
        if query:
            hits, notes = self._hits(query, k, None, None, None)
        else:
            hits, notes = self._collection.items([words.bare(id) for id in ids or ()]), []
        allowed = self._collection.allowed()
        pictures = [_tile(allowed, hit, notes) for hit in hits]
        tiles = [told.Found.of(hit, asked=bool(query)) for hit in hits]
        text = "\n".join([*notes, *(tile.line() for tile in tiles)])
        return Answer(text, told.Tiles(tiles, notes), sheet.jpeg(sheet.contact_sheet(pictures)) if hits else None)

    def list_fields(self) -> Answer:
        """The fields that `where` may ask for."""
        found, held = self._collection.now().whole(lambda store: (field_table.table(store, LOOKED_AT), len(store)))
        asks, seen = example(found), min(held, LOOKED_AT)
        data = [told.FieldTold(one.name, one.items, one.types, one.examples) for one in found]
        lines = [_field_line(one) for one in found] or ["no picture has a field, not even a caption"]
        head = [f"of the first {seen:,} pictures:"] if seen < held else []
        tail = [f"for example where={asks}"] if asks else []
        return Answer("\n".join([*head, *lines, *tail]), told.Fields(data, asks, seen))

    def info(self, name: str) -> tuple[told.Info, list[str]]:
        """What is asked, which is called so; and in lines."""
        retriever = self._collection.now()
        store = retriever.store.view()
        identity, source = Identity.recorded(store), roots.recorded(store)
        folders = [str(one) for one in source.folders] if source else []
        way, recall = _way(store)
        data = told.Info(
            name, str(store.path), len(store), identity.name if identity else "",
            list(languages.known_to(retriever.encoder)), folders, store.generation, way, recall,
        )  # fmt: skip
        lines = [
            f"{plain.line(name)}: {data.pictures:,} pictures in {plain.line(data.index)}, "
            f"of {plain.line(', '.join(folders)) or 'a table'}",
            f"encoder {plain.line(data.encoder) or 'without a name'}; {_languages(data.languages)}",
            f"search is {data.search}" + (f", recall on text {recall:.3f}" if recall is not None else ""),
            f"state {data.generation} of the index",
        ]
        return data, lines


# ---------------------------------------------------------------- in words


def _check(name: str, given: int, least: int, most: int) -> None:
    if not least <= given <= most:
        raise BadRequest(f"{name} is {given}: give {least} to {most}")


def _answers(hits: Sequence[Hit], notes: list[str]) -> Answer:
    found = [told.Found.of(hit) for hit in hits]
    return Answer("\n".join([*notes, *(one.line() for one in found)]), told.Answers(found, notes))


def _tile(allowed: Allowed, hit: Hit, notes: list[str]) -> Image.Image | None:
    try:
        return allowed.picture(hit, sheet.TILE)
    except ImageError as error:
        notes.append(f"tile {hit.rank} cannot be shown: {_reason(error)}")
        return None


def _reason(error: ImageError) -> str:
    allow = " (whoever started this can allow it with --allow FOLDER)" if str(error) == OUTSIDE else ""
    return f"{error}{allow}"


def _why_none(store: Store, wanted: Asked, min_confidence: float | None) -> str:
    if nothing := filters.nothing(store, wanted.where, wanted.inside):
        return words.for_agents(nothing)
    if min_confidence:
        return f"nothing fits: no picture has a confidence of {min_confidence:g}, say so or ask with a lower one"
    return "nothing but what was asked with"


def _by_words(hit: Hit) -> bool:
    """Does it answer by its words too? Then its confidence, which is of its meaning, is not all that speaks for it."""
    return hit.by is not None and hit.by.words is not None


def _unsure(confidence: float) -> str:
    return (
        f"nothing fits well: {1 - confidence:.0%} of other questions have a nearer picture, so there may be no "
        "such picture: look at these before you call them answers"
    )


def _way(store: Store) -> tuple[str, float | None]:
    """How it is searched, and which recall that gave on text."""
    recorded = store.approximate
    point = cheapest(recorded.points, recorded.asked) if recorded else None
    return (f"approximate: {recorded.spec}", point.recall) if recorded and point else ("exact", None)


def _languages(codes: Sequence[str]) -> str:
    return f"ask in one of {', '.join(codes)}" if codes else "it does not say which languages it reads: ask in English"


def _field_line(one: Field) -> str:
    examples = ", ".join(json.dumps(value, ensure_ascii=False) for value in one.examples)
    return plain.line(f"{one.name}: {' or '.join(one.types)}, of {one.items:,} pictures, as {examples}")


def example(found: Sequence[Field]) -> str:
    """An expression for `where` that some picture meets; "" where no field can be asked for."""
    return next((part for one in found if (part := _comparison(one))), "")


def _comparison(one: Field) -> str:
    values = [value for value in one.examples if isinstance(value, str | int | float)]
    if "`" in one.name or not values:
        return ""
    is_plain = one.name.isidentifier() and one.name.lower() not in _KEYWORDS
    name, value = one.name if is_plain else f"`{one.name}`", values[0]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{name} >= {json.dumps(value)}"
    word = max(value.removesuffix("...").split(" ")[:-1] or [value], key=len) if isinstance(value, str) else ""
    return f"{name} contains '{word}'" if word.isalnum() else f"{name} is not null"
