"""What an index's manifest says, with types: which encoder made its vectors, what it is of, where it was imported from.

`indexes` keeps the manifest as plain JSON and knows neither texts nor pictures. Its names stand here and nowhere else:

    encoder    Identity                  {"name", "fingerprint", "folder"}
    root       Origin.root               a path, as it is seen from the folder that holds the index
    source     Origin.scheme             "folder", "csv", ...
    walk       Origin.roots, ...         {"roots", "files", "exclude", "include_hidden", "follow"}; none that is empty
    asked      Origin.asked              of a source that is no folder: {"file" or "name", "where", "reading", "urls"}
    walked     walked()                  seconds since 1970
    mounts     mounts()                  where disks were mounted, as it is seen from the folder that holds the index
    imported   Imported                  {"from", "compared", "cosine"}
    kinds      kinds()                   of items that its encoder takes; pictures and clips where nothing is said
"""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from indexes import Store, StoreError, database, typed
from indexes.typed import Malformed
from retrieval.errors import MissingModel
from retrieval.images.kinds import SEEN
from retrieval.sources.allowed import Allowed
from retrieval.sources.uri import Options, Uri, written

if TYPE_CHECKING:
    from retrieval.encoders.protocol import Encoder

_ENCODER, _ROOT, _SOURCE, _WALK, _WALKED, _IMPORTED = "encoder", "root", "source", "walk", "walked", "imported"
_ASKED, _MOUNTS, _OCR, _KINDS = "asked", "mounts", "ocr", "kinds"
_FOLDERS = "folder"  # the scheme of a source of files


def _from_index(place: Path | str, index: Path) -> str:
    """A path as it is seen from the folder that holds an index: both can then be moved together.

    It is the whole path where none leads there (another drive).
    """
    there = Path(place).absolute()
    try:
        return os.path.relpath(there, index.absolute().parent)
    except ValueError:
        return str(there)


def _on_this_machine(relative: str, index: Path) -> str:
    return os.path.normpath(index.absolute().parent / relative)


def _said(store: Store, key: str, kind: Any) -> Any:
    """What a manifest says under that key, of that type. Raises Damaged where it is of another."""
    try:
        return typed.checked(store.manifest.get(key), kind)
    except Malformed as error:
        raise database.damaged(store.path, f"`{key}`: {error}") from error


# ---------------------------------------------------------------- the encoder


@dataclass(frozen=True, slots=True)
class Identity:
    """Which encoder made the vectors of an index.

    name: by which `load_encoder` finds it; "" for one that has no name. fingerprint: None while that is not known, as
    of an imported index (adoption.py). folder: of a run, as it is seen from the folder that holds the index; None for
    an encoder that is no run.
    """

    name: str
    fingerprint: str | None = None
    folder: str | None = None

    @classmethod
    def at(cls, index: Path, name: str, fingerprint: str | None = None) -> "Identity":
        """The identity of the encoder called `name`, as the index at that path records it."""
        is_run = bool(name) and Path(name).is_dir()
        return cls(name, fingerprint, _from_index(name, index) if is_run else None)

    @classmethod
    def of(cls, encoder: "Encoder", index: Path) -> "Identity":
        """The identity of an encoder, as the index at that path records it."""
        return cls.at(index, encoder.name, encoder.fingerprint)

    @classmethod
    def recorded(cls, store: Store) -> "Identity | None":
        """The identity that a store's manifest records; None where it records none."""
        return _said(store, _ENCODER, cls) if store.manifest.get(_ENCODER) else None

    @classmethod
    def required(cls, store: Store) -> "Identity":
        """The identity that a store's manifest records. Raises StoreError where it records none."""
        found = cls.recorded(store)
        if found is None:
            raise StoreError(
                f"{store.path} does not say which encoder made its vectors: "
                "make another with `mmr index FOLDER --index OTHER`"
            )
        return found

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Identity":
        """Read what `to_json` gave, of this version or an older one. Raises Malformed."""
        return typed.checked(said, cls)

    def to_json(self) -> dict[str, Any]:
        """A dict of its fields."""
        return {"name": self.name, "fingerprint": self.fingerprint, "folder": self.folder}

    def entry(self) -> dict[str, Any]:
        """The manifest's entry that records it."""
        return {_ENCODER: self.to_json()}

    def is_of(self, encoder: "Encoder") -> bool:
        """Are an encoder's vectors those of the index? False also while that is not known.

        They are where it is the same encoder with ears beside its eyes (towers/ears.py).
        """
        if not self.fingerprint:
            return False
        return self.fingerprint == encoder.fingerprint or self.fingerprint == getattr(encoder, "extends", "")

    def run(self, index: Path) -> str | None:
        """Where its run is, absolute; None for an encoder that is no run."""
        return _on_this_machine(self.folder, index) if self.folder else None

    def seen_from(self, index: Path, other: Path) -> "Identity":
        """The same, for a copy at `other` of the index: the run's folder is named from there."""
        run = self.run(index)
        return replace(self, folder=run and _from_index(run, other))

    def where(self, index: Path) -> str:
        """The name by which it is loaded on this machine. Raises MissingModel where its run is gone."""
        run = self.run(index)
        if run is None or Path(run).is_dir():
            return run or self.name
        if Path(self.name).is_dir():
            return self.name
        command = f"mmr index --index {shlex.quote(str(index))} --model RUN"
        raise MissingModel(f"the encoder of this index was {run}, which is gone: say where it is now with `{command}`")

    def is_elsewhere(self, now: "Identity") -> bool:
        """Is the same encoder, as `now` says, at another place than this does? One without a place is nowhere else."""
        if not now.name or self.fingerprint != now.fingerprint:
            return False
        return (
            now.folder != self.folder if now.folder else not self.folder and ":" in now.name and now.name != self.name
        )


# ---------------------------------------------------------------- the source


@dataclass(frozen=True, slots=True)
class _Walk:
    """As it lies on disk."""

    roots: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    follow: bool = False
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AskedFor:
    """A source that is no folder, as it was asked for.

    file: its path, as it is seen from the folder that holds the index; name: of one that is no file (hf:NAME). where,
    reading: as in Uri. urls: pictures may be fetched; that they may also be of private networks is not
    remembered, as an index may come from other hands.
    """

    file: str | None = None
    name: str | None = None
    where: dict[str, str] = field(default_factory=dict)
    reading: dict[str, str] = field(default_factory=dict)
    urls: bool = False

    @classmethod
    def of(cls, uri: Uri, index: Path) -> "AskedFor":
        """What was asked for with a source, as the index at that path records it."""
        is_file = uri.root is not None or uri.scheme == "urls" or Path(uri.path).exists()
        place = {"file": _from_index(uri.path, index)} if is_file else {"name": uri.path}
        return cls(**place, where=dict(uri.where), reading=dict(uri.reading), urls=uri.options.urls)

    def to_json(self) -> dict[str, Any]:
        """A dict of what it says."""
        said = {
            "file": self.file, "name": self.name, "where": self.where, "reading": self.reading, "urls": self.urls
        }  # fmt: skip
        return {name: value for name, value in said.items() if value}

    def path(self, index: Path) -> str:
        """The file, absolute, or the name."""
        return (self.name or "") if self.file is None else _on_this_machine(self.file, index)

    def seen_from(self, index: Path, other: Path) -> "AskedFor":
        """The same, for a copy at `other` of the index."""
        return self if self.file is None else replace(self, file=_from_index(self.path(index), other))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the items of an index come from.

    root: the folder that uris are relative to, as it is seen from the folder that holds the index; None for items that
    are no files. scheme: of the source (sources/uri.py), or the tool it was imported from; None where nothing is said.
    Of a source of folders also, as it was asked for: roots, those below `root` that are walked, where there are
    several; files, those that were named one by one; exclude, include_hidden, follow. asked: of any other source; None
    where it is not known.
    """

    root: str | None
    scheme: str | None
    roots: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    asked: AskedFor | None = None
    follow: bool = False
    files: tuple[str, ...] = ()

    @classmethod
    def at(cls, index: Path, root: Path | None, scheme: str) -> "Origin":
        """The origin of items below `root` (None: no files), as the index at that path records it."""
        return cls(None if root is None else _from_index(root, index), scheme)

    @classmethod
    def of(cls, uri: Uri, index: Path) -> "Origin":
        """The origin of a source's items, as the index at that path records it."""
        found = cls.at(index, uri.root, uri.scheme)
        if uri.scheme != _FOLDERS:
            return replace(found, asked=AskedFor.of(uri, index))
        left_out = uri.options
        return replace(
            found, roots=tuple(uri.roots), files=tuple(uri.files), exclude=tuple(left_out.exclude),
            include_hidden=left_out.include_hidden, follow=left_out.follow,
        )  # fmt: skip

    @classmethod
    def recorded(cls, store: Store) -> "Origin":
        """The origin that a store's manifest records."""
        walk = _said(store, _WALK, _Walk | None) or _Walk()
        root, scheme = _said(store, _ROOT, str | None), _said(store, _SOURCE, str | None)
        asked = _said(store, _ASKED, AskedFor | None)
        return cls(root, scheme, walk.roots, walk.exclude, walk.include_hidden, asked, walk.follow, walk.files)

    @property
    def is_of_folders(self) -> bool:
        """Is it a source of files in folders, one or several?"""
        return self.scheme == _FOLDERS

    def entries(self) -> dict[str, Any]:
        """The manifest's entries that record it in a new index."""
        walk = {
            "roots": list(self.roots), "exclude": list(self.exclude), "include_hidden": self.include_hidden,
            "follow": self.follow, "files": list(self.files),
        }  # fmt: skip
        said = {name: value for name, value in walk.items() if value}
        asked = {_ASKED: self.asked.to_json()} if self.asked else {}
        return {_ROOT: self.root, _SOURCE: self.scheme} | ({_WALK: said} if said else {}) | asked

    def replacing(self) -> dict[str, Any]:
        """The manifest's entries that record it in place of any that were there before."""
        return {_WALK: None, _ASKED: None} | self.entries()

    def root_at(self, index: Path) -> str | None:
        """The folder that uris are relative to, absolute; None for items that are no files."""
        return None if self.root is None else _on_this_machine(self.root, index)

    def seen_from(self, index: Path, other: Path) -> "Origin":
        """The same, for a copy at `other` of the index: the root is named from there."""
        root = self.root_at(index)
        asked = self.asked and self.asked.seen_from(index, other)
        return replace(self, root=root and _from_index(root, other), asked=asked)

    def source(self, index: Path) -> Uri | None:
        """All that the index is of, as a source; None where it does not say (imported, or of an older version)."""
        if self.is_of_folders or self.asked is None or self.scheme is None:
            return self.uri(index)
        path, where, reading = self.asked.path(index), self.asked.where, self.asked.reading
        text = written(self.scheme, path, where, reading)
        return Uri(text, self.scheme, path, where, Options(urls=self.asked.urls), reading=reading)

    def uri(self, index: Path) -> Uri | None:
        """The folders that the index is of, as a source; None where it is of anything else."""
        root = self.root_at(index)
        if root is None or not self.is_of_folders:
            return None
        options = Options(self.exclude, self.include_hidden, follow=self.follow)
        uri = Uri(root, _FOLDERS, root, {}, options, self.roots, files=self.files)
        named = f"{len(self.files)} pictures named one by one" if self.files else ""
        return replace(uri, text=", ".join([*map(str, uri.folders), *filter(None, [named])]))


def root_of(store: Store) -> str | None:
    """The folder that the items' uris are relative to, absolute; None for items that are no files."""
    return Origin.recorded(store).root_at(store.path)


def allowed(store: Store, named: Sequence[Path] = ()) -> Allowed:
    """Which files of an index may be handed out. named: folders that the person named, beside those it is of."""
    origin = Origin.recorded(store)
    return Allowed.of(origin.root_at(store.path), store.path, named, origin.roots)


def walked(store: Store) -> float:
    """When its folders were last looked through, in seconds since 1970; 0 where that is not known."""
    return _said(store, _WALKED, typed.Seconds | None) or 0.0


def walked_at(seconds: float, mounts: Iterable[Path], index: Path) -> dict[str, Any]:
    """The manifest's entries for when the folders of the index at that path were last looked through, in seconds since
    1970, and for those of them that other disks were mounted at.
    """
    return {_WALKED: seconds, _MOUNTS: sorted(_from_index(mount, index) for mount in mounts)}


def mounts(store: Store) -> frozenset[Path]:
    """The folders that other disks were mounted at when its folders were last looked through, absolute."""
    said = _said(store, _MOUNTS, list[str] | None) or []
    return frozenset(Path(_on_this_machine(name, store.path)) for name in said)


def reads_text(store: Store) -> bool:
    """Was it asked that the text in its pictures be read?"""
    return bool(_said(store, _OCR, bool | None))


def reading_text(asked: bool) -> dict[str, Any]:
    """The manifest's entry that says whether the text in its pictures is read from now on."""
    return {_OCR: True if asked else None}


def kinds(store: Store) -> frozenset[str]:
    """Which kinds of items (datatypes.Item) are taken into an index."""
    said = _said(store, _KINDS, list[str] | None)
    return SEEN if said is None else frozenset(said) & {"picture", "clip", "sound"}


def taking(wanted: frozenset[str]) -> dict[str, Any]:
    """The manifest's entry for the kinds of items that are taken."""
    return {_KINDS: None if wanted == SEEN else sorted(wanted)}


# ---------------------------------------------------------------- the import


# As it lies on disk.
_Import = TypedDict(
    "_Import", {"from": str | None, "compared": typed.Natural | None, "cosine": float | None}, total=False
)


@dataclass(frozen=True, slots=True)
class Imported:
    """The fact that an index was imported from another tool.

    kind: the tool or the form of its files (exchange/). compared: with how many pictures its encoder was told; None
    while it was not. cosine: that the better part of them had at least; None where none was at hand.
    """

    kind: str | None
    compared: int | None = None
    cosine: float | None = None

    @classmethod
    def recorded(cls, store: Store) -> "Imported | None":
        """What a store's manifest records of its import; None for one that was not imported."""
        said = _said(store, _IMPORTED, _Import | None)
        return None if said is None else cls(said.get("from"), said.get("compared"), said.get("cosine"))

    def entry(self) -> dict[str, Any]:
        """The manifest's entry that records it."""
        said: dict[str, Any] = {} if self.kind is None else {"from": self.kind}
        return {_IMPORTED: said | ({} if self.compared is None else {"compared": self.compared, "cosine": self.cosine})}


def not_imported() -> dict[str, Any]:
    """The manifest's entry of an index whose vectors were all made by mmr: it clears an earlier import."""
    return {_IMPORTED: None}
