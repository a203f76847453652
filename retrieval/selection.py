"""Which items a request is about: --where, --in and names, as one condition that SQLite checks."""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from indexes import Condition, Store, exact, filters
from retrieval.errors import BadRequest

LOOKED_AT = 200  # items among whose fields a mistyped one is looked for
_URI = "json_extract(fields, '$.uri')"
_TEXT = (
    "CAST(? AS TEXT)"  # bytes as a text: SQLite reads half surrogates, which stand for odd bytes of names, out of JSON
)


def condition(store: Store, where: str | None = None, inside: str | None = None) -> Condition | None:
    """The items whose fields meet an expression, and that lie below a folder; None where neither is asked.

    Raises BadFilter, BadRequest.
    """
    wanted = [] if where is None else [filters.parse(where, inside=("meta",))]
    if inside is not None:
        wanted += below(store, inside)
    return all_of(wanted) if wanted else None


def unknown_fields(store: Store, where: str | None) -> str:
    """A line that names the fields of an expression which no item has, with those near to them; "" where all are there.

    For an expression that nothing met: most likely it was mistyped. Raises BadFilter.
    """
    missing = [name for name in filters.names(where or "") if not len(_having(store, name))]
    if not missing:
        return ""
    some = store.records(store.rows()[:LOOKED_AT])
    known = {name for record in some for name in (*record.fields, *record.fields.get("meta", {}))} - {"meta"}
    near = difflib.get_close_matches(missing[0], sorted(known), 1)
    hint = f"did you mean `{near[0]}`?" if near else "`mmr ls --json` shows the fields there are"
    return f"no item has a field {', '.join(f'`{name}`' for name in missing)}: {hint}"


def _having(store: Store, name: str) -> np.ndarray:
    return store.rows(filters.parse(f"`{name}` is not null", inside=("meta",)))


def all_of(conditions: Iterable[Condition]) -> Condition:
    """What meets every one of them."""
    conditions = list(conditions)
    sql = " AND ".join(f"({one.sql})" for one in conditions)
    return Condition(sql, tuple(value for one in conditions for value in one.values))


def below(store: Store, folder: str) -> list[Condition]:
    """The items whose uri lies below a folder: of the indexed root, or as it is seen from here. None for the root.

    Raises BadRequest for a folder outside the root.
    """
    root = root_of(store)
    names = {_inside(root, folder)} if root else {os.path.normpath(folder)}
    if "." in names:
        return []
    if root:
        names.add(Path(root, *names).as_posix())  # a table may name its pictures by absolute paths
    prefixes = sorted(f"{name}/".encode("utf-8", "surrogatepass") for name in names)
    sql = " OR ".join(f"substr({_URI}, 1, length({_TEXT})) = {_TEXT}" for _ in prefixes)
    return [Condition(sql, tuple(prefix for prefix in prefixes for _ in range(2)))]


def root_of(store: Store) -> str | None:
    """The folder that the items' uris are relative to, absolute; None for items that are no files."""
    root = store.manifest.get("root")
    return None if root is None else os.path.normpath(store.path.absolute().parent / root)


def path_of(store: Store, uri: str, meta: Mapping = MappingProxyType({})) -> str | None:
    """An item's file on this machine; None where it has none, or lies inside another file (places.py)."""
    root = root_of(store)
    return None if root is None or meta.get("inside") else os.path.normpath(Path(root, uri))


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


def named(store: Store, names: Iterable[str]) -> list[int]:
    """The rows of items by id or uri, in that order. Raises BadRequest for a name that the index does not hold."""
    rows = []
    for name in names:
        text = name.encode("utf-8", "surrogatepass")
        readable = name.encode("utf-8", "backslashreplace").decode()
        found = store.rows(Condition(f"(id = ? OR {_URI} = {_TEXT})", (readable, text)))
        if not len(found):
            raise BadRequest(f"{store.path} holds no `{readable}`: see `mmr ls` for what it holds")
        rows.append(int(found[0]))
    return rows


def vectors(store: Store, rows: Iterable[int]) -> np.ndarray:
    """What is stored of these rows, in their order: float32 (n, d) of unit length."""
    rows = np.fromiter(rows, np.int64)
    wanted, place = np.unique(rows, return_inverse=True)
    if not len(wanted):
        return np.empty((0, store.dim), np.float32)
    (segment,) = exact.gather(store.segments, wanted)
    found = segment.vectors.astype(np.float32)
    return (found / np.linalg.norm(found, axis=1, keepdims=True))[place]
