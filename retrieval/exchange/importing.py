"""import_into: a Collection becomes an index, whole or absent.

The index is made beside its place, under a name that no search looks for, and renamed when its last row is committed: a
kill leaves nothing at its place, and the next import removes what it left. Memory holds one block, and the names.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexes import Record, Store
from retrieval.callbacks import OnProgress, no_progress
from retrieval.encoders.presets import PRESETS
from retrieval.errors import BadRequest
from retrieval.exchange.collection import Collection, Entry
from retrieval.exchange.columns import text_of
from retrieval.images import kinds
from retrieval.indexing import staging
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import Identity, Imported, Origin
from retrieval.indexing.find import FOLDER
from retrieval.sources.uri import stamp_of
from retrieval.sources.within import OnWeb

COMMIT_ROWS = 65_536
UNIT = 9e-4  # a row whose length is nearer to 1 is kept bit by bit

GONE, NO_FILE, OUTSIDE = "the file is gone", "no file is named", "outside the root"
ASTRAY = "its record names a file outside the root"  # which no index writes
BROKEN, REPEATED = "the vector is zero or not finite", "named before"


@dataclass
class ImportReport:
    """What `import_into` did. left_out: reason -> (how many, the first of them).

    fingerprint: of the encoder, where an index of mmr said it. normalized: rows that were not of unit length. changed:
    files that are not as they were when they were encoded.
    """

    rows: int = 0
    root: str | None = None
    encoder: str = ""
    fingerprint: str | None = None
    normalized: int = 0
    changed: int = 0
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str) -> None:
        """Count one more row that is left out for that reason."""
        count, first = self.left_out.get(reason, (0, name))
        self.left_out[reason] = (count + 1, first)


def import_into(
    path: Path | str, collection: Collection, model: str | None = None, root: Path | str | None = None,
    keep_missing: bool = False, on_progress: OnProgress = no_progress,
) -> ImportReport:  # fmt: skip
    """Make an index of what another tool left; its vectors are kept, nothing is encoded.

    Args:
        path: Where the index is made: nothing, or an empty folder.
        collection: What `open_collection` opened.
        model: The encoder of the vectors, where the collection does not say it or is wrong. It is compared with them
            when it is first loaded (indexing/adoption.py).
        root: The folder that uris are relative to; files outside are left out. None is the folder that holds the index,
            if that is called .mmr and holds all files, else the deepest one that does.
        keep_missing: Also take what has no file here.
        on_progress: Called with the rows that are read and the rows there are.

    Returns:
        What was taken and what was left out.

    Raises:
        BadRequest: There is something at `path`, the encoder or the root is not known, or nothing could be taken.
        StoreError: The index cannot be written. In either case none is left at `path`.

    Examples:
        >>> import_into("photos/.mmr", open_collection("rclip")).rows
        3
    """
    path = Path(path)
    _must_be_free(path)
    encoder = _encoder(collection, model, path)
    folder = _root(collection, path, None if root is None else Path(root), keep_missing)
    place = staging.name_beside(path, "importing")
    staging.clear(place)
    shown = None if folder is None else str(folder)
    report = ImportReport(root=shown, encoder=encoder.name, fingerprint=encoder.fingerprint)
    origin = Origin.at(path, folder, collection.source or ("folder" if folder else collection.kind))
    manifest = encoder.entry() | Imported(collection.kind).entry() | origin.entries()
    store = Store.create(place, collection.dim, **manifest)
    try:
        with store:
            _fill(store, collection, _Chooser(folder, keep_missing, report), on_progress)
            report.rows = len(store)
        if not report.rows:
            raise BadRequest(f"nothing of {collection.path} can be used{_why(report)}: check it")
        staging.put(place, path)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return report


# ---------------------------------------------------------------- before


def _must_be_free(path: Path) -> None:
    if (path / "mmr.db").exists():
        raise BadRequest(f"{path} is an index already: give another --index, or remove it first")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise BadRequest(f"{path} exists and is not empty: give another --index")


def _encoder(collection: Collection, model: str | None, index: Path) -> Identity:
    """What the manifest records; a fingerprint only where an index of mmr had one."""
    recorded = Identity(model) if model else collection.encoder
    if recorded is None:
        raise BadRequest(
            f"{collection.path} does not say which encoder made its vectors: add --model, "
            "as in --model open_clip:ViT-B-32-quickgelu/openai (clip-retrieval's default)"
        )
    if model and not Path(model).is_dir() and model not in PRESETS and ":" not in model:
        raise BadRequest(f"no encoder `{model}`: use {', '.join(PRESETS)}, open_clip:NAME/TAG, or a run folder")
    return Identity.at(index, recorded.name, recorded.fingerprint)


def _root(collection: Collection, index: Path, given: Path | None, keep_missing: bool) -> Path | None:
    """The folder that uris are relative to; None where the collection names no files."""
    if given is not None and not given.is_dir():
        raise BadRequest(f"no such folder: {given}: check --root")
    if collection.root is not None:
        said = Path(os.path.normpath(collection.root.absolute()))
        if given is None and said == Path(said.anchor):  # then any file of this machine is a picture of it
            raise BadRequest(f"{collection.path} says that its pictures lie in {said}: name their folder with --root")
        return said
    first = next(collection.paths(), None)
    if first is None:
        return None
    if given is not None:
        return Path(os.path.normpath(given.absolute()))
    common = None
    for name in collection.paths():
        if keep_missing or Path(name).exists():
            common = _common(common, str(Path(name).parent))
    if common is None:
        raise BadRequest(
            f"none of the files of {collection.path} is here ({first}, say): "
            "give --root where it has relative paths, or --keep-missing"
        )
    holder = index.absolute().parent
    return holder if index.name == FOLDER and Path(common).is_relative_to(holder) else Path(common)


def _common(one: str | None, other: str) -> str:
    if one is None or one == other or other.startswith(one.rstrip(os.sep) + os.sep):
        return one or other
    try:
        return os.path.commonpath([one, other])
    except ValueError as error:  # two drives
        raise BadRequest(f"{one} and {other} have no folder in common: choose one with --root") from error


# ---------------------------------------------------------------- rows


class _Chooser:
    """Which rows become records, and what they are called. Counts the others in the report."""

    def __init__(self, root: Path | None, keep_missing: bool, report: ImportReport) -> None:
        self._root, self._keep, self._report = root, keep_missing, report
        self._seen: set[str] = set()

    def choose(self, vectors: np.ndarray, entries: list[Entry]) -> tuple[np.ndarray, list[Record]]:
        """float32 unit rows (m, dim) and their records."""
        with np.errstate(over="ignore"):
            vectors = np.array(vectors, np.float32)
            length = np.linalg.norm(vectors, axis=1)
        kept: list[int] = []
        records: list[Record] = []
        for number, entry in enumerate(entries):
            if not (np.isfinite(length[number]) and length[number] > 0):
                self._report.leave_out(BROKEN, entry.name)
            elif record := self._record(entry):
                kept.append(number)
                records.append(record)
        vectors, length = vectors[kept], length[kept, None]
        off = np.abs(length - 1) > UNIT
        self._report.normalized += int(off.sum())
        return np.where(off, vectors / length, vectors), records

    def _record(self, entry: Entry) -> Record | None:
        found = self._uri(entry)
        if found is None:
            return None
        uri, path = found
        name = entry.record.id if entry.record else text_of(uri)
        if name in self._seen:
            self._report.leave_out(REPEATED, entry.name)
            return None
        self._seen.add(name)
        if entry.record:
            return Card.of(entry.record).record(name, entry.record.stamp, entry.record.fields)
        self._report.changed += entry.stamp == ""
        stamp = entry.stamp
        if stamp is None:
            stamp = stamp_of(Path(path)) if path and Path(path).exists() else ""
        kind = kinds.kind(Path(path)) if path else "picture"
        return Card(uri, entry.captions, entry.meta, kind=kind).record(name, stamp)

    def _uri(self, entry: Entry) -> tuple[str, str | None] | None:
        """The uri and the file, if it is one; None, counted, where the entry is not wanted."""
        if entry.path is None or self._root is None:
            if self._root is None or self._keep:
                return entry.name, None
            self._report.leave_out(NO_FILE, entry.name)
        elif not self._holds(entry):
            self._report.leave_out(ASTRAY if entry.record else OUTSIDE, entry.path)
        elif not self._keep and not Path(entry.path).exists():
            self._report.leave_out(GONE, entry.path)
        elif entry.record:
            return entry.name, entry.path
        else:
            return Path(entry.path).relative_to(self._root).as_posix(), entry.path
        return None

    def _holds(self, entry: Entry) -> bool:
        """Do the file of an entry, and the one that it lies in, lie below the root?"""
        assert self._root is not None
        assert entry.path is not None
        place = Card.of(entry.record).within if entry.record else None
        files = [Path(entry.path)]
        if place is not None and not isinstance(place, OnWeb):
            files.append(self._root / place.file)
        return all(Path(os.path.normpath(file)).is_relative_to(self._root) for file in files)


def _fill(store: Store, collection: Collection, chooser: _Chooser, on_progress: OnProgress) -> None:
    waiting: list[tuple[np.ndarray, list[Record]]] = []
    done = 0
    for vectors, entries in collection.blocks():
        waiting.append(chooser.choose(vectors, entries))
        if sum(len(records) for _, records in waiting) >= COMMIT_ROWS:
            _commit(store, waiting)
        done += len(entries)
        on_progress(done, collection.total)
    _commit(store, waiting)


def _commit(store: Store, waiting: list[tuple[np.ndarray, list[Record]]]) -> None:
    if waiting:
        store.add(np.concatenate([rows for rows, _ in waiting]), [record for _, some in waiting for record in some])
    waiting.clear()


# ---------------------------------------------------------------- after


def _why(report: ImportReport) -> str:
    return "".join(f", {count} left out ({reason})" for reason, (count, _) in report.left_out.items())
