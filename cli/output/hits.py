"""Hits on stdout: a table for people, JSON lines, csv, or nothing but paths."""

import csv
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from cli.output import plain, show
from retrieval.datatypes import By, Hit
from retrieval.errors import BadRequest
from retrieval.indexing.fields import TEXT

_SHOWN, _BEFORE = 200, 40  # letters of what is said on a line; of them before a word that was looked for
Form = Literal["table", "json", "csv", "paths", "null"]


def form_of(as_json: bool, as_csv: bool, paths: bool, null: bool) -> Form:
    """The form that these options ask for. Raises BadRequest for two of them."""
    forms: dict[Form, bool] = {"json": as_json, "csv": as_csv, "paths": paths and not null, "null": null}
    wanted = [form for form, asked in forms.items() if asked]
    if len(wanted) > 1:
        raise BadRequest(f"--{wanted[0]} and --{wanted[1]} are two forms of output: give one")
    return wanted[0] if wanted else "table"


def fields(hit: Hit) -> dict:
    """What a program is told of a hit: the first of its captions and all, the text that was read in it, where there is
    some, and confidence where it was asked for.
    """
    told: dict[str, Any] = {
        "rank": hit.rank, "score": hit.score, "uri": hit.uri, "path": hit.path, "caption": hit.caption,
        "captions": hit.captions, "kind": hit.kind,
    }  # fmt: skip
    if hit.meta.get(TEXT):
        told[TEXT] = hit.meta[TEXT]
    told |= {} if hit.confidence is None else {"confidence": hit.confidence}
    return told if hit.by is None else told | {"by": asdict(hit.by)}


def why(by: By) -> str:
    """Why something answers, in a few words: `meaning 3rd, words 1st "golden retriever"`."""
    ways = (("meaning", by.meaning), ("words", by.words))
    places = ", ".join(f"{way} {_ordinal(place)}" for way, place in ways if place)
    return " ".join([places, *(f'"{plain.line(words)}"' for words in by.matched)])


def _ordinal(place: int) -> str:
    tens, ones = divmod(place % 100, 10)
    return f"{place:,}" + ("th" if tens == 1 else {1: "st", 2: "nd", 3: "rd"}.get(ones, "th"))


def _without_lists(told: dict) -> dict:
    """What stands in the cells of a csv: one text of each picture, in the same columns."""
    cells = {name: value for name, value in told.items() if name not in ("captions", "kind", "by", TEXT)}
    return cells | ({"by": why(By(**told["by"]))} if "by" in told else {})


def is_gone(path: str | None) -> bool:
    """Is the file of an item not on this machine any more? One that never was a file is not gone."""
    try:
        return path is not None and not Path(path).exists()
    except OSError:  # a name that no file can have
        return True


def line(hit: Hit) -> str:
    """Rank, score, path as one would type it here, why it answers, where words were asked, and what is said of it."""
    sure = "" if hit.confidence is None else f"  {hit.confidence:4.0%}"
    said = telling(hit)
    shown = f"  {plain.line(said)}" if said else ""
    by = f"  by: {why(hit.by)}" if hit.by else ""
    return f"{hit.rank:>4}  {hit.score:6.3f}{sure}  {nearby(hit.path, hit.uri)}{by}{shown}"


def telling(hit: Hit) -> str:
    """Of what is said of an item, what a line has room for: the caption that has the most of the words that found it,
    or the field that has more of them, by its name.
    """
    words = [word for has in (hit.by.matched if hit.by else ()) for word in has.casefold().rstrip("*").split()]
    starts = [word[: max(3, len(word) - 2)] for word in words]  # English endings do not count
    fields = [f"{name}: {value}" for name, value in hit.meta.items() if isinstance(value, str)] if starts else []
    texts = [(text, _places(text, starts)) for text in [hit.caption or "", *hit.captions[1:], *fields]]
    text, places = max(texts, key=lambda one: len(one[1]))
    first = max(0, min(places, default=0) - _BEFORE) if len(text) > _SHOWN else 0
    return ("\u2026" if first else "") + text[first : first + _SHOWN] + ("\u2026" if first + _SHOWN < len(text) else "")


def _places(text: str, starts: Sequence[str]) -> list[int]:
    """Where each of some beginnings of words first is in a text, those that are."""
    plain = text.casefold()
    return [place for place in (plain.find(start) for start in starts) if place >= 0]


def table(found: Sequence[Hit]) -> None:
    """A line each."""
    for hit in found:
        show.out(line(hit))


class Writer:
    """Writes answers in one form; many: the answers to several queries, each told apart by its query."""

    def __init__(self, form: Form, many: bool = False) -> None:
        self._form, self._many = form, many
        self._csv: csv.DictWriter | None = None

    def __call__(self, query: str, found: Sequence[Hit]) -> None:
        """The answers to one query."""
        told = {"query": query} if self._many else {}
        if self._form == "table":
            if self._many:
                show.out(plain.line(query))
            table(found)
        elif self._form == "json":
            for hit in found:
                show.out(json.dumps(told | fields(hit) | ({"gone": True} if is_gone(hit.path) else {})))
        elif self._form == "csv":
            self._rows([told | _without_lists(fields(hit)) for hit in found])
        else:
            _paths(found, b"\0" if self._form == "null" else b"\n")

    def _rows(self, lines: Sequence[dict]) -> None:
        for line in lines:
            if self._csv is None:
                self._csv = csv.DictWriter(sys.stdout, list(line), "", "ignore", lineterminator="\n")
                self._csv.writeheader()
            self._csv.writerow(line)


def _paths(found: Sequence[Hit], end: bytes) -> None:
    """Bytes as the file system has them: names need not be text. A terminal gets them written out.

    Files that are gone are left out: who is given nothing but paths will open them.
    """
    sys.stdout.flush()
    readable = end == b"\n" and sys.stdout.isatty()
    for path in (file_of(hit) for hit in found if not is_gone(hit.path)):
        if readable:
            show.out(plain.line(path))
        else:
            sys.stdout.buffer.write(os.fsencode(path) + end)
            sys.stdout.buffer.flush()


def file_of(hit: Hit) -> str:
    """The file of a hit. Raises BadRequest where it is none."""
    if hit.path is None:
        raise BadRequest(f"{hit.uri} is no file of this machine: use --json, which gives its uri")
    return hit.path


def nearby(path: str | None, uri: str) -> str:
    """The path as one would type it here, as it may stand on a terminal; marked where the file is gone."""
    if path is None:
        return plain.line(uri)
    relative = os.path.relpath(path)
    return plain.line(path if relative.startswith("..") else relative) + ("  (gone)" if is_gone(path) else "")
