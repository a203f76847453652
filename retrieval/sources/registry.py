"""Where items and pairs come from: `open_items(uri)`, `open_pairs(uri)`.

    folder:PATH                     pictures, clips and sounds, with captions in .txt files beside them (a line each)
    csv:FILE   jsonl:FILE           columns image and caption; paths are relative to the file
    parquet:FILE                    the same, or pictures as bytes
    hf:NAME                         through Hugging Face `datasets`
    webdataset:{000..041}.tar       tars of pictures and texts, also a glob or a folder of them
    img2dataset:FOLDER              what img2dataset wrote
    urls:FILE                       a URL a line, or a table with a column url; only where fetching was asked for
    picturebook:N                   drawn scenes (picturebook.py)
    soundbook:N                     made tones, chords and speech (soundbook.py)

Several folders and pictures are one source: items are named from the deepest folder that holds them all.
`?column=value&column=value` keeps the rows that say so; `?image=file&caption=title&sep=;&encoding=cp1252` is how a
table is read (uri.READING), and `==` in place of `=` always keeps rows. A plain path picks its scheme by what it is. To
add a source, write `f(uri) -> Iterable[(Item, caption or None)]`, a row a caption, those of a picture together, and
name it in SOURCES.
"""

import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from retrieval.callbacks import OnMessage, no_message
from retrieval.datatypes import Item, Pair
from retrieval.errors import BadRequest, NothingThere
from retrieval.images import kinds
from retrieval.sources import archives, folders, tables
from retrieval.sources.uri import Options, Row, Uri, is_file, of_places, query_of

__all__ = ["SOURCES", "Options", "Row", "Uri", "open_items", "open_mixture", "open_pairs", "parse_uri"]


_SCATTERED = ("csv", "jsonl", "urls")  # the rows of a picture may stand anywhere in these
_WEIGHTED = re.compile(r"(\d+(?:\.\d+)?):(.+)")


def parse_uri(text: str | Uri | Sequence[str], options: Options | None = None) -> Uri:
    """Take the name of a source apart.

    Args:
        text: A path, `scheme:path?column=value`, or several folders, which become one source. A Uri stays as it is.
        options: What of it is left out and what may be fetched; None leaves what is in a Uri.

    Returns:
        The source with its scheme (a name in SOURCES), path and filters.

    Raises:
        BadRequest: The path is neither a file nor a folder, or of no kind that is known; or several sources are given
            and one is no folder.

    Examples:
        >>> parse_uri("csv:pairs.csv?split=train").where
        {'split': 'train'}
    """
    if isinstance(text, Uri):
        uri = text
    else:
        uri = _parse(text) if isinstance(text, str) else _together(text)
    return uri if options is None else replace(uri, options=options)


def _together(texts: Sequence[str]) -> Uri:
    """Several folders and pictures as one source; what lies in one of the folders is part of it."""
    uris = [_parse(text) for text in texts]
    other = next((uri for uri in uris if uri.scheme != "folder" or uri.where), None)
    if other and len(uris) > 1:
        raise BadRequest(
            f"{other.text} is no folder: several sources must be folders, or pictures: give it an --index of its own"
        )
    walked = [uri for uri in uris if not uri.files]
    outermost = [uri for uri in walked if not any(_lies_in(uri, one) for one in walked)]
    kept = list({os.path.realpath(uri.path): uri for uri in reversed(outermost)}.values())[::-1]
    if len(uris) == 1 or (len(kept) == 1 and len(walked) == len(uris)):
        return [*kept, *uris][0]
    folders = [Path(os.path.normpath(Path(uri.path).absolute())) for uri in kept]
    files = [Path(os.path.normpath(Path(uri.path, file).absolute())) for uri in uris for file in uri.files]
    found = of_places(folders, files, _listed(texts))
    parents = {uri.path for uri in uris}
    return replace(found, path=parents.pop()) if len(parents) == 1 and not folders else found


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts) if len(texts) < 4 else f"{', '.join(texts[:2])} and {len(texts) - 2} more"


def _lies_in(uri: Uri, other: Uri) -> bool:
    inner, outer = Path(os.path.realpath(uri.path)), Path(os.path.realpath(other.path))
    return inner != outer and inner.is_relative_to(outer)


def _parse(text: str) -> Uri:
    _must_be_a_path(text)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SOURCES:
        path, _, query = rest.partition("?")
        if not path:
            raise BadRequest(f"{text} names no source: write {text}NAME, or . for this folder")
    else:
        # A plain path may hold any character, '?' included: it is a query only where no such file exists.
        path, query = (text, "") if Path(text).exists() else text.partition("?")[::2]
        scheme = _scheme_of(Path(path), text)
    where, reading = query_of(scheme, query, text)
    found = Uri(text, scheme, path, where, reading=reading)
    return found if scheme != "folder" else _of_a_file(found)


def _of_a_file(uri: Uri) -> Uri:
    """The same, where it names a file of its folder instead of the folder."""
    path = Path(uri.path)
    return replace(uri, path=str(path.parent), files=(path.name,)) if is_file(path) else uri


def _must_be_a_path(text: str) -> None:
    """Raise BadRequest for what no file can be called."""
    if not text.strip():
        raise BadRequest("a source is empty: name a folder, or write . for this one")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise BadRequest(f"{text!a} is no name of a file: it holds half a character: check the path") from error
    if "\0" in text:
        raise BadRequest(f"{text!a} is no name of a file: it holds a NUL: check the path")


def _scheme_of(path: Path, text: str) -> str:
    if path.is_dir():
        return "img2dataset" if archives.is_img2dataset(path) else "folder"
    by_ending = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
                 ".tar": "webdataset", ".txt": "urls"}  # fmt: skip
    if path.suffix.lower() in by_ending:
        return by_ending[path.suffix.lower()]
    if path.suffix.lower() in kinds.ALL and path.exists():
        return "folder"
    if not path.exists():
        raise BadRequest(f"no such file or folder: {text}: check the path")
    raise BadRequest(
        f"{text} is no source: give a folder, a picture, a .csv, .jsonl, .parquet, .tar or .txt file, or {_schemes()}"
    )


def _schemes() -> str:
    return ", ".join(f"{name}:..." for name in SOURCES)


def open_items(uri: str | Uri) -> Iterator[Item]:
    """Read what can be found in a source: each picture or clip once, with all its captions.

    Args:
        uri: The source, as typed or from `parse_uri`.

    Yields:
        Items in the order of the source. None is decoded yet; what cannot be read fails when it is.

    Raises:
        BadRequest: The source cannot be read, has nothing in it, or nothing that matches its filter.

    Examples:
        >>> [item.uri for item in open_items("photos")]
        ['beach.jpg', 'zoo/lion.jpg']
    """
    uri = parse_uri(uri)
    rows = _rows(uri)
    yield from _gathered(rows) if uri.scheme in _SCATTERED else _in_turn(rows)


def touched_items(uri: Uri, paths: Iterable[Path]) -> tuple[tuple[str, ...], list[Item]]:
    """Those of some paths within the folders of a source: how the ids of all that they may have been start, and the
    items that are there now. Raises NothingThere where such a folder is gone, or has no picture.
    """
    starts, rows = folders.touched(uri, paths)
    return starts, list(_in_turn(rows))


def _in_turn(rows: Iterable[Row]) -> Iterator[Item]:
    """The items of rows that stand together where they are of one item, each as soon as its rows are read."""
    seen: set[str] = set()
    for id_, some in itertools.groupby(rows, lambda row: row[0].id):
        if id_ not in seen:
            seen.add(id_)
            item, first = next(some)
            yield _said_of(item, [first, *(caption for _, caption in some)])


def _gathered(rows: Iterable[Row]) -> Iterator[Item]:
    """The items of rows, with the captions of all their rows, wherever those stand."""
    first: dict[str, Row] = {}
    others: dict[str, list[str | None]] = {}  # few have any, and what is not held costs nothing
    for row in rows:
        if first.setdefault(row[0].id, row) is not row:
            others.setdefault(row[0].id, []).append(row[1])
    return (_said_of(item, (caption, *others.get(id_, ()))) for id_, (item, caption) in first.items())


def _said_of(item: Item, captions: Iterable[str | None]) -> Item:
    texts = tuple(caption for caption in captions if caption)
    return replace(item, captions=texts) if texts else item


def open_pairs(uri: str | Uri, on_message: OnMessage = no_message, bare: bool = False) -> list[Pair]:
    """Read the training examples of a source: every picture with every caption of it.

    Args:
        uri: The source, as typed or from `parse_uri`.
        on_message: Called with a line for a person: how many pictures have no caption.
        bare: A clip without a caption is a pair of its sound and its pictures: its caption is "".

    Returns:
        The pairs in the order of the source; rows without a caption are left out. Pairs of a picture share its Item.

    Raises:
        BadRequest: The source cannot be read, or has no captions.
    """
    items: dict[str, Item] = {}
    pairs: list[Pair] = []
    without: dict[str, str] = {}  # their kinds
    for item, caption in _rows(uri):
        if (caption and caption.strip()) or (bare and item.kind == "clip"):
            shared = items.setdefault(item.id, item)
            meta = shared.meta if item.meta == shared.meta else item.meta  # one for all that say the same
            pairs.append(Pair(shared, (caption or "").strip(), meta=meta))
        else:
            without[item.id] = item.kind
    text = uri if isinstance(uri, str) else uri.text
    missing = [kind for name, kind in without.items() if name not in items]
    if pairs and missing:
        on_message(f"{kinds.counted(missing)} of {text} without a caption, which are left out: {len(missing)}")
    if not pairs:
        raise BadRequest(
            f"{text} has {kinds.counted(without.values())} but no captions: put them in a column `caption` or another, "
            "as in ?caption=title, or in .txt files beside"
        )
    return pairs


def open_mixture(texts: Sequence[str], on_message: OnMessage = no_message, bare: bool = False) -> list[Pair]:
    """The pairs of several sources. `3:SOURCE` has its pictures drawn three times as often as those of the others.

    An id that an earlier source has already gets the number of its source before it. on_message, bare: as `open_pairs`
    takes them. Raises BadRequest.
    """
    pairs: list[Pair] = []
    taken: set[str] = set()
    for number, text in enumerate(texts, 1):
        weighted = _WEIGHTED.fullmatch(text)
        weight, source = (float(weighted[1]), weighted[2]) if weighted else (1.0, text)
        if not 0 < weight < math.inf:
            raise BadRequest(f"{text}: a source's weight is a number above 0, as in 2:{source}")
        some = open_pairs(source, on_message, bare)
        items = {pair.item.id: pair.item for pair in some}
        again = {id_: replace(item, id=f"{number}/{id_}") for id_, item in items.items() if id_ in taken}
        taken |= set(items)
        pairs += [replace(pair, item=again.get(pair.item.id, pair.item), weight=weight) for pair in some]
    return pairs


def _rows(uri: str | Uri) -> Iterator[Row]:
    uri = parse_uri(uri)
    empty = True
    for row in SOURCES[uri.scheme](uri):
        empty = False
        yield row
    if empty and not uri.options.let_go:
        kept = " that match " + "&".join(f"{k}={v}" for k, v in uri.where.items()) if uri.where else ""
        folder = Path(uri.path) if uri.scheme == "folder" else None
        others = folders.of_others(folder, uri.options) if folder and folder.is_dir() else ""
        raise NothingThere(others or f"{uri.path or uri.text} has no pictures{kept}: check the source", folder)


def _picturebook(uri: Uri) -> Iterable[Row]:
    from retrieval.sources import picturebook

    return picturebook.rows(uri.path, uri.where)


def _soundbook(uri: Uri) -> Iterable[Row]:
    from retrieval.sources import soundbook

    return soundbook.rows(uri.path, uri.where)


SOURCES: dict[str, Callable[[Uri], Iterable[Row]]] = {
    "folder": folders.rows,
    "csv": tables.csv_file,
    "jsonl": tables.jsonl,
    "parquet": tables.parquet,
    "hf": tables.hugging_face,
    "webdataset": archives.webdataset,
    "img2dataset": archives.img2dataset,
    "urls": tables.url_list,
    "picturebook": _picturebook,
    "soundbook": _soundbook,
}
