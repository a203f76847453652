"""Sharded: several indexes asked as one. It stands where a store that was opened for reading stands.

A row is called by the number of its shard times ROWS plus what its shard calls it, so rows are in the order of the
shards, and ties go as they would in one index of all. Exact answers stay exact: the best of all are among the best of
each.
"""

import copy
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from indexes.approximate.recorded import Recorded, cheapest
from indexes.errors import StoreError
from indexes.filters import Condition
from indexes.fulltext.words import Words
from indexes.items import LOOKED_UP, Record
from indexes.segments import Neighbors
from indexes.sharded import manifest, merge
from indexes.sharded.asking import Asking, Threads
from indexes.sharded.client import Question, Shard
from indexes.sharded.manifest import Manifest
from indexes.sharded.merge import ROWS

Connect = Callable[[Path, Manifest], Sequence[Shard]]
_numbers = itertools.count(1)


class Sharded:
    """What a StoreReader is, over several shards: its methods are described there.

    Shards that are away (ShardAway) are left out of an answer, and `answered` says so; an answer that needs one of them
    is an error. Threads may share it, each request with a `view` of its own; a forked child may go on with it as far
    as its shards allow that.

    Args:
        path: The folder of the manifest.
        connect: Given the folder and the manifest, who answers for each shard, in their order.

    Attributes:
        path: The folder of the manifest.

    Raises:
        StoreError: There is no manifest, or `connect` says so.
    """

    def __init__(self, path: Path, connect: Connect) -> None:
        self.path, self._connect, self._number, self._is_view = path, connect, next(_numbers), False
        self._go_to(manifest.read(path))

    def _go_to(self, said: Manifest) -> None:
        shards = self._connect(self.path, said)
        self._said, self._as_one = said, said.says() | {"next_row": len(said.shards) * ROWS}
        self._asking = Asking(str(self.path), shards, Threads(len(shards)))

    # ---------------------------------------------------------------- the state

    def view(self) -> Self:
        """The shards as they are now, for one request: who does not answer it is noted for it alone."""
        made = copy.copy(self)
        made._is_view, made._asking = True, self._asking.again()
        return made

    def refresh(self, fits: "Callable[[Self], bool] | None" = None) -> bool:
        """Go to what the manifest says now. Views stay on what they have."""
        said = manifest.read(self.path)
        if said.generation == self.generation:
            return True
        newest = self.view()
        newest._go_to(said)
        if fits and not fits(newest):
            newest._close()
            return False
        self._said, self._as_one, self._asking = said, newest._as_one, newest._asking
        return True

    @property
    def answered(self) -> tuple[int, int]:
        """How many shards answered all that was asked of this view, and of how many: (7, 8)."""
        count = len(self._said.shards)
        return count - len(self._asking.away), count

    @property
    def key(self) -> tuple[int, int]:
        """As of a store. What was made of a view is kept by it only where all `answered`."""
        return -self._number, self.generation

    @property
    def manifest(self) -> dict[str, Any]:
        """What the shards are, as one index would remember it."""
        return self._as_one

    @property
    def generation(self) -> int:
        """That of the manifest."""
        return self._said.generation

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self._said.dim

    @property
    def holds_nothing(self) -> bool:
        """Is there no row?"""
        return not len(self)

    @property
    def approximate(self) -> Recorded | None:
        """The approximate index of that shard whose recall on text is the least; None where one is searched exactly."""
        found: list[Recorded | None] = list(self._everyone("approximate").values())
        measured = [(point.recall, one) for one in found if one and (point := cheapest(one.points, one.asked))]
        return min(measured, key=lambda each: each[0])[1] if len(measured) == len(found) else None

    def __len__(self) -> int:
        return len(self._said)

    def close(self) -> None:
        """Let go of the shards; a view does not."""
        if not self._is_view:
            self._close()

    def _close(self) -> None:
        for shard in self._asking.shards:
            shard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ---------------------------------------------------------------- ask

    def search(
        self, queries: np.ndarray, k: int, device: str = "cpu", where: Condition | None = None,
        recall: float | None = None,
    ) -> Neighbors:  # fmt: skip
        """The k rows of all shards nearest to each query; recall is that of each shard."""
        return merge.best(self._everyone("search", queries, k, device, where, recall), k)

    def search_words(self, asked: Words, k: int, where: Condition | None = None) -> Neighbors:
        """The k rows of all shards whose texts have the most of some words; each shard counts how rare a word is among
        its own rows."""
        found = merge.best(self._everyone("search_words", asked, k, where), k)
        there = found.rows[0] >= 0
        return Neighbors(found.rows[:, there], found.scores[:, there])

    def words_weight(self, asked: Words) -> float:
        """What a row would score that has all of some words, in the shard where that is the most."""
        return max(self._everyone("words_weight", asked).values(), default=0.0)

    def words_in(self, asked: Words, rows: Iterable[int]) -> list[tuple[str, ...]]:
        """Which of some words some rows have."""
        wanted = np.fromiter(rows, np.int64)
        found: dict[int, tuple[str, ...]] = {}
        parts = self._split(wanted)
        answers = self._asking.some("words_in", {number: (asked, own.tolist()) for number, (_, own) in parts.items()})
        for number, words in answers.items():
            found.update(zip(parts[number][0].tolist(), words, strict=True))
        return [found[place] for place in range(len(wanted))]

    def rows(self, where: Condition | None = None) -> np.ndarray:
        """The rows of all shards, or those that meet a condition."""
        return merge.together(self._everyone("rows", where))

    def among(self, rows: Iterable[int]) -> np.ndarray:
        """Those of some rows that there are."""
        asked = merge.split(np.unique(np.fromiter(rows, np.int64)))
        here = {number: (own,) for number, (_, own) in asked.items() if 0 <= number < len(self._said.shards)}
        return merge.together(self._asking.some("among", here))

    def records(self, rows: Iterable[int]) -> list[Record]:
        """What is known of some rows. Raises ShardAway where their shard is away."""
        wanted = np.fromiter(rows, np.int64)
        found: dict[int, Record] = {}
        for places, records in self._of_rows("records", wanted):
            found.update(zip(places.tolist(), records, strict=True))
        return [found[place] for place in range(len(wanted))]

    def vectors(self, rows: Iterable[int]) -> np.ndarray:
        """The stored vectors of some rows. Raises ShardAway where their shard is away."""
        wanted = np.fromiter(rows, np.int64)
        found = np.empty((len(wanted), self.dim), np.float32)
        for places, vectors in self._of_rows("vectors", wanted):
            found[places] = vectors
        return found

    def stamps(self) -> dict[str, str]:
        """The stamp of every item."""
        return merge.first(self._everyone("stamps"))

    def stamps_of(self, ids: Sequence[str]) -> dict[str, str]:
        """The stamps of some items."""
        return merge.first(self._everyone("stamps_of", list(ids)))

    def fields_of(self, ids: Sequence[str]) -> dict[str, tuple[int, str]]:
        """The rows of some items and their fields as they are stored."""
        answers = self._everyone("fields_of", list(ids))
        return merge.first(
            {
                number: {name: (row + number * ROWS, text) for name, (row, text) in found.items()}
                for number, found in answers.items()
            }
        )

    def ids_between(self, first: str, end: str) -> list[str]:
        """The first ids in a range, ascending."""
        found = self._everyone("ids_between", first, end).values()
        return sorted({name for names in found for name in names})[:LOOKED_UP]

    # ---------------------------------------------------------------- look at

    def describe(self) -> dict[str, int]:
        """What all shards take."""
        found = list(self._everyone("describe").values())
        return {name: sum(one[name] for one in found) for name in found[0]}

    def marks(self) -> dict[str, tuple[int, int, int]]:
        """Tell files of rows that are as they were written."""
        return merge.first(self._everyone("marks"))

    def verify(self) -> list[str]:
        """The problems of all shards, each behind the name of its shard."""
        found = self._everyone("verify")
        return [f"{self._said.shards[number].name}/{one}" for number, problems in found.items() for one in problems]

    def damaged(self, rows: Iterable[int] | None = None) -> list[int]:
        """The rows whose vectors are not what was written."""
        if rows is None:
            answers = self._everyone("damaged")
        else:
            asked = self._split(np.unique(np.fromiter(rows, np.int64)))
            answers = self._asking.some("damaged", {number: (own.tolist(),) for number, (_, own) in asked.items()})
        return [row + number * ROWS for number, found in answers.items() for row in found]

    def require_sound(self, rows: Iterable[int] | None = None) -> None:
        """Raise Damaged where vectors are not what was written."""
        if rows is None:
            self._everyone("require_sound")
            return
        asked = self._split(np.unique(np.fromiter(rows, np.int64)))
        self._asking.some("require_sound", {number: (own.tolist(),) for number, (_, own) in asked.items()})

    def needs_compaction(self) -> bool:
        """No: each shard is looked after by itself."""
        return False

    def set_manifest(self, **values: object) -> None:
        """Raise StoreError: nothing is written over shards."""
        raise StoreError(
            f"{self.path} is several indexes, which are changed one by one: see `mmr shards show {self.path}`"
        )

    @property
    def segments(self) -> NoReturn:
        """Raise StoreError: rows lie in the shards, perhaps on other machines."""
        raise StoreError(
            f"this is not offered over shards: give one of those of `mmr shards show {self.path}` as --index"
        )

    derived = segments

    # ---------------------------------------------------------------- inside

    def _everyone(self, question: Question, *given: Any) -> dict[int, Any]:
        if not self._is_view:  # each question is a request of its own
            self._asking = self._asking.again()
        return self._asking.everyone(question, *given)

    def _of_rows(self, question: Question, wanted: np.ndarray) -> list[tuple[np.ndarray, Any]]:
        """(places among those wanted, what their shard answers) of each shard that has some of them."""
        asked = self._split(wanted)
        answers = self._asking.some(question, {number: (own,) for number, (_, own) in asked.items()})
        return [(asked[number][0], found) for number, found in answers.items()]

    def _split(self, rows: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """As merge.split. Raises KeyError for a row of no shard."""
        found = merge.split(rows)
        for number, (places, _) in found.items():
            if not 0 <= number < len(self._said.shards):
                raise KeyError(f"row {rows[places[0]]} is not in {self.path}")
        return found
