"""What `mmr eval` was asked and found, and how it is told: on the terminal, as JSON, in files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cli.output import show, target
from eval import audit, clip_benchmark, comparing, page, protocols, report, robustness, rows, slices, through
from eval.judgements import Agreement
from eval.measuring import Measured
from eval.report import Report
from eval.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be measured of which encoders, and where it goes."""

    encoders: Sequence[str]
    source: str
    by: Sequence[str] = ()
    robust: bool = False
    index: Path | None = None
    qrels: Path | None = None
    judged: str | None = None
    scale: tuple[float, float] | None = None
    trained_on: str | None = None
    protocol: str | None = None
    html: Path | None = None
    csv: Path | None = None
    benchmark: Path | None = None
    dataset: str | None = None
    language: str = "en"
    as_json: bool = False
    force: bool = False
    device: str = "auto"
    engine: str = "auto"


@dataclass
class Found:
    """What was found of each encoder, in their order; costs, harms, agreements and folds only where asked for.

    notes: lines on the pairs.
    """

    asked: Asked
    measured: list[Measured] = field(default_factory=list)
    harms: list[list[robustness.Harm]] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    folds: list[dict[str, dict[str, float]]] = field(default_factory=list)
    costs: list[through.Through] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, lines: Sequence[str]) -> None:
        """Keep what is to be said, once."""
        self.notes += [line for line in lines if line not in self.notes]

    @cached_property
    def reports(self) -> list[Report]:
        """One for each encoder."""
        return [report.of(one, [*self.notes, *audit.of_vectors(one)]) for one in self.measured]

    @cached_property
    def differences(self) -> list[comparing.Difference]:
        """Of each encoder from the first."""
        first, *others = self.measured
        return [one for other in others for one in comparing.differences(other, first)]

    @cached_property
    def parts(self) -> list[tuple[Measured, list[slices.Slice]]]:
        """The slices that were asked for, of each encoder."""
        return [(one, slices.of(one, by)) for by in self.asked.by for one in self.measured]


def tell(found: Found) -> None:
    """Write the files that were asked for, and show the rest."""
    if found.asked.judged is not None:
        _tell_agreements(found)
        return
    made = _tables(found)
    _write(found, made)
    if found.asked.as_json:
        for line in _lines(found):
            show.out(json.dumps(line))
        return
    first = [str(found.reports[0])] if len(found.reports) == 1 else []
    notes = dict.fromkeys(note for one in found.reports for note in one.notes) if not first else {}
    show.out("\n\n".join([*first, *map(str, made), *(["\n".join(notes)] if notes else []), *map(str, found.costs)]))


def _tell_agreements(found: Found) -> None:
    told = [replace(one, notes=[*found.notes, *one.notes]) for one in found.agreements]
    show.out("\n".join(one.to_json() for one in told) if found.asked.as_json else "\n\n".join(map(str, told)))


def _tables(found: Found) -> list[Table]:
    """The comparison, where there are several encoders; slices; what is left under harms; what papers tell."""
    made = []
    if found.differences:
        made += [comparing.table(found.measured), comparing.difference_table(found.differences)]
    made += [slices.table(one.encoder, part) for one, part in found.parts]
    made += [robustness.table(one) for one in found.harms]
    return made + ([protocols.table(found.asked.protocol, found.reports, found.folds)] if found.asked.protocol else [])


def _write(found: Found, made: Sequence[Table]) -> None:
    asked, both = found.asked, list(zip(found.measured, found.reports, strict=True))
    if asked.html:
        page.write(asked.html, both, made, [*map(str, found.costs)], creator=target.MARK)
        show.note(f"report: {asked.html}")
    if asked.csv:
        rows.write_csv(asked.csv, both)
        show.note(f"a row a query: {asked.csv}")
    if asked.benchmark:
        name = asked.dataset or Path(asked.source.partition("?")[0].partition(":")[2] or asked.source).stem
        clip_benchmark.write(asked.benchmark, found.measured[0], name, asked.language)
        show.note(f"for clip_benchmark build: {asked.benchmark}")


def _lines(found: Found) -> Iterator[dict[str, Any]]:
    """JSON: a report for each encoder, then each difference, slice, harm, what an index costs, the mean of folds."""
    yield from (one.as_dict() for one in found.reports)
    yield from ({"difference": asdict(one)} for one in found.differences)
    yield from ({"slice": asdict(part), "encoder": one.encoder} for one, parts in found.parts for part in parts)
    yield from ({"robustness": robustness.as_json(one), "encoder": one[0].measured.encoder} for one in found.harms)
    yield from ({"through": asdict(one)} for one in found.costs)
    yield from ({"folds": one, "encoder": of.encoder} for of, one in zip(found.measured, found.folds, strict=False))
