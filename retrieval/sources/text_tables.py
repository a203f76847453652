"""Tables that are texts: csv, tsv, jsonl. Read a row at a time, within limits, and never guessed at in silence."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from indexes import typed
from retrieval.errors import BadRequest
from retrieval.sources import texts
from retrieval.sources.uri import Uri, existing_file

CELL = 16 << 20  # characters of a cell
_ROW = 4 * CELL  # of all lines of a row
_MOST_COLUMNS = 100_000
_HEADER = 1 << 20  # characters
_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
_PICTURES = ("image", "url")  # a header that is cut rightly has one of them, as a rule


class Table(NamedTuple):
    """What a table holds. columns: () where each row says its own."""

    columns: Sequence[str]
    rows: Iterator[dict[str, Any]]


# ---------------------------------------------------------------- csv


def open_csv(uri: Uri, header: str = "image,caption") -> Table:
    """A csv, by its ending a tsv, whose first line names the columns. Cells that are not there are None.

    `?sep=` is what stands between cells: else `,`, in a .tsv a tab, or `;` or a tab where only that gives columns.
    `?quote=no` takes quotes as letters, as a .tsv is read without being asked. header: what the first line may be, as a
    message about an empty file says. Raises BadRequest, also while rows are read.
    """
    path = existing_file(uri)
    csv.field_size_limit(CELL)
    lines = _Lines(uri, texts.lines(uri, texts.encoding_of(uri), newline=""))
    first = lines.peek()
    if not first.strip():
        raise BadRequest(f"{path} is empty: it must start with a line `{header}`")
    if len(first) > _HEADER:
        raise BadRequest(f"{path}: its first line is longer than {_HEADER} letters: it must name the columns")
    cut = _how_it_is_cut(uri, first, path.suffix.lower() == ".tsv")
    records = _records(uri, lines, cut)
    columns = [name.strip() for name in next(records, [])]
    _require_told_apart(uri, columns)
    return Table([name for name in columns if name], _dicts(uri, columns, records, lines))


class _Lines:
    """The lines of a file for the csv module. start: where the row that is read begins; a row has bounds."""

    def __init__(self, uri: Uri, lines: Iterator[str]) -> None:
        self._uri, self._lines, self._taken, self._peeked = uri, lines, 0, ""
        self.number, self.start = 0, 1

    def peek(self) -> str:
        """The first line, which stays the next; "" of an empty file."""
        self._peeked = next(self._lines, "")
        return self._peeked

    def begin(self) -> None:
        """The next line is the first of a row."""
        self.start, self._taken = self.number + 1, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, self._peeked = self._peeked or next(self._lines), ""
        self.number += 1
        self._taken += len(line)
        if self._taken > _ROW:
            raise BadRequest(f"{self._uri.path}: the row of line {self.start} has no end: {_unquoted(self._uri)}")
        return line


class _Cut(NamedTuple):
    """How lines are cut into cells. blanks: one stands before each cell and belongs to none."""

    separator: str
    quoting: Literal[0, 3]  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE
    blanks: bool = False

    def reader(self, lines: Iterator[str]) -> Any:  # csv._reader, which is no type
        # Strict, or a quote that is never closed would swallow the rows up to the next.
        return csv.reader(
            lines, delimiter=self.separator, quoting=self.quoting, strict=True, skipinitialspace=self.blanks
        )


def _how_it_is_cut(uri: Uri, header: str, is_tsv: bool) -> _Cut:
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if _is_quoted(uri, is_tsv) else csv.QUOTE_NONE
    asked = uri.reading.get("sep")
    if asked is not None:
        separator = _SEPARATORS.get(asked, asked)
        if len(separator) != 1 or separator in '"\r\n':
            raise BadRequest(f"sep={asked}: give one sign or tab, as in {uri.with_options(sep=';')}")
        cuts = [_Cut(separator, quoting)]
    else:
        cuts = [_Cut(sign, quoting) for sign in ("\t,;" if is_tsv else ",;\t")]
    named = [(cut, _cells(header, cut)) for cut in cuts]
    wanted = {uri.reading.get(name, name) for name in _PICTURES}
    right = [each for each in named if wanted.intersection(name.strip() for name in each[1])]
    cut, names = right[0] if right else max(named, key=lambda each: len(each[1]))
    return cut._replace(blanks=len(names) > 1 and names[1].startswith(" "))


def _is_quoted(uri: Uri, is_tsv: bool) -> bool:
    asked = uri.reading.get("quote", "no" if is_tsv else "yes")
    if asked not in ("yes", "no"):
        raise BadRequest(f"quote={asked}: give yes or no")
    return asked == "yes"


def _cells(line: str, cut: _Cut) -> list[str]:
    try:
        return next(cut.reader(io.StringIO(line, newline="")), [])
    except csv.Error:  # cut so, its quotes make no sense
        return []


def _records(uri: Uri, lines: _Lines, cut: _Cut) -> Iterator[list[str]]:
    reader = cut.reader(lines)
    while True:
        lines.begin()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise BadRequest(_torn(uri, lines.start, str(error))) from error
        if cells is None:
            return
        if cells:
            yield cells


def _torn(uri: Uri, line: int, reason: str) -> str:
    if "field limit" in reason:
        reason = f"a cell of more than {CELL >> 20} million letters"
    elif reason == "unexpected end of data":
        reason = "a quote is opened and never closed"
    return f"{uri.path}: line {line}: {reason}: {_unquoted(uri)}"


def _unquoted(uri: Uri) -> str:
    if "quote" in uri.reading:
        return "repair the file"
    return f"repair it, or take quotes as letters, as in {uri.with_options(quote='no')}"


def _require_told_apart(uri: Uri, columns: Sequence[str]) -> None:
    if len(columns) > _MOST_COLUMNS:
        raise BadRequest(f"{uri.path} has more than {_MOST_COLUMNS} columns: check the file")
    require_once(uri, [name for name in columns if name])


def require_once(uri: Uri, columns: Sequence[str]) -> None:
    """Raise BadRequest where two columns have one name: one of them would be lost."""
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if list(columns).count(name) > 1)
        raise BadRequest(f"{uri.path} has two columns `{twice}`: rename one of them")


def _dicts(uri: Uri, columns: Sequence[str], records: Iterator[list[str]], lines: _Lines) -> Iterator[dict[str, Any]]:
    for cells in records:
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise BadRequest(
                f"{uri.path}: line {lines.start} has {len(cells)} cells, the first line names {len(columns)} columns: "
                "put quotes around a cell with a separator in it"
            )
        padded = [*cells, *[None] * (len(columns) - len(cells))]
        yield {name: cell for name, cell in zip(columns, padded, strict=False) if name}


# ---------------------------------------------------------------- jsonl


def open_jsonl(uri: Uri) -> Table:
    """An object a line. Raises BadRequest, also while rows are read."""
    existing_file(uri)
    return Table((), _objects(uri, texts.encoding_of(uri)))


def _objects(uri: Uri, encoding: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(texts.lines(uri, encoding), 1):
        if line.strip():
            try:
                yield _object(line)
            except typed.Malformed as error:
                raise BadRequest(f"{uri.path}: line {number} {error}") from error
            except (ValueError, RecursionError) as error:
                raise BadRequest(f"{uri.path}: line {number} is no JSON: repair the file") from error


def _object(line: str) -> dict[str, Any]:
    found = json.loads(line, object_pairs_hook=_told_apart)
    if not isinstance(found, dict):
        raise typed.Malformed("is no JSON object: write one object a line")
    try:
        return typed.checked(found, dict[str, Any])
    except typed.Malformed as error:
        raise typed.Malformed(f"is {error}: repair the file") from error


def _told_apart(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise typed.Malformed(f"says `{twice}` twice: repair the file")
    return found
