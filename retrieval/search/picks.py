"""Judgements of answers as files keep them: which items were liked and which were not, and of which query.

    item,judgement          a table (csv, tsv, jsonl): 1 or 0, like or unlike, yes or no; other columns do not matter
    query,item,judgement    of several queries, or of one that need not be typed again
    picks.json              a session that `mmr search --session` writes and goes on from; a .csv can be one too

A cell without a judgement is no judgement, so a table of answers can be filled as far as one likes.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from indexes import durable, typed
from retrieval.errors import BadRequest

ITEMS = ("item", "id", "uri", "image", "path")  # what the column of items may be called, the first that is there
JUDGEMENTS = ("judgement", "judgment", "label", "like", "liked", "click", "clicked", "relevant", "relevance")
QUERY = "query"
_HEADER = (QUERY, "item", "judgement")  # of a session that is a table
_LIKED = frozenset("1 like liked yes y true +".split())
_UNLIKED = frozenset("0 -1 unlike unliked dislike disliked no n false -".split())
_KIND, _FORMAT = "mmr search session", 1
_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")


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


def read(path: Path, query: Sequence[str] = ()) -> Session:
    """The judgements of a file: a table, or a session.

    query: what is asked, where that was said; of a table with a column `query` only the rows of that query count, and
    those of none. Raises BadRequest where the file cannot be read, has other columns, says what is no judgement, judges
    nothing, or has several queries and none is asked.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise BadRequest(f"{path} is no table of judgements: give a .csv, .jsonl or .json file")
    if not path.is_file():
        raise BadRequest(f"no such file: {path}: give a table with the columns `item` and `judgement`")
    found = _session(path) if path.suffix.lower() == ".json" else _table(path, " ".join(query))
    if not found.picks:
        of = f" of {' '.join(query)!r}" if query else ""
        raise BadRequest(f"{path} judges nothing{of}: write a row an item, as in `item,judgement` and `a.jpg,1`")
    return replace(found, query=tuple(query) or found.query)


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


def _table(path: Path, query: str) -> Session:
    asked: dict[str, None] = {}
    picks: list[Pick] = []
    for number, row in _rows(path):
        said = f"row {number} of {path}"
        item, judgement = _column(path, row, ITEMS, "item"), _column(path, row, JUDGEMENTS, "judgement")
        liked, of = _judgement(row[judgement], said), str(row.get(QUERY) or "").strip()
        name = row[item]
        if liked is None or (query and of and of != query):
            continue
        if name is None or not str(name).strip():
            raise BadRequest(f"{said} judges no item: write one into `{item}`, or take the row out")
        asked |= {of: None} if of else {}
        picks.append(Pick(str(name), liked, said))
    if len(asked) > 1 and not query:
        raise BadRequest(
            f"{path} is of {len(asked)} queries: say which, as in mmr search {next(iter(asked))!r} --train-on {path}"
        )
    return Session(tuple(next(iter(asked), "").split(" ")) if asked else (), tuple(picks))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(number, cells) of each row, as a spreadsheet numbers them: the header of a csv is row 1."""
    from retrieval.sources import text_tables  # a search without a table does without
    from retrieval.sources.uri import Uri

    scheme = "jsonl" if path.suffix.lower() in (".jsonl", ".ndjson") else "csv"
    uri = Uri(str(path), scheme, str(path), {})
    if scheme == "jsonl":
        return enumerate(text_tables.open_jsonl(uri).rows, 1)
    table = text_tables.open_csv(uri)
    for names, what in ((ITEMS, "item"), (JUDGEMENTS, "judgement")):
        _column(path, dict.fromkeys(table.columns), names, what)
    return enumerate(table.rows, 2)


def _column(path: Path, row: Mapping[str, Any], names: Sequence[str], what: str) -> str:
    found = next((name for name in names if name in row), None)
    if found is None:
        raise BadRequest(
            f"{path} has no column `{what}`, only {', '.join(list(row)[:20]) or 'none'}: name one of them {what}"
        )
    return found


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
    if path.suffix.lower() not in (".json", ".csv"):
        raise BadRequest(f"{path} ends neither in .json nor in .csv: give --session {path}.json")
    if path.is_dir():
        raise BadRequest(f"{path} is a folder: name a file, as in --session {path / 'picks.json'}")


def _table_session(path: Path) -> Session:
    for _, row in _rows(path):
        if other := [name for name in row if name not in _HEADER]:
            raise BadRequest(
                f"{path} has a column `{other[0]}`, which a session would lose: read it with --train-on {path}"
            )
    return _table(path, "")


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
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_HEADER)
    asked = " ".join(session.query)
    rows.writerows([asked, pick.name, "like" if pick.liked else "unlike"] for pick in session.picks)
    return text.getvalue()
