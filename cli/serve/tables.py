"""What the items of an index say by name, as tables that are kept for its state: rows by date, fields with counts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from cli.serve.parts import Parts
from cli.serve.shelf import Shelf
from indexes import Store
from retrieval.indexing import stored
from retrieval.indexing.cards import Card
from retrieval.indexing.field_table import is_date, is_number
from retrieval.search import filters

DATES = ("taken", "date", "modified")  # the first of them that an item has is its date
VALUES, BINS, FOLDERS = 50, 20, 200  # that are told of a field, and of folders
MANY = 10_000  # different values of a field that are counted
_TOGETHER = 1000  # records that are read at once


def date_of(fields: dict[str, Any]) -> str | None:
    """When an item was made, ISO 8601; None where nobody says."""
    return next((str(fields[name]) for name in DATES if is_date(fields.get(name))), None)


def rows(server: Parts, store: Store, where: str | None, inside: str | None) -> np.ndarray:
    """The rows of a state that meet a condition. Raises BadFilter, BadRequest."""
    key = "rows", store.key, where, inside
    found = lambda: store.rows(filters.condition(store, where or None, inside or None))  # noqa: E731
    return server.tables.get(key, found, lambda: stored.are_all(store))


def by_date(server: Parts, store: Store, where: str | None, inside: str | None) -> np.ndarray:
    """The rows of a state that meet a condition, those without a date first, then the oldest."""
    dates = server.tables.get(("dates", store.key), lambda: _dates(store), lambda: stored.are_all(store))
    return dates[np.isin(dates, rows(server, store, where, inside))] if where or inside else dates


def _dates(store: Store) -> np.ndarray:
    """All rows in the order of their dates, then of their names."""
    dated = [(date_of(card.fields) or "", card.uri, row) for row, card in _cards(store, store.rows())]
    return np.array([row for _, _, row in sorted(dated)], np.int64)


def _cards(store: Store, wanted: np.ndarray) -> Iterator[tuple[int, Card]]:
    for start in range(0, len(wanted), _TOGETHER):
        part = wanted[start : start + _TOGETHER]
        yield from zip(part.tolist(), (Card.of(record) for record in store.records(part)), strict=True)


# ---------------------------------------------------------------- facets


@dataclass(slots=True)
class _Field:
    """What the items say under one name. kinds: of the values. counts: of texts; numbers: the others."""

    kinds: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    numbers: list[float] = field(default_factory=list)

    def add(self, value: Any) -> None:
        """One more item."""
        for one in value if isinstance(value, list) else [value]:
            kind = _kind(one)
            self.kinds[kind] += 1
            if kind in ("number", "date"):
                self.numbers.append(float(one) if kind == "number" else _seconds(one))
            if (text := _said(one)) in self.counts or len(self.counts) < MANY:
                self.counts[text] += 1

    def told(self, name: str) -> dict[str, Any]:
        """As JSON says it."""
        kind = self.kinds.most_common(1)[0][0]
        values = [{"value": value, "count": count} for value, count in self.counts.most_common(VALUES)]
        said: dict[str, Any] = {"name": name, "type": kind, "count": self.kinds.total(), "values": values}
        if kind in ("number", "date") and self.numbers:
            numbers = np.array(self.numbers)
            as_value = _date if kind == "date" else _plain
            counts, edges = np.histogram(numbers, min(BINS, max(1, len(np.unique(numbers)))))
            said |= {"min": as_value(numbers.min()), "max": as_value(numbers.max())}
            said["bins"] = [
                {"from": as_value(low), "to": as_value(high), "count": int(count)}
                for low, high, count in zip(edges, edges[1:], counts, strict=False)
            ]
        return said


def facets(server: Parts, shelf: Shelf, where: str | None, inside: str | None) -> dict[str, Any]:
    """The fields of the items that meet a condition, with counts, and the folders they lie in."""

    def ask(store: Store) -> dict[str, Any]:
        key = "facets", store.key, where, inside
        return server.tables.get(key, lambda: _counted(store, where, inside), lambda: stored.are_all(store))

    return shelf.retriever.whole(ask)


def _counted(store: Store, where: str | None, inside: str | None) -> dict[str, Any]:
    found: dict[str, _Field] = {}
    folders: Counter[str] = Counter()
    wanted = store.rows(filters.condition(store, where or None, inside or None))
    for _, card in _cards(store, wanted):
        folders[PurePosixPath(card.uri).parent.as_posix()] += 1
        for name, value in card.fields.items():
            if not isinstance(value, dict):
                found.setdefault(name, _Field()).add(value)
    told = [{"value": name, "count": count} for name, count in folders.most_common(FOLDERS) if name != "."]
    return {
        "total": len(wanted), "fields": [one.told(name) for name, one in sorted(found.items()) if one.kinds],
        "folders": told,
    }  # fmt: skip


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if is_number(value):
        return "number"
    return "date" if is_date(value) else "text"


def _said(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()


def _seconds(value: str) -> float:
    """A date as seconds since 1970; a day, or a month, is its start."""
    text = value.replace(" ", "T")[:19]
    try:
        return float(np.datetime64(text, "s").astype(np.int64))
    except ValueError:
        return 0.0


def _date(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s"))


def _plain(number: float) -> float:
    return float(f"{number:.6g}")
