"""Which items a request is about: --where, --in and names, as one condition that SQLite checks."""

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from indexes import BadFilter, Condition, Store, filters
from retrieval.errors import BadRequest, did_you_mean
from retrieval.indexing import field_table, fields
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import root_of
from retrieval.indexing.stored import TEXT_SQL, URI_SQL, are_all

LOOKED_AT = 200  # items among which a field is looked for before all of them are
_NAMED = 20  # fields that a message lists


def condition(store: Store, where: str | None = None, inside: str | None = None) -> Condition | None:
    """The items whose fields meet an expression, and that lie below a folder; None where neither is asked.

    Raises BadFilter, also for a field that no item has; BadRequest.
    """
    wanted = [] if where is None else [parsed(where)]
    if where is not None:
        _check_fields(store, where)
    if inside is not None:
        wanted += below(store, inside)
    return all_of(wanted) if wanted else None


def parsed(where: str) -> Condition:
    """An expression over the fields of items, `uri` and `caption`. Raises BadFilter."""
    return filters.parse(where, inside=fields.OBJECTS, own=fields.OWN, several=(fields.CAPTION,))


def _check_fields(store: Store, where: str) -> None:
    """Raise BadFilter where an expression speaks of fields that no item has: most likely they are mistyped."""
    asked = set(filters.names(where)) - {*fields.OWN, *fields.OF_FILES}
    if asked and len(store):
        asked -= {name for record in store.records(store.rows()[:LOOKED_AT]) for name in fields.names(record.fields)}
    missing = [name for name in filters.names(where) if name in asked and not len(_having(store, name))]
    if missing and len(store) and are_all(store):
        raise BadFilter(_unknown(store, missing))


def _unknown(store: Store, missing: Sequence[str]) -> str:
    known = sorted({*fields.OWN, *(one.name for one in field_table.table(store))})
    near = difflib.get_close_matches(missing[0], known, 3)
    hint = did_you_mean([f"`{name}`" for name in near], "`mmr fields` shows them with examples")
    named = ", ".join(known[:_NAMED]) + (", ..." if len(known) > _NAMED else "")
    return f"no item has a field {', '.join(f'`{name}`' for name in missing)}, only {named}: {hint}"


def _having(store: Store, name: str) -> np.ndarray:
    return store.rows(parsed(f"`{name}` is not null"))


def nothing(store: Store, where: str | None = None, inside: str | None = None) -> str:
    """A line that says why no item meets a request; "" where some do."""
    if not len(store):
        return f"{store.path} is empty: index pictures into it with `mmr index FOLDER --index {store.path}`"
    if inside is not None and not len(store.rows(condition(store, None, inside))):
        near = difflib.get_close_matches(os.path.normpath(inside), _folders(store), 3)
        return f"nothing of {store.path} lies in {inside}: {did_you_mean(near, '`mmr ls` shows the names there are')}"
    if where is not None and not len(store.rows(condition(store, where, inside))):
        lies = "" if inside is None else f" of those in {inside}"
        return f"no item{lies} meets --where {where!r}: `mmr fields` shows what fields there are, with examples"
    return ""


def _folders(store: Store) -> list[str]:
    """Where the first items lie, and the folders above."""
    uris = [Card.of(record).uri for record in store.records(store.rows()[:LOOKED_AT])]
    return sorted({parent.as_posix() for uri in uris for parent in PurePosixPath(uri).parents} - {"."})


def all_of(conditions: Iterable[Condition]) -> Condition:
    """The condition that is met where all of these are."""
    conditions = list(conditions)
    sql = " AND ".join(f"({one.sql})" for one in conditions)
    return Condition(sql, tuple(value for one in conditions for value in one.values))


def below(store: Store, folder: str) -> list[Condition]:
    """The items whose uri lies below a folder: of the indexed root, or as it is seen from here. None for the root.

    Raises BadRequest for a folder outside the root.
    """
    root = root_of(store)
    name = _inside(root, folder) if root else os.path.normpath(folder)
    if name == ".":
        return []
    names = {name} | ({Path(root, name).as_posix()} if root else set())  # a table may name pictures by absolute paths
    prefixes = sorted(f"{name}/".encode("utf-8", "surrogatepass") for name in names)
    sql = " OR ".join(f"substr({URI_SQL}, 1, length({TEXT_SQL})) = {TEXT_SQL}" for _ in prefixes)
    return [Condition(sql, tuple(prefix for prefix in prefixes for _ in range(2)))]


def _inside(root: str, folder: str) -> str:
    """The folder relative to the root: as it is seen from here where there is such a one, else as indexed."""
    for start in (Path.cwd(), root):
        there = Path(start, folder)
        try:
            relative = os.path.relpath(os.path.realpath(there), os.path.realpath(root))
            if there.is_dir() and not _outside(relative):
                return Path(relative).as_posix()
        except (OSError, ValueError):  # a name that no folder can have: longer than names are, or with a NUL
            continue
    relative = os.path.normpath(folder)
    if Path(relative).is_absolute() or _outside(relative):
        raise BadRequest(f"--in {folder} is not below {root}: give a folder of what is indexed")
    return Path(relative).as_posix()


def _outside(relative: str) -> bool:
    return relative == os.pardir or relative.startswith(os.pardir + os.sep)
