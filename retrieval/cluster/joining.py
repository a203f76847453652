"""Indexes that are there already joined to be searched as one, and shards that were changed taken over as they are."""

import heapq
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from indexes import Store, StoreError, WrongEncoder
from indexes.sharded import local, manifest
from indexes.sharded.manifest import FORMAT, Made, Manifest, Part
from retrieval.cluster import folder
from retrieval.errors import BadRequest
from retrieval.indexing.catalog import Origin

_BEHIND = "\U0010ffff"  # every id


def join(out: Path, indexes: Sequence[Path]) -> Manifest:
    """Make the manifest of indexes that are there already, in that order. They stay where they are.

    Args:
        out: The folder of the manifest: new, empty, or with a manifest, which this one replaces.
        indexes: Their folders: of one encoder, and of one root. No item is in two of them.

    Returns:
        The manifest.

    Raises:
        BadRequest: They are of different roots, one is given twice, or an item is in two of them.
        StoreError: One cannot be read, or is of another encoder than the first.
        NotAnIndex: The folder holds something else.
    """
    if len({index.resolve() for index in indexes}) < len(indexes):
        raise BadRequest("an index is given twice: give each once")
    with ExitStack() as opened:
        stores = [opened.enter_context(Store.open(index)) for index in indexes]
        before = opened.enter_context(folder.alone(out, *indexes))
        made = folder.made(stores[0], out)
        for store in stores:
            _require_joining(store, stores[0], made)
        _require_apart(stores)
        counts = [(folder.seen_from(store.path, out), store.generation, len(store)) for store in stores]
        number = before.generation + 1 if before else 1
        found = Manifest(FORMAT, number, stores[0].dim, made, manifest.parts(counts), folder.origin(stores[0], out))
        manifest.write(out, found)
        folder.tidy(out, before, found)
        return found


def _require_joining(store: Store, first: Store, made: Made) -> None:
    if problem := local.other_encoder(store, made, first.dim):
        raise WrongEncoder(f"{store.path} {problem}")
    ones, others = Origin.recorded(first).root_at(first.path), Origin.recorded(store).root_at(store.path)
    if ones != others:
        raise BadRequest(
            f"{first.path} names its pictures from {ones}, {store.path} from {others}: index parts of one folder as in "
            f"`mmr index {os.path.commonpath([ones, others]) if ones and others else 'FOLDER'} --exclude OTHERS`"
        )


def _require_apart(stores: Sequence[Store]) -> None:
    """Raise BadRequest where an item is in two indexes."""
    before = "", 0
    for name, number in heapq.merge(*(_ids(store, number) for number, store in enumerate(stores))):
        if name == before[0] and number != before[1]:
            one, other = stores[before[1]].path, stores[number].path
            raise BadRequest(f"{name} is in {one} and in {other}: take it out of one, `mmr rm {name} --index {other}`")
        before = name, number


def _ids(store: Store, number: int) -> Iterator[tuple[str, int]]:
    at = ""
    while found := store.ids_between(at, _BEHIND):
        yield from ((name, number) for name in found)
        at = found[-1] + "\0"


def pin(out: Path) -> Manifest:
    """Take over the commits that the shards are at now.

    Args:
        out: The folder of the shards.

    Returns:
        The manifest, which is replaced where a shard has moved on.

    Raises:
        StoreError: A shard is missing, or of another encoder. Nothing is changed then.
        BadRequest: An item is in two of them.
    """
    with folder.alone(out) as said, ExitStack() as opened:
        if said is None:
            said = manifest.read(out)  # which says that there is none
        stores = [opened.enter_context(local.open_shard(out, part, said, pinned=False)) for part in said.shards]
        now = [(part.folder, store.generation, len(store)) for part, store in zip(said.shards, stores, strict=True)]
        found = replace(said, generation=said.generation + 1, shards=manifest.parts(now))
        if found.shards == said.shards:
            return said
        _require_apart(stores)
        manifest.write(out, found)
        return found


def look(out: Path) -> list[tuple[Part, str]]:
    """Every shard, and what is wrong with it; "" where nothing is.

    Args:
        out: The folder of the shards.

    Raises:
        StoreError: There is no manifest, or it makes no sense.
    """
    said = manifest.read(out)
    return [(part, _problem(out, part, said)) for part in said.shards]


def _problem(out: Path, part: Part, said: Manifest) -> str:
    try:
        local.open_shard(out, part, said).close()
    except StoreError as error:
        return str(error)
    return ""
