"""Files that are read too early: what does not decode, and was written to a moment ago, may not be whole yet."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from retrieval.datatypes import Item
from retrieval.indexing.line import Line, Made

PATIENCE = 5.0  # seconds without a write, after which a file is as whole as it will be


class Patient:
    """A line that is silent on files which may be growing: neither do they count as skipped, nor do their rows go.

    early: such files, so far; whoever asked for them looks at them again.

    Args:
        line: What makes the rows.
        clock: Tells the time as files have it.
    """

    def __init__(self, line: Line, clock: Callable[[], float] = time.time) -> None:
        self._line, self._clock, self.together = line, clock, line.together
        self.early: set[Path] = set()

    def __call__(self, items: Sequence[Item], ocr: bool = False) -> Iterator[Made]:
        """The rows of the line."""
        files = {item.uri: item.content for item in items if isinstance(item.content, Path)}
        for made in self._line(items, ocr):
            early = {uri for uri, _ in made.skipped if uri in files and self._is_young(files[uri])}
            self.early |= {files[uri] for uri in early}
            yield made._replace(skipped=[pair for pair in made.skipped if pair[0] not in early])

    def _is_young(self, path: Path) -> bool:
        try:
            return abs(self._clock() - path.stat().st_mtime) < PATIENCE
        except OSError:  # it went between, which the next look tells
            return not path.exists()
