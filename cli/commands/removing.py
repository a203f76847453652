"""`mmr rm`: taking items out of an index, for good."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from cli.output import show
from indexes import Record, Store
from retrieval import find_index
from retrieval.errors import BadRequest
from retrieval.indexing import called
from retrieval.indexing.cards import Card
from retrieval.indexing.removed import Removal, Removed
from retrieval.search import filters


def rm(
    index_dir: Path | None, names: Sequence[str], where: str | None, inside: str | None, sure: bool, null: bool = False
) -> int:  # fmt: skip
    """Remove items from the index; the exit code. The files stay. null: names at standard input end in a NUL each."""
    by_name = bool(names) or null
    if by_name == bool(where is not None or inside is not None):
        raise BadRequest("say which items: either their names, as in `mmr ls`, or --where and --in")
    path = index_dir or find_index()
    with Store.open(path, write=True) as store:
        asked = list(_named(names, null)) if by_name else []
        found = called.rows(store, asked) if by_name else store.rows(filters.condition(store, where, inside))
        records = list({record.id: record for record in store.records(found)}.values())
        if not records:
            show.note(filters.nothing(store, where, inside) or "no name was given")
            return show.NONE
        if not (sure or _agreed(f"remove {len(records)} of {len(store)} items from {path}? Their files stay.")):
            show.note("nothing was removed")
            return show.NONE
        _remove(store, records)
        show.out(f"{path}: {len(records)} removed, {len(store)} left")
    show.note("their files are as they were; `mmr index` leaves them out, and `mmr index --readmit` takes them again")
    return show.OK


def _remove(store: Store, records: Sequence[Record]) -> None:
    # Put down first: a kill between leaves items that the next indexing takes out.
    Removed(store.path).add(Removal(record.id, record.stamp, Card.of(record).key) for record in records)
    store.delete([record.id for record in records])
    if store.needs_compaction():
        store.compact()


def _named(names: Sequence[str], null: bool) -> Iterator[str]:
    """The names, `-` for those at standard input; null without any name is that, too."""
    for name in names or ["-"]:
        if name != "-":
            yield name
            continue
        parts = sys.stdin.buffer.read().split(b"\0" if null else b"\n")
        yield from (os.fsdecode(part if null else part.removesuffix(b"\r")) for part in parts if part.strip())


def _agreed(question: str) -> bool:
    if not somebody_is_here():
        raise BadRequest("nobody is here to be asked: add --yes to remove them")
    return typer.confirm(question, err=True)


def somebody_is_here() -> bool:
    """Is there a person at standard input who can be asked?"""
    return sys.stdin.isatty()
