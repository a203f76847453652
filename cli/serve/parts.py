"""What a server is made of: indexes, the threads that gather queries, what is kept between requests."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from cli.serve.gather import Gatherer
from cli.serve.kept import Kept
from cli.serve.reported import Reports
from cli.serve.sent import Sent
from cli.serve.shelf import Shelf, Shelves
from retrieval.search.heat import Places

THUMBS = 128 << 20  # bytes of thumbnails that are kept in memory
LOOKS = 32  # pictures whose places are kept, each up to a megabyte
TABLES = 8  # tables of fields that are kept
DECODED = 4  # pictures at once, of those that are sent

_PARAMETERS = {
    "--words-only": "by=words", "--hybrid": "by=both", "--no-hybrid": "by=meaning", "--min-score": "min_score",
    "--min-confidence": "min_confidence", "--where": "where", "--like": "like", "--unlike": "unlike",
    "--with-judged": "with_judged", "--diverse": "diverse", "--in": "in",
}  # fmt: skip
_OPTION = re.compile("|".join(rf"{name}(?![\w-])" for name in _PARAMETERS))
_Made = TypeVar("_Made")


@dataclass(slots=True)
class Parts:
    """One server. local: only this machine can reach it, so paths mean something. may_write: there is a write key."""

    shelves: Shelves
    local: bool = True
    may_write: bool = False
    runs: dict[str, Path] = field(default_factory=dict)
    reports: Reports = field(default_factory=Reports)
    sent: Sent = field(default_factory=Sent)
    thumbs: "Kept[bytes]" = field(default_factory=lambda: Kept(THUMBS, len))
    looks: "Kept[Places]" = field(default_factory=lambda: Kept(LOOKS))
    tables: "Kept[Any]" = field(default_factory=lambda: Kept(TABLES))
    gatherers: dict[str, Gatherer] = field(default_factory=dict)
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DECODED))

    async def decode(self, work: Callable[..., _Made], *given: Any) -> _Made:
        """Do what decodes a picture that was sent, in a thread: a few at once, as each may take hundreds of MB."""
        async with self.decoding:
            return await run_in_threadpool(work, *given)

    def gatherer(self, shelf: Shelf) -> Gatherer:
        """The one of an index."""
        if shelf.name not in self.gatherers:
            self.gatherers[shelf.name] = Gatherer(shelf, self.sent)
        return self.gatherers[shelf.name]

    def told(self, text: str) -> str:
        """A message as clients read it: options of a search are its parameters here, and where they are not on this
        machine, folders of it are names of indexes.
        """
        if "`mmr " not in text and " mmr " not in text:  # what is to be typed at a terminal is left
            text = _OPTION.sub(lambda found: _PARAMETERS[found[0]], text)
        for shelf in () if self.local else self.shelves:
            for place in (shelf.path.absolute(), shelf.path.resolve()):
                text = text.replace(str(place), shelf.name)
        return text

    def close(self) -> None:
        """End the threads, then close the indexes."""
        for gatherer in self.gatherers.values():
            gatherer.close()
        self.shelves.close()


def of(request: Request) -> Parts:
    """The parts of the server that answers a request."""
    return request.app.state.parts
