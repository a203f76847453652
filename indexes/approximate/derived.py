"""Derived: the approximate index of a store, read. It may be lost at any time: the rows are the truth.

    derived/000001.faiss   one FAISS index; number, checksum, spec and measured points are in the manifest (recorded.py)

Only a file that is what was written is read. Where it is missing or damaged, exact search answers, and the next writer
makes it again. It is replaced, never changed: those who search in it meanwhile are not disturbed.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexes import forks
from indexes.approximate.recorded import Recorded, cheapest
from indexes.errors import Damaged
from indexes.segments import Neighbors, Segment

if TYPE_CHECKING:
    from indexes.approximate.ann import Ann


_reading = forks.Lock()  # of files: once for all threads; FAISS's limits are the whole process's


class Derived:
    """What one state of a store has beside its rows and could make again from them.

    path: the store's folder. recorded: what the manifest says, None where there is no approximate index. segments: of
    rows (n, dim). read: by checksum, what was read already; a store keeps it from one state to the next.
    """

    def __init__(
        self, path: Path, recorded: Recorded | None, segments: Sequence[Segment], dim: int,
        read: "dict[str, Ann | None] | None" = None,
    ) -> None:  # fmt: skip
        self.recorded = recorded
        self._path, self._segments, self._dim = path, segments, dim
        self._read = {} if read is None else read

    @property
    def index(self) -> "Ann | None":
        """The approximate index, read and checked when it is first needed; None where there is none to believe."""
        if self.recorded is None:
            return None
        with _reading:
            if self.recorded.sha256 not in self._read:
                believed = self._believed(self.recorded)
                self._read.clear()
                self._read[self.recorded.sha256] = believed
            return self._read[self.recorded.sha256]

    def _believed(self, recorded: Recorded) -> "Ann | None":
        from indexes.approximate import ann, ann_file

        try:
            file = file_of(self._path, recorded.number)
            index, reduction = ann_file.read(file, recorded, self._dim)
        except Damaged:
            return None
        return ann.Ann(index, recorded.spec, recorded.rows_below, list(recorded.points), reduction, recorded.rows_from)

    def search(
        self, segments: Sequence[Segment], queries: np.ndarray, k: int, recall: float | None, device: str = "cpu"
    ) -> Neighbors | None:
        """The approximate answer at that recall (None: what it was built for); None where only exact search gives it.

        segments: what may answer, by number; the fewer of their rows may, the harder it looks.
        """
        if self.recorded is None:
            return None
        point = cheapest(self.recorded.points, self.recorded.asked if recall is None else recall)
        total = sum(len(segment.vectors) for segment in segments)
        alive = total - sum(len(segment.dead) for segment in segments)
        if not point or not alive or (index := self.index) is None:  # the file last: reading it takes FAISS
            return None
        from indexes.approximate import ann

        return ann.search(index, point, segments, queries, k, alive / total, device)

    def newer(self) -> list[Segment]:
        """The segments that the approximate index does not know yet; none where there is no index."""
        if self.recorded is None:
            return []
        return [segment for segment in self._segments if segment.first_row >= self.recorded.rows_below]

    def unmerged(self) -> int:
        """Living rows that the approximate index does not know yet: they are scanned at each search."""
        return sum(len(segment.vectors) - len(segment.dead) for segment in self.newer())

    def problems(self) -> list[str]:
        """What is wrong with the files, one line each."""
        if self.recorded is None:
            return []
        file = file_of(self._path, self.recorded.number)
        if not file.is_file():
            return [f"derived/{file.name} is missing; `mmr index` makes it again"]
        if hashlib.sha256(file.read_bytes()).hexdigest() != self.recorded.sha256:
            return [f"derived/{file.name} does not match its checksum; `mmr index` makes it again"]
        return []

    def files(self) -> set[Path]:
        """The files that the manifest names."""
        return {file_of(self._path, self.recorded.number)} if self.recorded else set()

    @property
    def number(self) -> int:
        """That of the file; 0 where there is none."""
        return self.recorded.number if self.recorded else 0


def file_of(path: Path, number: int) -> Path:
    """The file of that number in the store at `path`."""
    return path / "derived" / f"{number:06d}.faiss"


def files_from(path: Path, number: int) -> set[Path]:
    """The files of that number and later ones in the store at `path`."""
    return {file for file in (path / "derived").glob("*.faiss") if file.stem.isdecimal() and int(file.stem) >= number}


def next_number(path: Path) -> int:
    """A number that no file of the store at `path` has yet: files are replaced, never changed."""
    return 1 + max((int(file.stem) for file in (path / "derived").glob("*.faiss")), default=0)
