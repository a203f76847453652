"""Reports that are served: what `mmr eval --json` and `mmr head eval --json` printed, read anew when a file changes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cli.collection import numbered
from cli.serve.kept import Kept
from eval.classification import MATRIX
from indexes import typed
from indexes.typed import Malformed, Meta, Natural
from retrieval.errors import BadRequest

LINES = 1000  # of a file: reports, and what stands beside them
OTHERS = ("robustness", "through", "folds", "left_out")  # what lines have that the page does not draw
OWN = ("eval*.json", "report*.json")  # the reports that lie in a run's folder
MOST_OWN = 20  # of them
FIGURES = ("accuracy", "macro_f1", "micro_f1", "ece", "r2", "mae", "rmse")  # of a head, if it has them

LONGEST = 1000  # letters of a name
Name = Annotated[str, Meta(max_length=LONGEST)]
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
Values = dict[Name, Number | None]
Interval = tuple[Number | None, Number | None]


@dataclass(frozen=True)
class Retrieval:
    """A line of `mmr eval --json`: values by direction and metric. r_sum: the six hit@k in percent, added."""

    text_to_image: Values
    image_to_text: Values
    queries: Natural
    items: Natural
    encoder: Name = ""
    fingerprint: Name = ""
    intervals: dict[Name, dict[Name, Interval]] = field(default_factory=dict)
    chance: dict[Name, Values] = field(default_factory=dict)
    skipped: Natural = 0
    r_sum: Number | None = None
    notes: Annotated[list[Name], Meta(max_length=20)] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """How much better one encoder is than another: a line of `mmr eval A B --json`."""

    encoder: Name
    beside: Name
    direction: Name
    metric: Name
    value: Number
    low: Number
    high: Number
    mcnemar: Number | None = None


@dataclass(frozen=True)
class Slice:
    """A part of the queries: a line of `mmr eval --by`."""

    by: Name
    name: Name
    direction: Name
    queries: Natural
    values: Values
    interval: Interval


@dataclass(frozen=True)
class OfClass:
    """How good a head is at one class. support: rows of it."""

    precision: Number
    recall: Number
    f1: Number
    support: Natural


@dataclass(frozen=True)
class Head:
    """A line of `mmr head eval --json`, without its figures. labels and confusion: as HeadReport.to_json says."""

    examples: Natural
    classes: Natural
    interval: Interval
    per_class: dict[Name, OfClass] = field(default_factory=dict)
    unseen: Natural = 0
    labels: Annotated[list[Name], Meta(max_length=MATRIX)] = field(default_factory=list)
    confusion: Annotated[list[list[Natural]], Meta(max_length=MATRIX)] = field(default_factory=list)
    confusion_without: Natural = 0


class Reports:
    """The reports of a server.

    files: those that were named. runs: folders by name; what lies in them as OWN is a report too, whenever it comes.
    """

    def __init__(self, files: Sequence[Path] = (), runs: Mapping[str, Path] | None = None) -> None:
        self._named = files
        self._runs = dict(runs or {})
        self._read: Kept[list[dict[str, Any]]] = Kept(32)

    def check(self) -> None:
        """Raise BadRequest where one that was named is no report."""
        for file in self._named:
            self._of(file)

    def files(self) -> dict[str, Path]:
        """Each by the name it is asked for by; two of one name get numbers."""
        found = [(file.stem, file) for file in self._named]
        for run, folder in self._runs.items():
            own = sorted(file for form in OWN for file in folder.glob(form))[:MOST_OWN]
            found += [(f"{run} {file.stem}", file) for file in own]
        return dict(zip(numbered(stem for stem, _ in found), (file for _, file in found), strict=True))

    def listed(self) -> list[dict[str, Any]]:
        """Their names, what kinds of report each holds, and what is wrong with it, if anything."""
        return [self._listed(name, file) for name, file in self.files().items()]

    def _listed(self, name: str, file: Path) -> dict[str, Any]:
        try:
            return {"name": name, "kinds": [one["kind"] for one in self._of(file)], "problem": None}
        except BadRequest as error:
            return {"name": name, "kinds": [], "problem": str(error)}

    def get(self, name: str) -> list[dict[str, Any]]:
        """The reports of a file. Raises BadRequest."""
        files = self.files()
        if name not in files:
            raise BadRequest(f"no report {name[:60]} is served: start with --report FILE")
        return self._of(files[name])

    def _of(self, file: Path) -> list[dict[str, Any]]:
        try:
            if not file.is_file():
                raise BadRequest(f"{file} is no file: {_hint('FILE')}")
            state = file.stat()
            return self._read.get((file, state.st_mtime_ns, state.st_size), lambda: read(file))
        except OSError as error:
            raise BadRequest(f"{file} cannot be read ({error.strerror}): {_hint(file)}") from error


def read(file: Path) -> list[dict[str, Any]]:
    """The reports of a file, one a line, as JSON; "kind" is retrieval or head. Raises BadRequest, OSError."""
    with file.open("rb") as opened:
        content = opened.read(typed.BYTES + 1)
    lines = [(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    if len(content) > typed.BYTES or len(lines) > LINES or not lines:
        raise BadRequest(f"{file} is empty, has over {LINES} lines or {typed.BYTES >> 20} MB: {_hint(file)}")
    found = []
    for number, line in lines:
        try:
            found.append(_told(typed.parse(line, dict[str, Any])))
        except Malformed as error:
            raise BadRequest(f"{file}, line {number}, is no report ({str(error)[:120]}): {_hint(file)}") from error
    return found


def _hint(file: Path | str) -> str:
    return f"write it with `mmr eval ... --json > {file}`, or `mmr head eval ... --json`"


def _told(line: dict[str, Any]) -> dict[str, Any]:
    """One report, its kind beside it: "other" is one that is not drawn. Raises Malformed."""
    if "text_to_image" in line:
        return {"kind": "retrieval", **asdict(typed.checked(line, Retrieval))}
    if "difference" in line:
        return {"kind": "difference", **asdict(typed.checked(line["difference"], Difference))}
    if "slice" in line:
        encoder = typed.checked(line.get("encoder", ""), str)[:LONGEST]
        return {"kind": "slice", **asdict(typed.checked(line["slice"], Slice)), "encoder": encoder}
    if any(name in line for name in OTHERS):
        return {"kind": "other"}
    return _told_head(line)


def _told_head(line: dict[str, Any]) -> dict[str, Any]:
    head = typed.checked(line, Head)
    size = len(head.labels)
    if [len(row) for row in head.confusion] not in ([], [size] * size):
        raise Malformed("confusion has not a row and a column for each label")
    figures = typed.checked({name: line[name] for name in line if name in FIGURES}, Values)
    return {"kind": "head", "figures": figures, **asdict(head)}
