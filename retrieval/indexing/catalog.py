"""TODO retrieval.indexing.catalog."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from indexes import Condition, NotAnIndex, Record, Store, segments
from retrieval.datatypes import Item
from retrieval.errors import BadRequest, MissingModel

_EDGE = 1 << 16  # bytes at each end of a file: with its size they tell photographs apart


def key_of(item: Item) -> str | None:
    """What tells the content of an item's file from others: its size and a digest of both ends; None for no file."""
    if not isinstance(item.content, Path):
        return None
    try:
        with item.content.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            digest = hashlib.sha256(file.read(_EDGE))
            file.seek(max(0, size - _EDGE))
            digest.update(file.read(_EDGE))
    except OSError:
        return None
    return f"{size}:{digest.hexdigest()[:32]}"


EVERYTHING = ("",)  # how the ids of all items start


def record_of(item: Item) -> Record:
    """What a store keeps of an item."""
    fields = {"uri": item.uri, "caption": item.caption, "meta": item.meta, "key": key_of(item)}
    return Record(item.id, item.stamp, {key: value for key, value in fields.items() if value})


def described(encoder, index: Path) -> dict[str, Any]:  # noqa: ANN001
    """What the manifest of an index at that path says of its encoder: a run folder also by its place from there."""
    is_run = bool(encoder.name) and Path(encoder.name).is_dir()
    folder = os.path.relpath(Path(encoder.name).absolute(), index.absolute().parent) if is_run else None
    return {"name": encoder.name, "fingerprint": encoder.fingerprint, "folder": folder}


_URI = "json_extract(fields, '$.uri')"
_TEXT = (
    "CAST(? AS TEXT)"  # bytes as a text: SQLite reads half surrogates, which stand for odd bytes of names, out of JSON
)


def root_of(store: Store) -> str | None:
    """The folder that the items' uris are relative to, absolute; None for items that are no files."""
    root = store.manifest.get("root")
    return None if root is None else os.path.normpath(store.path.absolute().parent / root)


def path_of(store: Store, uri: str, meta: Mapping = MappingProxyType({})) -> str | None:
    """An item's file on this machine; None where it has none, or lies inside another file (sources/reopen.py)."""
    root = root_of(store)
    return None if root is None or meta.get("inside") else os.path.normpath(Path(root, uri))


def named(store: Store, names: Iterable[str]) -> list[int]:
    """The rows of items by id or uri, in that order. Raises BadRequest for a name that the index does not hold."""
    rows = []
    for name in names:
        text = name.encode("utf-8", "surrogatepass")
        readable = name.encode("utf-8", "backslashreplace").decode()
        found = store.rows(Condition(f"(id = ? OR {_URI} = {_TEXT})", (readable, text)))
        if not len(found):
            raise BadRequest(f"{store.path} holds no `{readable}`: see `mmr ls` for what it holds")
        rows.append(int(found[0]))
    return rows


def vectors(store: Store, rows: Iterable[int]) -> np.ndarray:
    """What is stored of these rows, in their order: float32 (n, d) of unit length."""
    rows = np.fromiter(rows, np.int64)
    wanted, place = np.unique(rows, return_inverse=True)
    if not len(wanted):
        return np.empty((0, store.dim), np.float32)
    (segment,) = segments.gather(store.segments, wanted)
    found = segment.vectors.astype(np.float32)
    return (found / np.linalg.norm(found, axis=1, keepdims=True))[place]


FOLDER = ".mmr"


def find_index(start: Path | str = ".") -> Path:
    """The `.mmr` of this folder or of the nearest parent that has one, like git. Raises NotAnIndex."""
    start = Path(start).absolute()
    for folder in (start, *start.parents):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    raise NotAnIndex(f"no {FOLDER} in {start} or its parents: make one with `mmr index`, or give --index")


def encoder_of(store: Store) -> str:
    """The name by which the index's encoder is loaded here: a run folder is found where it lies from the index."""
    recorded = store.manifest["encoder"]
    if recorded.get("folder"):
        folder = os.path.normpath(store.path.absolute().parent / recorded["folder"])
        if not Path(folder).is_dir() and not Path(recorded["name"]).is_dir():
            raise MissingModel(
                f"the encoder of this index was {folder}, which is gone: say where it is with --model RUN"
            )
        return folder if Path(folder).is_dir() else recorded["name"]
    return recorded["name"]
