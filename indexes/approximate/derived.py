"""Derived: the approximate index of a store, which may be lost at any time. The rows are the truth.

    derived/000001.faiss   one FAISS index; number, checksum, spec and measured points are in the manifest, under "ann"

Only a file that is what was written is read. Where it is missing or damaged, exact search answers, and the next writer
makes it again. It is replaced, never changed: those who search in it meanwhile are not disturbed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexes import durable
from indexes.errors import Damaged
from indexes.segments import Neighbors, Segment

if TYPE_CHECKING:
    from indexes.approximate.ann import Ann
    from indexes.store import Store


KEY = "ann"


class Derived:
    """What belongs to a Store and can be made again."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._read: tuple[str, Ann | None] | None = None  # by its checksum

    @property
    def recorded(self) -> dict | None:
        """What the manifest says of the approximate index: number, sha256, spec, rows_below, asked, points."""
        return self._store.manifest.get(KEY)

    @property
    def index(self) -> "Ann | None":
        """The approximate index, read and checked when it is first needed; None where there is none to believe."""
        recorded = self.recorded
        if recorded is None:
            return None
        if self._read is None or self._read[0] != recorded["sha256"]:
            try:
                self._read = recorded["sha256"], self._believed(recorded)
            except Damaged:
                self._read = recorded["sha256"], None
        return self._read[1]

    def _believed(self, recorded: dict) -> "Ann":
        from indexes.approximate import ann, ann_file

        index, reduction = ann_file.read(
            self._file(recorded["number"]), recorded["sha256"], recorded["spec"], self._store.dim
        )
        points = [ann.Point(**point) for point in recorded["points"]]
        # An index without `rows_from` was written before it was: it may name rows that are no longer there.
        first = recorded.get("rows_from", 0)
        return ann.Ann(index, recorded["spec"], recorded["rows_below"], points, reduction, first)

    def search(
        self, segments: Sequence[Segment], queries: np.ndarray, k: int, recall: float | None, device: str = "cpu"
    ) -> Neighbors | None:
        """The approximate answer at that recall (None: what it was built for); None where only exact search gives it.

        segments: what may answer, by number; the fewer of their rows may, the harder it looks.
        """
        recorded = self.recorded
        point = recorded and self.index and self.index.point(recorded["asked"] if recall is None else recall)
        total = sum(len(segment.vectors) for segment in segments)
        alive = total - sum(len(segment.dead) for segment in segments)
        if not point or not alive:
            return None
        from indexes.approximate import ann

        return ann.search(self.index, point, segments, queries, k, alive / total, device)

    def unmerged(self) -> int:
        """Rows that the approximate index does not know yet: they are scanned at each search. 0 where there is none."""
        return sum(len(segment.vectors) - len(segment.dead) for segment in self._newer()) if self.recorded else 0

    def problems(self) -> list[str]:
        """What is wrong with the files, one line each."""
        if self.recorded is None:
            return []
        file = self._file(self.recorded["number"])
        if not file.is_file():
            return [f"derived/{file.name} is missing; `mmr index` makes it again"]
        if hashlib.sha256(file.read_bytes()).hexdigest() != self.recorded["sha256"]:
            return [f"derived/{file.name} does not match its checksum; `mmr index` makes it again"]
        return []

    def files(self) -> set[Path]:
        """The files that the manifest names."""
        return {self._file(self.recorded["number"])} if self.recorded else set()

    # ---------------------------------------------------------------- write

    def set(self, built: "Ann", asked: float) -> None:
        """Commit an approximate index of the store's rows (tune.choose), used for recall `asked` by default."""
        from indexes.approximate import ann_file

        folder = self._store.path.absolute() / "derived"
        number = 1 + max((int(file.stem) for file in folder.glob("*.faiss")), default=0)
        durable.make_folder(folder)
        sha256 = ann_file.write(built, self._file(number))
        said = {
            "number": number,
            "sha256": sha256,
            "spec": built.spec,
            "rows_below": built.rows_below,
            "asked": asked,
            "rows_from": built.rows_from,
        }
        self._store.set_manifest(**{KEY: said | {"points": [asdict(point) for point in built.points]}})
        self._read = sha256, built
        self._store.remove_orphans()

    def drop(self) -> None:
        """Commit that there is no approximate index."""
        self._store.set_manifest(**{KEY: None})
        self._store.remove_orphans()

    def merge(self) -> bool:
        """Take in the rows that came since; what was learned, and the points, stay. False: there was nothing to do."""
        from indexes.approximate import ann

        if not self.unmerged() or self.index is None:
            return False
        copy = ann.copy_of(self.index)
        ann.extend(copy, self._newer(), self._store.manifest["next_row"])
        self.set(copy, self.recorded["asked"])
        return True

    def renumber(self, known: "Ann | None", asked: float) -> None:
        """After a compaction, which gave all rows new numbers: the same index of the same rows."""
        from indexes.approximate import ann

        if known is not None:
            again = ann.emptied(known)
            ann.extend(again, self._newer(0), self._store.manifest["next_row"])
            self.set(again, asked)

    def _newer(self, rows_below: int | None = None) -> list[Segment]:
        below = self.recorded["rows_below"] if rows_below is None else rows_below
        return [segment for segment in self._store.segments if segment.first_row >= below]

    def _file(self, number: int) -> Path:
        return self._store.path / "derived" / f"{number:06d}.faiss"
