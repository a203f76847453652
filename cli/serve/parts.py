"""What a server is made of: indexes, the threads that gather queries, what is kept between requests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request

from cli.serve.gather import Gatherer
from cli.serve.kept import Kept
from cli.serve.reported import Reports
from cli.serve.sent import Sent
from cli.serve.shelf import Shelf, Shelves

THUMBS = 128 << 20  # bytes of thumbnails that are kept in memory
TABLES = 8  # tables of fields that are kept


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
    tables: "Kept[Any]" = field(default_factory=lambda: Kept(TABLES))
    gatherers: dict[str, Gatherer] = field(default_factory=dict)

    def gatherer(self, shelf: Shelf) -> Gatherer:
        """The one of an index."""
        if shelf.name not in self.gatherers:
            self.gatherers[shelf.name] = Gatherer(shelf, self.sent)
        return self.gatherers[shelf.name]

    def close(self) -> None:
        """End the threads, then close the indexes."""
        for gatherer in self.gatherers.values():
            gatherer.close()
        self.shelves.close()


def of(request: Request) -> Parts:
    """The parts of the server that answers a request."""
    return request.app.state.parts
