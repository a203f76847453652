"""Moving in from other tools, and out again: vectors are kept, nothing is encoded again.

    open_collection("rclip", "db.sqlite3")              what another tool left: vectors and what they are of
    import_into(".mmr", collection)                     an index of it, whole or absent
    export("clip-retrieval", store, "folder")           the way out

To read a format, write `f(path, root, records) -> Collection` (collection.py) and name it in IMPORTERS; to write one,
`f(store, path, on_progress, dtype) -> the files written` in EXPORTERS.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from indexes import Store
from retrieval.errors import BadRequest
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

__all__ = ["EXPORTERS", "IMPORTERS", "Collection", "Entry", "ImportReport", "export", "import_into", "open_collection"]


def open_collection(
    kind: str, path: Path | str | None = None, root: Path | str | None = None, records: Path | str | None = None
) -> Collection:
    """What is at `path`, of a kind that IMPORTERS names.

    root: the folder that relative paths in it start from. records: a table beside bare vectors. Raises BadRequest for
    what is not there, not of that kind, damaged, or newer than what is known here.
    """
    return IMPORTERS[kind](*(None if given is None else Path(given) for given in (path, root, records)))


def export(
    kind: str, store: Store, path: Path | str, on_progress: Callable[[int, int], None] = lambda done, total: None,
    dtype: str = "float16",
) -> list[Path]:  # fmt: skip
    """Write the living rows of a store and their records, in the order of the rows; the files or folders written.

    dtype: of the vectors, float16 (as they are stored) or float32. Each file is whole or absent. Raises BadRequest
    where there is something at `path`.
    """
    if np.dtype(dtype).name not in ("float16", "float32"):
        raise BadRequest(f"vectors cannot be written as {dtype}: give float16 or float32")
    return EXPORTERS[kind](store, Path(path), on_progress, np.dtype(dtype).newbyteorder("<"))
