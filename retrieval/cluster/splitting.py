"""An index split into shards: ordinary indexes of consecutive rows, and the manifest that names them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from indexes import Store, segments
from indexes.sharded import manifest
from indexes.sharded.manifest import FORMAT, MOST, Manifest
from indexes.sharded.opening import are_shards
from retrieval.callbacks import OnMessage, OnProgress, no_message, no_progress
from retrieval.cluster import folder
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest
from retrieval.indexing import approximate
from retrieval.indexing.catalog import Identity

SUFFIX = ".shards"
_LEAST, _SHARE = 8192, 16  # rows that are copied at once: so many, or that share of a shard, which is a segment of it


@dataclass(frozen=True, slots=True)
class Said:
    """Who is told what while an index is split. encoder: given the index, loads its encoder, for approximate search."""

    encoder: Callable[[Store], Encoder]
    progress: OnProgress = no_progress
    message: OnMessage = no_message


def split(index: Path, into: int, out: Path, said: Said) -> Manifest:
    """Make shards of consecutive rows of an index, as even as possible, and the manifest that names them.

    Args:
        index: The folder of the index. Nothing in it is changed.
        into: How many shards.
        out: The folder of the shards: new, empty, or with shards, which these replace.
        said: Who is told.

    Returns:
        The manifest.

    Raises:
        BadRequest: There are fewer rows than shards, or no shards at all are asked for; the index is shards already.
        NotAnIndex: The folder holds something else.
        StoreError: The index cannot be read, is damaged, or of an encoder that is not known.
    """
    if are_shards(index):
        raise BadRequest(f"{index} is shards already: give the index that they were split from")
    with Store.open(index) as store:
        bounds, made = _bounds(store, into), folder.made(store, out)
        store.require_sound()
        with folder.alone(out, index) as before:
            number = before.generation + 1 if before else 1
            folder.tidy(out, before)
            parts = _copied(store, bounds, out / f"{number:06d}", said)
            found = Manifest(FORMAT, number, store.dim, made, manifest.parts(parts), folder.origin(store, out))
            manifest.write(out, found)
            folder.tidy(out, before, found)
            return found


def _bounds(store: Store, into: int) -> list[int]:
    """Where each shard begins among the living rows, and the end. Raises BadRequest."""
    if into < 1:
        raise BadRequest(f"--into {into} makes no shards: give how many, as in --into 4")
    if into > min(len(store), MOST):
        what = f"{len(store)} pictures" if len(store) < MOST else f"at most {MOST} shards"
        raise BadRequest(f"--into {into} is more than {what}: give fewer, as in --into {max(1, min(4, len(store)))}")
    return [number * len(store) // into for number in range(into + 1)]


def _copied(store: Store, bounds: Sequence[int], place: Path, said: Said) -> list[tuple[str, int, int]]:
    """Make the shards below that place: the folder of each, its generation, its rows."""
    rows, copying, made = store.rows(), _Copying(store, said, bounds[-1]), []
    for number, (start, end) in enumerate(pairwise(bounds)):
        shard = place / f"shard-{number:03d}"
        made.append((f"{place.name}/{shard.name}", *copying.shard(shard, rows[start:end])))
    return made


@dataclass(slots=True)
class _Copying:
    """Rows on their way from an index into shards. done: how many were copied, of all."""

    store: Store
    said: Said
    total: int
    done: int = 0
    encoder: Encoder | None = None

    def shard(self, place: Path, rows: np.ndarray) -> tuple[int, int]:
        """Make the shard of these rows; its generation and length."""
        said = Identity.required(self.store).seen_from(self.store.path, place).entry()
        with Store.create(place, self.store.dim, **said, **folder.origin(self.store, place)) as shard:
            at_once = max(_LEAST, -(-len(rows) // _SHARE))
            for start in range(0, len(rows), at_once):
                self._copy(shard, rows[start : start + at_once])
            if recorded := self.store.approximate:
                self.encoder = self.encoder or self.said.encoder(self.store)
                approximate.keep(shard, self.encoder, recorded.asked, say=self.said.message)
            return shard.generation, len(shard)

    def _copy(self, shard: Store, rows: np.ndarray) -> None:
        (some,) = segments.gather(self.store.segments, rows)
        shard.add(some.vectors.astype(np.float32), self.store.records(rows))
        self.done += len(rows)
        self.said.progress(self.done, self.total)
