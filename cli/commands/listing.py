"""`mmr ls`, `fields`, `dups`: what an index holds, and what it holds twice."""

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cli.output import plain, show
from cli.output.hits import is_gone, nearby
from indexes import Condition, Record, Store
from indexes.sharded.opening import open_reader
from retrieval import find_index
from retrieval.errors import BadRequest
from retrieval.images import kinds
from retrieval.indexing import catalog, field_table
from retrieval.indexing.cards import Card
from retrieval.search import filters
from retrieval.sources import within

_TOGETHER = 1000  # records that are read at once


def ls(
    index_dir: Path | None, where: str | None, inside: str | None, details: bool, as_json: bool, null: bool
) -> int:  # fmt: skip
    """List the items by their rows; the exit code."""
    if as_json and null:
        raise BadRequest("--json and --null are two forms of output: give one")
    empty = True
    with open_reader(index_dir or find_index()) as store:
        for record in _records(store, filters.condition(store, where, inside)):
            empty = False
            uri = Card.of(record).uri
            if null:
                sys.stdout.buffer.write(os.fsencode(uri) + b"\0")
            elif as_json:
                show.out(json.dumps(_told(store, record)))
            else:
                show.out(plain.line(_line(record) if details else uri))
        if empty:
            show.note(filters.nothing(store, where, inside))
    return show.NONE if empty else show.OK


def _records(store: Store, condition: Condition | None) -> Iterator[Record]:
    rows = iter(store.rows(condition).tolist())
    while together := list(itertools.islice(rows, _TOGETHER)):
        yield from store.records(together)


def _told(store: Store, record: Record) -> dict:
    card = Card.of(record)
    return {
        "uri": card.uri, "path": card.path(store), "caption": card.caption, "captions": card.captions,
        "kind": card.kind, "inside": within.to_json(card.within), "fields": card.fields,
    }  # fmt: skip


def _line(record: Record) -> str:
    card = Card.of(record)
    others = [f"{name}={value}" for name, value in card.fields.items()]
    return "  ".join([card.uri, *card.captions, *others])


def fields(index_dir: Path | None, as_json: bool) -> int:
    """Show the fields of the items, with types and examples; the exit code."""
    with open_reader(index_dir or find_index()) as store:
        found = field_table.table(store)
        if not found:
            show.note(filters.nothing(store) or f"no item of {store.path} has a field")
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        if as_json:
            told = {"field": one.name, "items": one.items, "types": one.types, "examples": one.examples}
            show.out(json.dumps(told))
        else:
            shown = ", ".join(repr(each) if isinstance(each, str) else json.dumps(each) for each in one.examples)
            show.out(f"{one.name:<{width}}  {one.items:>9,}  {' or '.join(one.types):<12}  {shown}")
    return show.OK if found else show.NONE


# ---------------------------------------------------------------- dups


def dups(index_dir: Path | None, threshold: float, where: str | None, inside: str | None, as_json: bool) -> int:
    """Show groups of near-duplicates; the exit code."""
    from retrieval.search import near_duplicates

    with open_reader(index_dir or find_index()) as store, show.Meter("comparing", "items") as meter:
        unit = kinds.counted(catalog.kinds(store))
        condition = filters.condition(store, where, inside)
        found = near_duplicates.groups(store, threshold, condition, meter)
        for number, group in enumerate(found, 1):
            items = [_member(store, *member) for member in zip(group.rows, group.scores.tolist(), strict=True)]
            if as_json:
                show.out(json.dumps({"group": number, "items": items}))
            else:
                lines = [f"{item['score']:6.3f}  {nearby(item['path'], item['uri'])}" for item in items]
                show.out("\n".join([f"group {number}: {len(items)} {unit}", *lines]))
        if not found:
            alone = f"no two {unit} are as near as {threshold:g}: give a lower --threshold"
            show.note(filters.nothing(store, where, inside) or alone)
    return show.OK if found else show.NONE


def _member(store: Store, row: int, score: float) -> dict:
    (record,) = store.records([row])
    told = _told(store, record)
    member = {"score": score, "uri": told["uri"], "path": told["path"], "caption": told["caption"]}
    return member | ({"gone": True} if is_gone(told["path"]) else {})
