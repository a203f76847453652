"""The folder of shards: who may change it, what lies in it, and what its manifest says of the indexes.

    FOLDER/shards.json              which folders, in which order, at which of their commits
    FOLDER/lock                     held by who changes that
    FOLDER/000001/shard-000         ordinary indexes: those of the first split
    FOLDER/000002/shard-000         those of the next one

The manifest is written last, whole: until then the shards of the split before answer, and what was made is removed by
the next split. So are the shards that neither the manifest names nor the one before it, whose readers may go on.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexes import NotAnIndex, Store, StoreError, claim, durable
from indexes.sharded import manifest
from indexes.sharded.manifest import Made, Manifest
from retrieval.indexing.catalog import Identity, Origin

_SPLIT, _SHARD = re.compile(r"\d{6,}"), re.compile(r"shard-\d{3,}")


@contextmanager
def alone(out: Path, *beside: Path) -> Iterator[Manifest | None]:
    """The folder's lock, held; what its manifest says, None where it has none.

    beside: the indexes that it is made of, in which it must not lie; none for a folder that is there already. Raises
    NotAnIndex where there is none then, or it holds anything else, and Locked.
    """
    for index in beside:
        if out.resolve().is_relative_to(index.resolve()):
            raise NotAnIndex(f"{out} lies inside the index itself: give an --out outside {index}")
    if out.exists() and not out.is_dir():
        raise NotAnIndex(f"{out} is a file, not a folder: give another --out")
    if out.is_dir() and not all(_is_ours(child) for child in out.iterdir()):
        raise NotAnIndex(f"{out} exists and holds other things than shards: give another --out")
    if beside:
        durable.make_folder(out.absolute())
    elif not out.is_dir():
        manifest.read(out)  # which says that there is none
    lock, before = claim.lock(out), None
    try:
        before = manifest.read(out) if (out / manifest.FILE).is_file() else None
        yield before
    except BaseException:
        if not (out / manifest.FILE).exists():  # nothing was there, and nothing is made
            shutil.rmtree(out, ignore_errors=True)
        raise
    finally:
        lock.release()


def _is_ours(child: Path) -> bool:
    return child.name in (manifest.FILE, f"{manifest.FILE}.partial", "lock") or _is_of_a_split(child)


def _is_of_a_split(child: Path) -> bool:
    """Was that made by a split, whole or in part? What is not sure to be is never removed."""
    if not (_SPLIT.fullmatch(child.name) and child.is_dir() and not child.is_symlink()):
        return False
    return all(_SHARD.fullmatch(one.name) and _is_begun(one) for one in child.iterdir())


def _is_begun(shard: Path) -> bool:
    """An index, or the first of one: the folder of its rows, or no more than its own."""
    return (shard / "segments").is_dir() or (shard.is_dir() and not any(shard.iterdir()))


def tidy(out: Path, *named: Manifest | None) -> None:
    """Remove the folders of splits that none of these manifests names."""
    kept = {Path(part.folder).parts[0] for one in named if one for part in one.shards}
    for child in out.iterdir():
        if _is_of_a_split(child) and child.name not in kept:
            shutil.rmtree(child)


def seen_from(place: Path, out: Path) -> str:
    """A shard's folder as it is seen from the folder of the manifest; the whole path where none leads there."""
    try:
        return Path(os.path.relpath(place.absolute(), out.absolute())).as_posix()
    except ValueError:  # another drive
        return str(place.absolute())


def origin(store: Store, place: Path) -> dict[str, Any]:
    """What the manifest of a part of an index says at that place of where its items come from: not that it is of a
    folder, of which it has a part alone.
    """
    found = replace(Origin.recorded(store), scheme=None, asked=None)
    return {name: said for name, said in found.seen_from(store.path, place).entries().items() if said is not None}


def made(store: Store, place: Path) -> Made:
    """The encoder of an index, as a manifest at that place has it. Raises StoreError where it is not known."""
    found = Identity.required(store).seen_from(store.path, place)
    if found.fingerprint is None:
        raise StoreError(
            f"the encoder of {store.path} was not compared with its vectors yet: ask it once, as in "
            f"`mmr search dog --index {store.path}`"
        )
    return Made(found.name, found.fingerprint, found.folder)
