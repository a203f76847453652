"""Pictures that lie in other files: where, and how one is opened again from what its index remembers.

within.py has the types of where; files are relative to the source's root.
"""

import tarfile
from pathlib import Path

from PIL import Image

from retrieval.errors import BadRequest, ImageError, Unreachable
from retrieval.images import load
from retrieval.sources.within import InTable, InTar, OnWeb, Within

MAX_BYTES = 512_000_000  # of one picture within another file
_BLOCK = tarfile.BLOCKSIZE


def open_again(
    uri: str, place: Within | None, root: Path | str | None, at_least: int | None = None, *, kind: str = "picture",
    urls: bool = False,
) -> Image.Image:  # fmt: skip
    """The picture of an indexed item, as `images.load` gave it; of a clip its middle frame, of a sound its spectrogram.

    place, kind: as in Item. root: the folder that the index's uris are relative to. urls: it may be fetched. Raises
    ImageError where it is gone or another file stands there now.
    """
    content = content_again(uri, place, root, urls=urls)
    return load.shown(content, kind, at_least, uri)


def content_again(uri: str, place: Within | None, root: Path | str | None, *, urls: bool = False) -> Path | bytes:
    """The file of an indexed item, or its bytes where it lies in another file. Raises ImageError."""
    if isinstance(place, OnWeb):
        return _fetched(place.url, urls)
    if root is None:
        raise ImageError("its source is no file that could be opened again")
    if place is None:
        return Path(root) / uri
    path = Path(root) / place.file
    try:
        return read_parquet(path, place) if isinstance(place, InTable) else read_tar(path, place)
    except FileNotFoundError as error:
        raise Unreachable(f"no such file: {path}") from error
    except OSError as error:
        raise Unreachable(f"cannot be read: {error.strerror or error}") from error


def _fetched(url: str, urls: bool) -> bytes:
    from retrieval.sources import web

    if not urls:
        raise ImageError("it lies on the web, and fetching was not asked for")
    return web.fetch(url)


def read_tar(path: Path, place: InTar) -> bytes:
    """A member of a tar by its place, without reading what is before it. Raises ImageError, OSError."""
    offset, size = place.offset, place.size
    if not (offset >= _BLOCK and 0 <= size <= MAX_BYTES):
        raise ImageError(f"too large: more than {MAX_BYTES // 1_000_000} MB")
    with path.open("rb") as file:
        file.seek(offset - _BLOCK)
        header, data = file.read(_BLOCK), file.read(size)
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise Unreachable(f"{path.name} has changed: index it again") from error
    # A long name stands in a header of its own, and this one has only its start.
    if found.size != size or not place.member.startswith(found.name[:90].split("\0")[0]):
        raise Unreachable(f"{path.name} has changed: index it again")
    if len(data) < size:
        raise Unreachable(f"{path.name} is cut off")
    return data


def read_parquet(path: Path, place: InTable) -> Path | bytes:
    """The picture of a row of a parquet file. Raises ImageError, OSError."""
    from retrieval.sources import parquet  # with it comes pyarrow

    try:
        return picture_of(parquet.cell(path, place.column, place.row), path.parent)
    except parquet.NoSuchCell as error:
        raise ImageError(f"{path.name} has changed: index it again") from error
    except BadRequest as error:
        raise ImageError(f"{path.name} cannot be read as parquet: index it again") from error


def picture_of(value: bytes | str | None, folder: Path) -> Path | bytes:
    """What a cell of a table's pictures holds: bytes, or a path below a folder. Raises ImageError where it is empty."""
    if value is None:
        raise ImageError("the row has no picture")
    return value if isinstance(value, bytes) else folder / value
