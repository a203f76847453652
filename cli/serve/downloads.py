"""/api/download: many files as one zip, made while it is sent, so that its size is nobody's memory."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from cli.serve import parts, shown
from cli.serve.shelf import Shelf
from indexes import Store
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest, ImageError
from retrieval.indexing import stored
from retrieval.search import answers

MOST = 1000  # files
CHUNK = 1 << 18  # bytes that are read, and sent, at once
LONGEST = 150  # letters of a name
LEFT_OUT = "left out.txt"  # which files are not there, and why
_ODD = re.compile(r'[\x00-\x1f\x7f\\/:*?"<>|]')  # in no name that every system can have

router = APIRouter(prefix="/api", tags=["items"])


class Wanted(BaseModel):
    """Which files."""

    ids: list[str] = Field(min_length=1, max_length=10_000)
    index: str | None = Field(None, max_length=200)


@router.post("/download", responses={200: {"content": {"application/zip": {}}}})
async def download(wanted: Wanted, request: Request) -> Response:
    """The files of items as one zip, unpacked names once each; those that cannot be had are named in `left out.txt`."""
    shelf = parts.of(request).shelves.get(wanted.index)
    names = list(dict.fromkeys(wanted.ids))
    if len(names) > MOST:
        raise BadRequest(f"{len(names)} files are more than {MOST} at once: choose fewer, or copy their paths")
    hits = await run_in_threadpool(_hits, shelf, names)
    headers = {"content-disposition": 'attachment; filename="pictures.zip"'}
    return StreamingResponse(zipped(shelf, hits), media_type="application/zip", headers=headers)


def _hits(shelf: Shelf, names: list[str]) -> list[Hit]:
    def ask(store: Store) -> list[Hit]:
        records = stored.by_id(store, [shown.id_of(name) for name in names])
        if len(records) != len(names):
            raise shown.NoSuchItem("some of these items are not in this index any more: search again")
        return [answers.hit(store, 1, record, 0.0) for record in records]

    return shelf.retriever.whole(ask)


def zipped(shelf: Shelf, hits: list[Hit]) -> Iterator[bytes]:
    """The bytes of the zip, at most about CHUNK at a time. Not packed: pictures are packed already."""
    pipe, taken, left_out = _Pipe(), Counter[str](), []
    with ZipFile(pipe, "w", ZIP_STORED) as archive:  # type: ignore[call-overload]  # it writes, and is asked no more
        for hit in hits:
            try:
                yield from _added(archive, pipe, shelf.allowed.file(hit), _unlike(_name(hit.uri), taken))
            except (ImageError, OSError) as error:
                left_out.append(f"{shown.text(hit.uri)}: {getattr(error, 'strerror', None) or error}\n")
        if left_out:
            archive.writestr(_unlike(LEFT_OUT, taken), "".join(left_out))
    yield pipe.take()


def _added(archive: ZipFile, pipe: "_Pipe", file: Path, name: str) -> Iterator[bytes]:
    with file.open("rb") as opened, archive.open(ZipInfo.from_file(file, name, strict_timestamps=False), "w") as into:
        while content := opened.read(CHUNK):
            into.write(content)
            yield pipe.take()


class _Pipe:
    """What a zip is written into, and taken from."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, content: bytes) -> int:
        self._held += content
        return len(content)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        """What was written since the last time."""
        content = bytes(self._held)
        self._held.clear()
        return content


def _name(uri: str) -> str:
    """The last part of a uri as a name that every system can have."""
    path = PurePosixPath(_ODD.sub("_", shown.text(uri).rpartition("/")[2]).strip(" .") or "file")
    return path.stem[: LONGEST - len(path.suffix[:20])] + path.suffix[:20]


def _unlike(name: str, taken: "Counter[str]") -> str:
    """The name, numbered where one like it was given already; capitals make no difference."""
    path = PurePosixPath(name)
    while taken[name.casefold()]:
        taken[path.name.casefold()] += 1
        name = f"{path.stem}-{taken[path.name.casefold()]}{path.suffix}"
    taken[name.casefold()] += 1
    return name
