"""Judgements of answers as files keep them: which items were liked and which were not, and of which query.

    item,judgement          a table (csv, tsv, jsonl): 1 or 0, like or unlike, yes or no; other columns do not matter
    query,item,judgement    of several queries, or of one that need not be typed again
    picks.json              a session that `mmr search --session` writes and goes on from; a .csv can be one too

A cell without a judgement is no judgement, so a table of answers can be filled as far as one likes. A query is written
as in a file of --queries, its arguments between single spaces; or, where that would be another, as for a shell.
"""

import csv
import io
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from indexes import durable, typed
from retrieval.errors import BadRequest

if TYPE_CHECKING:
    from retrieval.sources.uri import Uri

ITEMS = ("item", "id", "uri", "image", "path")  # what the column of items may be called, the first that is there
JUDGEMENTS = ("judgement", "judgment", "label", "like", "liked", "click", "clicked", "relevant", "relevance")
QUERY = "query"
_NAMES = {"item": ITEMS, "judgement": JUDGEMENTS, QUERY: (QUERY,)}
_HEADER = (QUERY, "item", "judgement")  # of a session that is a table
_LIKED = frozenset("1 like liked yes y true +".split())
_UNLIKED = frozenset("0 -1 unlike unliked dislike disliked no n false -".split())
_KIND, _FORMAT = "mmr search session", 1
_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_READING = {"encoding", "sep", "quote"}  # what may be said of a table, as of a source
_SHOWN = 3  # queries that a message names


@dataclass(frozen=True, slots=True)
class Pick:
    """A judgement.

    name: the item, by its id, its uri or the path of its file; or a picture file that the index does not hold.
    liked: whether more like it is wanted, or less. said: who says so, as a message names it: "row 3 of picks.csv".
    """

    name: str
    liked: bool
    said: str


@dataclass(frozen=True, slots=True)
class Session:
    """A query and what was judged of its answers. query: the arguments of `mmr search`, () where there are none."""

    query: tuple[str, ...] = ()
    picks: tuple[Pick, ...] = ()

    def names(self, liked: bool) -> list[str]:
        """Those that were liked, or were not."""
        return [pick.name for pick in self.picks if pick.liked == liked]


class _Said(TypedDict):
    """A session as JSON says it."""

    kind: str
    format: int
    query: list[str]
    like: list[str]
    unlike: list[str]


# ---------------------------------------------------------------- read


def read(path: Path | str, query: Sequence[str] = ()) -> Session:
    """The judgements of a file: a table, or a session.

    path: it may say how a table is read, as a source does: "clicks.csv?encoding=cp1252". query: what is asked, where
    that was said; of a table with a column `query` only the rows of that query count, and those of none. Raises
    BadRequest where the file cannot be read, has other columns, says what is no judgement, judges nothing, or has
    several queries and none is asked.
    """
    table = _Table.of(str(path))
    if not query and len(table.queries) > 1:
        count, one = len(table.queries), next(iter(table.queries))
        raise BadRequest(
            f"{table.path} is of {count} queries: say which, as in mmr search {one!r} --train-on {table.path}"
        )
    found = table.picks(query)
    if not found:
        raise BadRequest(table.nothing(f" of {' '.join(query)!r}" if query else ""))
    return Session(tuple(query) or next(iter(table.queries.values()), ()), found)


def read_each(path: Path | str, queries: Iterable[Sequence[str]]) -> list[tuple[Pick, ...]]:
    """The judgements of each of several queries, as `read`; () of one without any. BadRequest: all are so."""
    table = _Table.of(str(path))
    found = [table.picks(query) for query in queries]
    if found and not any(found):
        raise BadRequest(table.nothing(" of the queries that are asked"))
    return found


class _Row(NamedTuple):
    """Of a table. query: its arguments, () where there is none. pick: None where nothing is judged."""

    query: tuple[str, ...]
    pick: Pick | None


@dataclass(frozen=True, slots=True)
class _Table:
    """The judgements of a file. queries: the arguments of those that something is judged of, by their text.

    judged: the judgements of each, numbered; those of "" are of every query.
    """

    path: str
    queries: Mapping[str, tuple[str, ...]]
    judged: Mapping[str, Sequence[tuple[int, Pick]]]

    @classmethod
    def of(cls, text: str) -> "_Table":
        """That of a file, which may be a session. Raises BadRequest."""
        uri = _uri(text)
        if Path(uri.path).suffix.lower() == ".json":
            session = _session(Path(uri.path))
            asked = {_text(session.query): session.query} if session.query else {}
            return cls(uri.path, asked, {"": [*enumerate(session.picks)]})
        queries: dict[str, tuple[str, ...]] = {}
        judged: dict[str, list[tuple[int, Pick]]] = {}
        for number, (query, pick) in enumerate(_rows(uri)):
            if pick is not None:
                judged.setdefault(_text(query), []).append((number, pick))
                queries |= {_text(query): query} if query else {}
        return cls(uri.path, queries, judged)

    def picks(self, query: Sequence[str]) -> tuple[Pick, ...]:
        """Those of a query, in the order of the file; of (), of all queries."""
        asked = ["", _text(query)] if query else [*self.judged]
        found = [one for name in dict.fromkeys(asked) for one in self.judged.get(name, ())]
        return tuple(pick for _, pick in sorted(found, key=lambda one: one[0]))

    def nothing(self, of: str) -> str:
        """What is said where there is no judgement of what was asked."""
        if not self.queries:
            return f"{self.path} judges nothing{of}: write a row an item, as in `item,judgement` and `a.jpg,1`"
        more = len(self.queries) - _SHOWN
        some = ", ".join(map(repr, [*self.queries][:_SHOWN])) + (f" and {more} more" if more > 0 else "")
        return f"{self.path} judges nothing{of}, only of {some}: ask that, or write rows of what you ask"


def _text(query: Sequence[str]) -> str:
    return " ".join(query).strip()


def _uri(text: str) -> "Uri":
    """A file of judgements, taken apart as a source is. Raises BadRequest where it is none."""
    from retrieval.sources.uri import Uri, is_file, query_of  # a search without a table does without

    path, _, options = (text, "", "") if is_file(Path(text)) else text.partition("?")
    ending = Path(path).suffix.lower()
    if ending not in _ENDINGS:
        raise BadRequest(f"{text} is no table of judgements: give a .csv, .jsonl or .json file")
    if not is_file(Path(path)):
        raise BadRequest(f"no such file: {path}: give a table with the columns `item` and `judgement`")
    where, reading = query_of("csv", options, text)
    if other := [*where, *(reading.keys() - _READING)]:
        raise BadRequest(f"{text}: `{other[0]}=` is nothing of a table of judgements: say encoding=, sep= or quote=")
    return Uri(text, "jsonl" if ending in (".jsonl", ".ndjson") else "csv", path, {}, reading=reading)


def _session(path: Path) -> Session:
    try:
        said = typed.read(path, _Said)
    except (typed.Malformed, OSError) as error:
        raise BadRequest(f"{path} is no session of mmr search ({error}): give another file") from error
    if said["kind"] != _KIND:
        raise BadRequest(f"{path} is no session of mmr search: give another file")
    if said["format"] > _FORMAT:
        raise BadRequest(f"{path} is of a newer mmr: update this one, or begin another --session")
    judged = [(name, True) for name in said["like"]] + [(name, False) for name in said["unlike"]]
    return Session(tuple(said["query"]), tuple(Pick(name, liked, str(path)) for name, liked in judged))


def _rows(uri: "Uri") -> Iterator[_Row]:
    """Those of a table, numbered as a spreadsheet does: the header of a csv is row 1. Raises BadRequest."""
    columns: dict[tuple[str, ...], _Columns] = {}
    typed_so = cache(_typed)  # a log of clicks says one query again and again
    for number, row in _cells(uri):
        names = columns.get(tuple(row)) or columns.setdefault(tuple(row), _Columns.of(uri.path, [*row]))
        said = f"row {number} of {uri.path}"
        liked, item = _judgement(row[names.judgement], said), row[names.item]
        if liked is not None and (item is None or not str(item).strip()):
            raise BadRequest(f"{said} judges no item: write one into `{names.item}`, or take the row out")
        query = str(row[names.query] or "").strip() if names.query else ""
        yield _Row(typed_so(query) if query else (), None if liked is None else Pick(str(item), liked, said))


def _cells(uri: "Uri") -> Iterator[tuple[int, Mapping[str, Any]]]:
    from retrieval.sources import text_tables

    if uri.scheme == "jsonl":
        return enumerate(text_tables.open_jsonl(uri).rows, 1)
    table = text_tables.open_csv(uri, "item,judgement")
    _Columns.of(uri.path, table.columns)
    return enumerate(table.rows, 2)


class _Columns(NamedTuple):
    """What the columns of a table are called. query: None where it has none."""

    item: str
    judgement: str
    query: str | None

    @classmethod
    def of(cls, path: str, there: Sequence[str]) -> "_Columns":
        """Capitals do not matter, where not two names differ in them alone. Raises BadRequest."""
        known = {name.lower(): name for name in reversed(there)} | {name: name for name in there}
        found = {what: next((known[one] for one in names if one in known), None) for what, names in _NAMES.items()}
        item, judgement = found["item"], found["judgement"]
        if item is None or judgement is None:
            missing = "judgement" if item else "item"
            shown = ", ".join(there[:20]) or "none"
            raise BadRequest(f"{path} has no column `{missing}`, only {shown}: name one of them {missing}")
        return cls(item, judgement, found[QUERY])


def _judgement(value: object, said: str) -> bool | None:
    """Liked or not; None where nothing is said."""
    text = "" if value is None else str(value).strip().lower()
    text = text[:-2] if text in ("1.0", "0.0", "-1.0") else text  # as tables of numbers are written
    if text in _LIKED:
        return True
    if text in _UNLIKED:
        return False
    if text:
        raise BadRequest(f"{said} says {text[:40]!r}, which is no judgement: write 1 or 0, like or unlike")
    return None


# ---------------------------------------------------------------- kept


def opened(path: Path, query: Sequence[str]) -> Session:
    """The session to go on with: what the file holds, or a new one where there is none.

    Raises BadRequest where it is no session, or one of another query.
    """
    _check(path)
    if not path.exists():
        return Session(tuple(query))
    found = _session(path) if path.suffix.lower() == ".json" else _table_session(path)
    if query and found.query and " ".join(query) != " ".join(found.query):
        raise BadRequest(
            f"{path} is of the query {' '.join(found.query)!r}: leave QUERY out to go on, or begin another --session"
        )
    return replace(found, query=tuple(query) or found.query)


def _check(path: Path) -> None:
    bare, said, _ = str(path).partition("?")
    if said and bare.lower().endswith(".csv"):
        raise BadRequest(f"a session is kept in UTF-8: save {bare} so, and give --session {shlex.quote(bare)}")
    if path.suffix.lower() not in (".json", ".csv"):
        raise BadRequest(f"{path} ends neither in .json nor in .csv: give --session {path}.json")
    if path.is_dir():
        raise BadRequest(f"{path} is a folder: name a file, as in --session {path / 'picks.json'}")


def _table_session(path: Path) -> Session:
    """A session that is a table: one query, of which a row may judge nothing."""
    from retrieval.sources import texts

    texts.read(path)  # which says how to save it in UTF-8: it will be written so
    uri = _uri(str(path))
    for _, row in _cells(uri):
        if other := [name for name in row if name.lower() not in _HEADER]:
            raise BadRequest(
                f"{path} has a column `{other[0]}`, which a session would lose: read it with --train-on {path}"
            )
    rows = [*_rows(uri)]
    queries = list(dict.fromkeys(row.query for row in rows if row.query))
    if len(queries) > 1:
        raise BadRequest(f"{path} is of {len(queries)} queries, and a session of one: read it with --train-on {path}")
    return Session(queries[0] if queries else (), tuple(row.pick for row in rows if row.pick))


def write(path: Path, session: Session) -> None:
    """Keep a session: the file is as it was, or whole. Raises OSError."""
    text = _as_json(session) if path.suffix.lower() == ".json" else _as_csv(session)
    durable.make_folder(path.absolute().parent)
    durable.write_bytes(path, text.encode("utf-8", "backslashreplace"))


def _as_json(session: Session) -> str:
    said: _Said = {
        "kind": _KIND, "format": _FORMAT, "query": list(session.query), "like": session.names(True),
        "unlike": session.names(False),
    }  # fmt: skip
    return json.dumps(said, indent=1) + "\n"


def _as_csv(session: Session) -> str:
    """As a table; a session that judges nothing yet is a row without an item, which says its query."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_HEADER)
    asked = _written(session.query)
    rows.writerows([asked, pick.name, "like" if pick.liked else "unlike"] for pick in session.picks)
    if not session.picks:
        rows.writerow([asked, "", ""])
    return text.getvalue()


def _written(query: Sequence[str]) -> str:
    """The arguments of a query as a cell of which `_typed` makes what means the same."""
    plain = " ".join(query)
    return plain if _sum(_typed(plain.strip())) == _sum(query) else shlex.join(query)


def _typed(cell: str) -> tuple[str, ...]:
    """The arguments of a query that is a cell."""
    try:
        words = shlex.split(cell) if "'" in cell else []
    except ValueError:  # an apostrophe
        words = []
    return tuple(words if words and shlex.join(words) == cell else cell.split(" "))


def _sum(query: Sequence[str]) -> str:
    """A query as text in which + and - that stand alone are told from those within an argument."""
    return " ".join(f"\0{word}" if word in ("+", "-") else word for word in query)
