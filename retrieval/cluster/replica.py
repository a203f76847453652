"""Replica: one shard of an index, held open on some machine, and asked by its manifest's commit."""

import socket
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexes import Store, StoreError
from indexes.sharded import manifest
from indexes.sharded.client import Question, answer
from indexes.sharded.local import open_shard

KEPT = 2  # commits of the manifest: those who asked before a new one came are still answered


class Replica:
    """Answers for a shard.

    Args:
        folder: Of the manifest, as every machine sees it.
        number: Of the shard.
    """

    def __init__(self, folder: str, number: int) -> None:
        self._folder, self._number = Path(folder), number
        self._open: OrderedDict[int, Store] = OrderedDict()  # by the manifest's generation
        self._opening = threading.Lock()

    def ask(self, generation: int, question: Question, given: Sequence[Any]) -> Any:
        """What the shard answers, as the manifest of that generation pins it.

        Raises:
            StoreError: It is not there, not what is pinned, or that manifest is gone.
        """
        return answer(self._store(generation).view(), question, given)

    def _store(self, generation: int) -> Store:
        with self._opening:
            if generation not in self._open:
                self._open[generation] = self._opened(generation)
                while len(self._open) > KEPT:  # not closed here: somebody may be reading it, and the last one ends it
                    self._open.popitem(last=False)
            return self._open[generation]

    def _opened(self, generation: int) -> Store:
        if not (self._folder / manifest.FILE).is_file():
            raise StoreError(
                f"{socket.gethostname()} cannot see {self._folder}: put the shards where all machines see them"
            )
        said = manifest.read(self._folder)
        if said.generation != generation or self._number >= len(said.shards):
            raise StoreError(f"{self._folder} was changed meanwhile: ask again")
        return open_shard(self._folder, said.shards[self._number], said)
