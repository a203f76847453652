"""Moving in from other tools, and out again: vectors are kept, nothing is encoded again.

    open_collection("rclip", "db.sqlite3")              what another tool left: vectors and what they are of
    import_into(".mmr", collection)                     an index of it, whole or absent
    export("clip-retrieval", store, "folder")           the way out

To read a format, write `f(path, root, records) -> Collection` (collection.py) and name it in IMPORTERS; to write one,
`f(store, path, on_progress, dtype) -> the files written` in EXPORTERS.
"""

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from indexes import Store
from retrieval.callbacks import OnProgress, no_progress
from retrieval.errors import BadRequest, did_you_mean
from retrieval.exchange import clip_retrieval, flat, rclip
from retrieval.exchange.collection import Collection, Entry
from retrieval.exchange.importing import ImportReport, import_into

IMPORTERS: dict[str, Callable[..., Collection]] = {
    "rclip": rclip.open_database,
    "clip-retrieval": clip_retrieval.open_folder,
    "npy": flat.open_npy,
    "parquet": flat.open_parquet,
}
EXPORTERS: dict[str, Callable[..., list[Path]]] = {
    "clip-retrieval": clip_retrieval.write_folder,
    "npy": flat.write_npy,
    "parquet": flat.write_parquet,
}
USUAL_PLACES: dict[str, Callable[[], Path]] = {"rclip": rclip.default_database}

__all__ = ["EXPORTERS", "IMPORTERS", "Collection", "Entry", "ImportReport", "export", "import_into", "open_collection"]


def open_collection(
    kind: str, path: Path | str | None = None, root: Path | str | None = None, records: Path | str | None = None
) -> Collection:
    """Open what another tool left: vectors, and what each of them is of.

    Args:
        kind: One of IMPORTERS.
        path: Its file or folder; None for the place where the tool keeps it, which only rclip has.
        root: The folder that relative paths in it start from; None for the kind's own.
        records: A table beside bare vectors (`npy`), with a row for each.

    Returns:
        The collection. Its vectors are read when it is imported, block by block.

    Raises:
        BadRequest: The kind is unknown, or there is nothing at `path`, or something of another kind, damaged, or newer
            than what is known here.

    Examples:
        >>> import_into("photos/.mmr", open_collection("rclip"))
    """
    _require_known(kind, IMPORTERS)
    if path is None and kind not in USUAL_PLACES:
        raise BadRequest(f"{kind} has no usual place: say which file or folder is to be read")
    place = USUAL_PLACES[kind]() if path is None else Path(path)
    folder = None if root is None else Path(root).absolute()  # an index keeps its files by whole paths
    return IMPORTERS[kind](place, folder, None if records is None else Path(records))


def export(
    kind: str, store: Store, path: Path | str, on_progress: OnProgress = no_progress,
    dtype: str = "float16",
) -> list[Path]:  # fmt: skip
    """Write the vectors and records of an index for another tool, in the order of its rows, without what was deleted.

    Args:
        kind: One of EXPORTERS.
        store: The index.
        path: A new file (`npy`, `parquet`) or a new or empty folder (`clip-retrieval`).
        on_progress: Called with the rows that are written and the rows there are.
        dtype: Of the vectors: float16, as they are stored, or float32.

    Returns:
        The files or folders that were written. Each is whole or absent.

    Raises:
        BadRequest: The kind or the dtype is unknown, or there is something at `path`.
        Damaged: Something of the index is not what was written.
    """
    _require_known(kind, EXPORTERS)
    if np.dtype(dtype).name not in ("float16", "float32"):
        raise BadRequest(f"vectors cannot be written as {dtype}: give float16 or float32")
    store.require_sound()
    return EXPORTERS[kind](store, Path(path), on_progress, np.dtype(dtype).newbyteorder("<"))


def _require_known(kind: str, kinds: Iterable[str]) -> None:
    known = list(kinds)
    if kind not in known:
        near = difflib.get_close_matches(kind, known, 1)
        raise BadRequest(f"no format `{kind}`: {did_you_mean(near, 'one of ' + ', '.join(known))}")
