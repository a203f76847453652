"""The pictures of an index that are worth a caption first, as files that a table for training may name."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexes import Condition, Store
from retrieval.callbacks import OnProgress, no_progress
from retrieval.errors import BadRequest
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import root_of
from retrieval.indexing.fields import INSIDE
from retrieval.indexing.stored import URI_SQL
from retrieval.search import filters
from retrieval.search.spread import spread

_IS_A_FILE = Condition(f"json_extract(fields, '$.{INSIDE}') IS NULL", ())


@dataclass(frozen=True, slots=True)
class Chosen:
    """A picture or a clip to caption.

    id, uri: as the index has them. path: its file on this machine, absolute. captions: those that the index has of it.
    """

    id: str
    uri: str
    path: str
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """What to caption, the picture that tells most first.

    skipped: (uri, reason) of those that would have been chosen, and cannot be. asked: of how many pictures these are
    the best; known: of how many others there are captions.
    """

    chosen: list[Chosen] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    asked: int = 0
    known: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which pictures may be chosen.

    Args:
        where, inside: As those of search.answers.Asked.
        captioned: Also those that have captions in the index.
        beside: Files of pictures that were captioned elsewhere: what is like them tells less.
    """

    where: str | None = None
    inside: str | None = None
    captioned: bool = False
    beside: Sequence[Path] = ()


def sample(store: Store, count: int, wanted: Wanted | None = None, on_progress: OnProgress = no_progress) -> Sample:
    """Choose `count` pictures; fewer where there are no more. Raises BadRequest, BadFilter."""
    if count < 1:
        raise BadRequest(f"-n {count}: give the number of pictures to caption, as in -n 100")
    wanted = wanted or Wanted()
    if root_of(store) is None:
        raise BadRequest(f"{store.path} is not of files on this machine: caption its pictures where they come from")
    asked = filters.condition(store, wanted.where, wanted.inside)
    rows = store.rows(filters.all_of([_IS_A_FILE, *([asked] if asked else [])]))
    known = np.intersect1d(rows, _known(store, wanted), True)
    found = Sample(asked=len(rows) - len(known), known=len(known))
    taken: dict[int, Chosen] = {}

    def fits(row: int) -> bool:
        (record,) = store.records([row])
        card = Card.of(record)
        path = card.path(store) or ""
        if reason := _unfit(path):
            found.skipped.append((card.uri, reason))
        else:
            taken[row] = Chosen(record.id, card.uri, path, card.captions)
        return not reason

    found.chosen.extend(taken[row] for row in spread(store, rows, known, count, fits, on_progress))
    return found


def _known(store: Store, wanted: Wanted) -> np.ndarray:
    """The rows of pictures that have captions, in the index or elsewhere."""
    elsewhere = store.rows(_called(_names(store, wanted.beside)))
    return elsewhere if wanted.captioned else np.union1d(elsewhere, store.rows(filters.parsed("caption != ''")))


def _names(store: Store, files: Iterable[Path]) -> list[str]:
    """How an index may call these files: from its root, or by the absolute path."""
    root = root_of(store) or ""
    real, names = os.path.realpath(root), []
    for file in files:
        relative = Path(os.path.relpath(os.path.realpath(file), real)).as_posix()
        names += [relative, Path(root, relative).as_posix(), Path(os.path.normpath(file.absolute())).as_posix()]
    return names


def _called(names: Sequence[str]) -> Condition:
    return Condition(f"{URI_SQL} IN (SELECT value FROM json_each(?))", (json.dumps(names),))


def _unfit(path: str) -> str:
    """Why a table cannot name a file; "" where it can."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is no text, and a table is: rename it"
    return "" if Path(path).exists() else "no such file"
