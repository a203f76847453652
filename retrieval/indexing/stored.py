"""Rows of an index, by the names of their items."""

import json
from collections.abc import Callable, Iterable

import numpy as np

from indexes import Condition, Record, Store, StoreError
from retrieval.errors import BadRequest
from retrieval.indexing.fields import KIND, NUMBERS, URI, USUAL

URI_SQL = f"json_extract(fields, '$.{URI}')"
# Bytes as a text: SQLite reads half surrogates, which stand for odd bytes of names, out of JSON.
_NUMBERS_SQL = f"json_extract(fields, '$.{NUMBERS}')"
MANY = 10_000  # vectors, of which the mean is that of all
TEXT_SQL = "CAST(? AS TEXT)"


def vector_of(store: Store, uri: str) -> np.ndarray:
    """The vector of an item, float32 (d,), by its id or uri. Raises BadRequest for one that the index does not hold."""
    return store.vectors(named(store, [uri]))[0]


def named(store: Store, names: Iterable[str]) -> list[int]:
    """The rows of items by id or uri, in that order. Raises BadRequest for a name that the index does not hold."""
    rows = []
    for name in names:
        text = name.encode("utf-8", "surrogatepass")
        readable = name.encode("utf-8", "backslashreplace").decode()
        found = store.rows(Condition(f"(id = ? OR {URI_SQL} = {TEXT_SQL})", (readable, text)))
        if not len(found) and (few := partial(store)):
            raise StoreError(f"{store.path} answers with {few}, none of which holds `{readable}`: ask again")
        if not len(found):
            raise BadRequest(f"{store.path} holds no `{readable}`: see `mmr ls` for what it holds")
        rows.append(int(found[0]))
    return rows


def found(store: Store, names: Iterable[str]) -> dict[str, int]:
    """The rows of items by id, else by uri, all looked up at once; names that the index does not hold are left out."""
    readable = {name: name.encode("utf-8", "backslashreplace").decode() for name in names}  # as ids are
    by_id = _first(store, "id", readable.values(), lambda record: record.id)
    rows = {name: by_id[id] for name, id in readable.items() if id in by_id}
    missing = [name for name in readable if name not in rows]  # by uri takes three times as long
    return rows | _first(store, URI_SQL, missing, lambda record: record.fields.get(URI))


def _first(
    store: Store, sql: str, names: Iterable[str], name_of: Callable[[Record], str | None]
) -> dict[str, int]:  # fmt: skip
    """The first row of each name that some item has, by an expression of SQL and what that is of a record."""
    if not (asked := sorted(set(names))):
        return {}
    rows = store.rows(Condition(f"{sql} IN (SELECT value FROM json_each(?))", (json.dumps(asked),)))
    places: dict[str, int] = {}
    for row, record in zip(rows.tolist(), store.records(rows), strict=True):
        places.setdefault(str(name_of(record)), row)
    return places


def partial(store: Store) -> str:
    """ "7 of 8 shards", where some of an index's shards did not answer; "" where all did."""
    answered, of = store.answered
    return f"{answered} of {of} shards" if answered < of else ""


def are_all(store: Store) -> bool:
    """Did all shards answer what was asked of this view? What is made of fewer is not kept."""
    return not partial(store)


def by_id(store: Store, ids: Iterable[str]) -> list[Record]:
    """The records of items by id, in the order of their rows; those that the index does not hold are left out."""
    return store.records(store.rows(Condition("id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),))))


def some_of(store: Store) -> np.ndarray | None:
    """Vectors of pictures and clips, float32 (n, d), of up to MANY of them; None where there are none."""
    rows = store.rows(Condition(f"json_extract(fields, '$.{KIND}') IS NOT 'sound'", ()))
    some = rows[:: max(1, len(rows) // MANY)]
    return store.vectors(some) if len(some) else None


def numbers(store: Store) -> dict[str, int]:
    """How many vectors were computed in what: "float32", "bfloat16", "int8"."""
    found = {kind: len(store.rows(Condition(f"{_NUMBERS_SQL} = ?", (kind,)))) for kind in ("bfloat16", "int8")}
    found = {USUAL: len(store) - sum(found.values()), **found}
    return {kind: count for kind, count in found.items() if count}
