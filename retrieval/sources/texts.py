"""Text files of people: in which encoding they are, where that is sure or was said, and their lines, decoded strictly.

Sure is a byte order mark, and text that is UTF-8 from end to end. Anything else has to be said: a wrong guess would
change letters in silence.
"""

import codecs
import shlex
from collections.abc import Iterator
from pathlib import Path

from retrieval.errors import BadRequest
from retrieval.sources.uri import Uri

LINE = 16 << 20  # characters
_CHUNK = 1 << 20
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


def decoded(content: bytes) -> str:
    """A text by its mark, or as UTF-8. Raises UnicodeError where it is neither."""
    return content.decode(_by_mark(content) or "utf-8-sig")


class Unsure(ValueError):
    """A text is neither UTF-8 nor has a mark. The message says where, and how to convert it."""


def sure(content: bytes) -> str:
    """A text by its mark, or as UTF-8. Raises Unsure where it is neither."""
    try:
        return decoded(content)
    except UnicodeError as error:
        raise Unsure(f"line {line_of(error)} is not UTF-8: convert it, as with iconv -f cp1252 -t utf-8") from error


def read(file: Path) -> str:
    """The whole of a small file. Raises BadRequest where its encoding is not sure, OSError where it cannot be read."""
    try:
        return decoded(file.read_bytes())
    except UnicodeError as error:
        old, new = shlex.quote(str(file)), shlex.quote(f"{file}.utf8")
        way_on = f"convert it, as in iconv -f cp1252 -t utf-8 {old} > {new} && mv {new} {old}"
        raise BadRequest(f"{file}: line {line_of(error)} is not UTF-8: {way_on}") from error


def encoding_of(uri: Uri) -> str:
    """The encoding of a source's file, which is read once. Raises BadRequest where it is not sure, or not as said."""
    asked, path = uri.reading.get("encoding"), Path(uri.path)
    with path.open("rb") as file:
        head = file.read(1024)
    encoding = _known(asked, uri) if asked else _by_mark(head) or "utf-8-sig"
    if not asked and encoding == "utf-8-sig" and head.count(0) * 4 > len(head):  # letters of two bytes
        wide = "utf-16-be" if head[::2].count(0) > head[1::2].count(0) else "utf-16-le"
        raise BadRequest(f"{path} holds NUL bytes, as UTF-16 does: say so, as in {uri.with_options(encoding=wide)}")
    _check(path, encoding, asked, uri)
    return encoding


def _by_mark(head: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)


def _known(asked: str, uri: Uri) -> str:
    try:
        name = codecs.lookup(asked).name
        "".encode(name)  # some are no encodings of text
    except (LookupError, ValueError) as error:  # a name may hold a NUL
        raise BadRequest(
            f"no encoding `{asked}`: give cp1252, latin-1, utf-16, shift_jis, gb18030, ..., "
            f"as in {uri.with_options(encoding='cp1252')}"
        ) from error
    return "utf-8-sig" if name == "utf-8" else name


def _check(path: Path, encoding: str, asked: str | None, uri: Uri) -> None:
    line = 1
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                line += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeError as error:
                raise BadRequest(_unlike(path, line_of(error, line), asked or encoding, uri)) from error
            if not chunk:
                return


def _unlike(path: Path, line: int, encoding: str, uri: Uri) -> str:
    shown = encoding.removesuffix("-sig").upper() if encoding.startswith("utf") else encoding
    if "encoding" in uri.reading:
        return f"{path}: line {line} is not {shown}: give the encoding it has, or repair the file"
    return f"{path}: line {line} is not {shown}: say what it is, as in {uri.with_options(encoding='cp1252')}"


def line_of(error: UnicodeError, line: int = 1) -> int:
    """The line of what could not be decoded, where `line` is that of the chunk's start."""
    if not isinstance(error, UnicodeDecodeError):
        return line
    return line + error.object[: error.start].decode(error.encoding, "ignore").count("\n")


def lines(uri: Uri, encoding: str, newline: str | None = None) -> Iterator[str]:
    """The lines of a source's file with their ends, one at a time; `newline` as in `open`. Raises BadRequest."""
    path = Path(uri.path)
    with path.open(encoding=encoding, newline=newline) as file:
        number = 0
        try:
            while line := file.readline(LINE + 1):
                number += 1
                if len(line) > LINE:
                    raise BadRequest(
                        f"{path}: line {number} is longer than {LINE >> 20} million letters: repair the file"
                    )
                yield line
        except UnicodeError as error:
            raise BadRequest(f"{path} changed while it was read: run the same command again") from error
