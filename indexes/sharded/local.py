"""Shards whose folders this machine sees, each opened in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexes.errors import NotAnIndex, StoreError, WrongEncoder
from indexes.sharded.client import Question, Shard, answer
from indexes.sharded.manifest import Made, Manifest, Part
from indexes.store import Store


class LocalShard:
    """A shard, open for reading at the commit that the manifest pins.

    Args:
        store: Its index.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def ask(self, question: Question, *given: Any) -> Any:
        """As Shard says."""
        return answer(self._store, question, given)

    def close(self) -> None:
        """As Shard says."""
        self._store.close()


def open_shard(
    folder: Path, part: Part, manifest: Manifest, wait: float | None = None, pinned: bool = True
) -> Store:  # fmt: skip
    """The index of a shard.

    Args:
        folder: Of the manifest.
        part: Which shard.
        manifest: What it says.
        wait: As of Store.open.
        pinned: Only at the commit that the manifest says.

    Returns:
        The index, open for reading.

    Raises:
        StoreError: It is not there, or cannot be read; or it is at another commit.
        WrongEncoder: It is of another encoder.
    """
    place = folder / part.folder
    try:
        store = Store.open(place, wait=wait)
    except NotAnIndex as error:
        raise StoreError(
            f"{part.name} of {folder} is missing, {place}: bring it back, or split again with `mmr shards split`"
        ) from error
    try:
        _require_same(store, folder, part, manifest)
        if pinned:
            _require_pinned(store, folder, part)
    except BaseException:
        store.close()
        raise
    return store


def _require_same(store: Store, folder: Path, part: Part, manifest: Manifest) -> None:
    if (problem := other_encoder(store, manifest.encoder, manifest.dim)) is not None:
        raise WrongEncoder(f"{part.name} of {folder} {problem}, then `mmr shards pin {folder}`")


def _require_pinned(store: Store, folder: Path, part: Part) -> None:
    if (store.generation, len(store)) != (part.generation, part.rows):
        raise StoreError(
            f"{part.name} of {folder} was changed, it is at commit {store.generation} and the shards are of its commit "
            f"{part.generation}: take it over with `mmr shards pin {folder}`"
        )


def other_encoder(store: Store, made: Made, dim: int) -> str | None:
    """What is wrong with the encoder of an index, which should be this one; None where it is."""
    said = store.manifest.get("encoder") or {}
    if store.dim == dim and said.get("fingerprint") == made.fingerprint:
        return None
    name = made.name or made.fingerprint
    return (
        f"is of encoder {said.get('name') or 'none'} ({said.get('fingerprint')}), the shards of {name} "
        f"({made.fingerprint}): encode it with `mmr index --model {name} --index {store.path}`"
    )


def connect(folder: Path, manifest: Manifest, wait: float | None = None) -> Sequence[Shard]:
    """All shards of a manifest, opened in this process. Raises what `open_shard` raises, and leaves none open then."""
    opened: list[Store] = []
    try:
        for part in manifest.shards:
            opened.append(open_shard(folder, part, manifest, wait))
    except BaseException:
        for store in opened:
            store.close()
        raise
    return [LocalShard(store) for store in opened]
