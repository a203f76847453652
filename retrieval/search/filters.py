"""Which items a request is about: --where, --in and names, as one condition that SQLite checks."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from indexes import Condition, Store, filters
from retrieval.errors import BadRequest
from retrieval.indexing import fields
from retrieval.indexing.catalog import root_of
from retrieval.indexing.stored import TEXT_SQL, URI_SQL

LOOKED_AT = 200  # items among whose fields a mistyped one is looked for


def condition(store: Store, where: str | None = None, inside: str | None = None) -> Condition | None:
    """The items whose fields meet an expression, and that lie below a folder; None where neither is asked.

    Raises BadFilter, BadRequest.
    """
    wanted = [] if where is None else [parsed(where)]
    if inside is not None:
        wanted += below(store, inside)
    return all_of(wanted) if wanted else None


def parsed(where: str) -> Condition:
    """An expression over the fields of items, `uri` and `caption`. Raises BadFilter."""
    return filters.parse(where, inside=fields.OBJECTS, own=fields.OWN, several=(fields.CAPTION,))


def unknown_fields(store: Store, where: str | None) -> str:
    """A line that names the fields of an expression which no item has, with those near to them; "" where all are there.

    For an expression that nothing met: most likely it was mistyped. Raises BadFilter.
    """
    missing = [name for name in filters.names(where or "") if not len(_having(store, name))]
    if not missing:
        return ""
    some = store.records(store.rows()[:LOOKED_AT])
    known = {name for record in some for name in fields.names(record.fields)}
    near = difflib.get_close_matches(missing[0], sorted(known), 1)
    hint = f"did you mean `{near[0]}`?" if near else "`mmr ls --json` shows the fields there are"
    return f"no item has a field {', '.join(f'`{name}`' for name in missing)}: {hint}"


def _having(store: Store, name: str) -> np.ndarray:
    return store.rows(parsed(f"`{name}` is not null"))


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
        relative = os.path.relpath(os.path.realpath(there), os.path.realpath(root))
        if there.is_dir() and not _outside(relative):
            return Path(relative).as_posix()
    relative = os.path.normpath(folder)
    if Path(relative).is_absolute() or _outside(relative):
        raise BadRequest(f"--in {folder} is not below {root}: give a folder of what is indexed")
    return Path(relative).as_posix()


def _outside(relative: str) -> bool:
    return relative == os.pardir or relative.startswith(os.pardir + os.sep)
