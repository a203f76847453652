"""Where items and pairs come from: `open_items(uri)`, `open_pairs(uri)`.

    folder:PATH                     pictures, with captions in .txt files beside them if any (a line each)
    csv:FILE   jsonl:FILE           columns image and caption; paths are relative to the file
    parquet:FILE   hf:NAME          through Hugging Face `datasets`
    picturebook:N                   drawn scenes (picturebook.py)

`?column=value&column=value` keeps the rows that say so. A plain path picks its scheme by what it is. To add a source,
write `f(uri) -> Iterable[(Item, caption or None)]` and name it in SOURCES.
"""

import csv
import difflib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

from retrieval.datatypes import Item, Pair
from retrieval.errors import BadRequest
from retrieval.images import EXTENSIONS

Row = tuple[Item, str | None]


@dataclass(frozen=True, slots=True)
class Uri:
    """`scheme:path?key=value`, taken apart. text: as it was typed."""

    text: str
    scheme: str
    path: str
    where: dict[str, str]

    @property
    def root(self) -> Path | None:
        """The folder that the items' uris are relative to, if they are files."""
        if self.scheme == "folder":
            return Path(self.path)
        return Path(self.path).parent if self.scheme in ("csv", "jsonl", "parquet") else None


def parse_uri(text: str) -> Uri:
    """Take a source apart. Raises BadRequest for an unknown scheme, or a plain path that is nothing known."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SOURCES:
        path, _, query = rest.partition("?")
        return Uri(text, scheme, path, dict(parse_qsl(query, keep_blank_values=True)))
    # A plain path may hold any character, '?' included: it is a query only where no such file exists.
    path, query = (text, "") if Path(text).exists() else text.partition("?")[::2]
    return Uri(text, _scheme_of(Path(path), text), path, dict(parse_qsl(query, keep_blank_values=True)))


def _scheme_of(path: Path, text: str) -> str:
    if path.is_dir():
        return "folder"
    by_ending = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
    if path.suffix.lower() in by_ending:
        return by_ending[path.suffix.lower()]
    if not path.exists():
        raise BadRequest(f"no such file or folder: {text}: check the path")
    raise BadRequest(f"{text} is no source: give a folder, a .csv, .jsonl or .parquet file, or {_schemes()}")


def _schemes() -> str:
    return ", ".join(f"{name}:..." for name in SOURCES)


def open_items(uri: str | Uri) -> Iterator[Item]:
    """Each item once, with its first caption. Raises BadRequest where the source cannot be read or is empty."""
    seen: set[str] = set()
    for item, caption in _rows(uri):
        if item.id not in seen:
            seen.add(item.id)
            yield replace(item, caption=caption)


def open_pairs(uri: str | Uri) -> list[Pair]:
    """Every picture with every caption of it; rows without one are left out. Raises BadRequest where none is left."""
    items: dict[str, Item] = {}
    pairs = [
        Pair(items.setdefault(item.id, item), caption.strip())
        for item, caption in _rows(uri)
        if caption and caption.strip()
    ]
    if not pairs:
        text = uri if isinstance(uri, str) else uri.text
        raise BadRequest(
            f"{text} has pictures but no captions: put them in a column `caption`, or in .txt files beside"
        )
    return pairs


def _rows(uri: str | Uri) -> Iterator[Row]:
    uri = parse_uri(uri) if isinstance(uri, str) else uri
    empty = True
    for row in SOURCES[uri.scheme](uri):
        empty = False
        yield row
    if empty:
        kept = " that match " + "&".join(f"{k}={v}" for k, v in uri.where.items()) if uri.where else ""
        raise BadRequest(f"{uri.path or uri.text} has no pictures{kept}: check the source")


def _id_of(name: str) -> str:
    """The name as proper Unicode: file names may hold bytes that are none."""
    return name.encode("utf-8", "backslashreplace").decode()


# ---------------------------------------------------------------- folder


def stamp_of(path: Path) -> str:
    """Size and time of a file: changes when the file does. Empty where there is no file (decoding will say so)."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def _folder(uri: Uri) -> Iterable[Row]:
    root = Path(uri.path)
    if not root.is_dir():
        raise BadRequest(f"no such folder: {uri.path}: check the path")
    for path in _walk(root):
        if path.suffix.lower() in EXTENSIONS:
            name = path.relative_to(root).as_posix()
            item = Item(_id_of(name), name, path, stamp=stamp_of(path))
            beside = path.with_suffix(".txt")
            lines = beside.read_text("utf-8-sig", "replace").splitlines() if beside.is_file() else []
            yield from ((item, line) for line in [line for line in lines if line.strip()] or [None])


def _walk(root: Path) -> Iterator[Path]:
    """Files below `root` in the order of their names; hidden ones are left out, links to folders are not followed."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and not name.endswith(".mmr"))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


# ---------------------------------------------------------------- tables


def _csv(uri: Uri) -> Iterable[Row]:
    path = _existing_file(uri)
    csv.field_size_limit(min(sys.maxsize, 1 << 24))
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            if not reader.fieldnames:
                raise BadRequest(f"{uri.path} is empty: it must start with a line `image,caption`")
            yield from _table(uri, reader.fieldnames, reader)
        except csv.Error as error:
            raise BadRequest(f"{uri.path}: line {reader.line_num}: {error}: repair the file") from error


def _jsonl(uri: Uri) -> Iterable[Row]:
    path = _existing_file(uri)

    def lines() -> Iterator[dict]:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        row = json.loads(line)
                    except ValueError as error:
                        raise BadRequest(f"{uri.path}: line {number} is no JSON: repair the file") from error
                    if not isinstance(row, dict):
                        raise BadRequest(f"{uri.path}: line {number} is no JSON object: write one object a line")
                    yield row

    for row in lines():
        yield from _table(uri, list(row), [row])


def _existing_file(uri: Uri) -> Path:
    if not Path(uri.path).is_file():
        raise BadRequest(f"no such file: {uri.path}: check the path")
    return Path(uri.path)


def _table(uri: Uri, columns: list[str], rows: Iterable[dict]) -> Iterator[Row]:
    """Rows that hold the path of a picture under `image` and a text, or a list of texts, under `caption`."""
    _check_columns(uri, columns)
    folder = Path(uri.path).parent
    for row in rows:
        name = row.get("image")
        if name and _matches(row, uri.where):
            meta = {k: v for k, v in row.items() if k not in ("image", "caption") and k and v not in (None, "")}
            path = folder / str(name)
            item = Item(_id_of(str(name)), str(name), path, stamp=stamp_of(path), meta=meta)
            yield from ((item, caption) for caption in _captions(row.get("caption")))


def _captions(value: object) -> list[str | None]:
    if isinstance(value, list):
        return [str(text) for text in value] or [None]
    return [None if value is None else str(value)]


def _matches(row: dict, where: dict[str, str]) -> bool:
    return all(str(row.get(column)) == value for column, value in where.items())


def _check_columns(uri: Uri, columns: Iterable[str]) -> None:
    columns = [column for column in columns if column]
    for wanted in ("image", *uri.where):
        if wanted not in columns:
            near = difflib.get_close_matches(wanted, columns, 1)
            hint = f"did you mean `{near[0]}`?" if near else "rename one of them, or name another in the source"
            raise BadRequest(f"{uri.path} has no column `{wanted}`, only {', '.join(columns)}: {hint}")


# ---------------------------------------------------------------- Hugging Face datasets


def _parquet(uri: Uri) -> Iterable[Row]:
    import datasets

    path = _existing_file(uri)
    try:
        table = datasets.Dataset.from_parquet(str(path))
    except Exception as error:  # pyarrow's and datasets' own families of errors, all meaning the same here
        raise BadRequest(f"{uri.path} cannot be read as parquet ({_first_line(error)}): check the file") from error
    return _dataset(uri, table, path.parent)


def _hf(uri: Uri) -> Iterable[Row]:
    """`hf:NAME?split=train&config=NAME`: a dataset of the hub, or a folder written by `save_to_disk`."""
    import datasets

    where = dict(uri.where)
    split, config = where.pop("split", None), where.pop("config", None)
    uri = replace(uri, where=where)
    try:
        if Path(uri.path).is_dir() and (Path(uri.path) / "state.json").is_file():
            table = datasets.load_from_disk(uri.path)
        else:
            table = datasets.load_dataset(uri.path, config, split=split or "train")
    except Exception as error:
        raise BadRequest(
            f"dataset {uri.path} cannot be had ({_first_line(error)}): check its name and the network, or give a file"
        ) from error
    return _dataset(uri, table, Path())


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(":. ")


def _dataset(uri: Uri, table, folder: Path) -> Iterator[Row]:  # noqa: ANN001 - datasets.Dataset, imported late
    import datasets

    _check_columns(uri, table.column_names)
    if isinstance(table.features["image"], datasets.Image):
        table = table.cast_column("image", datasets.Image(decode=False))
    texts = table.remove_columns("image")
    for number, row in enumerate(texts):
        if _matches(row, uri.where):
            yield from _dataset_row(table, number, row, folder)


def _dataset_row(table, number: int, row: dict, folder: Path) -> Iterator[Row]:  # noqa: ANN001
    def content() -> bytes:
        image = table[number]["image"]
        if isinstance(image, str):
            return (folder / image).read_bytes()
        return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()

    meta = {k: v for k, v in row.items() if k != "caption" and isinstance(v, str | int | float | bool)}
    item = Item(str(number), str(number), content, stamp=table._fingerprint, meta=meta)
    yield from ((item, caption) for caption in _captions(row.get("caption")))


def _picturebook(uri: Uri) -> Iterable[Row]:
    from retrieval import picturebook

    return picturebook.rows(uri.path, uri.where)


SOURCES: dict[str, Callable[[Uri], Iterable[Row]]] = {
    "folder": _folder,
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "hf": _hf,
    "picturebook": _picturebook,
}
