"""`mmr eval`: how well encoders find the captions of pictures and the pictures of captions, and which is the better."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cli.output import show, target
from eval import (
    audit,
    clip_benchmark,
    comparing,
    judgements,
    measuring,
    page,
    protocols,
    qrels,
    report,
    robustness,
    rows,
    slices,
    through,
)  # fmt: skip
from eval.judgements import Agreement
from eval.measuring import Measured
from eval.report import Report
from eval.tables import Table
from retrieval import open_pairs
from retrieval.datatypes import Pair
from retrieval.encoders import bulk
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest


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


@dataclass(slots=True)
class Found:
    """All that was found. notes: of the pairs, and of each encoder by its place."""

    measured: list[Measured] = field(default_factory=list)
    harms: list[list[robustness.Harm]] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    folds: list[dict[str, dict[str, float]]] = field(default_factory=list)
    costs: list[through.Through] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def reports(self) -> list[Report]:
        """One for each encoder."""
        return [report.of(one, [*self.notes, *audit.of_vectors(one)]) for one in self.measured]


def run(asked: Asked) -> int:
    """Measure and show; the exit code."""
    for path, option in ((asked.html, "--html"), (asked.csv, "--csv"), (asked.benchmark, "--clip-benchmark")):
        if path:
            target.check(path, option, asked.force)
    if asked.benchmark and len(asked.encoders) > 1:
        raise BadRequest("--clip-benchmark is of one encoder, as that package has it: give one, and a file for each")
    if asked.protocol:
        protocols.named(asked.protocol)
    _require_fit(asked)
    pairs = open_pairs(asked.source, show.note)
    for by in asked.by:
        slices.require(pairs, by)
    if asked.qrels:
        qrels.read(asked.qrels, pairs, measuring.each_once(pairs))
    found = Found(notes=audit.of_pairs(pairs))
    if asked.trained_on:
        _note_seen(found, pairs, asked.trained_on)
    for name in asked.encoders:
        _measure(found, name, pairs, asked)
    comparing.require_same(found.measured)
    show.skipped(found.measured[0].skipped)
    if asked.judged is not None:
        _say_agreements(found.agreements, asked.as_json)
        left_out = any(one.left_out for one in found.agreements)
    else:
        _say(found, asked)
        left_out = False
    return show.SKIPPED if found.measured[0].skipped or left_out else show.OK


def _require_fit(asked: Asked) -> None:
    """Raise BadRequest for what does not go together: nothing that is asked for is left out in silence."""
    files = {"--html": asked.html, "--csv": asked.csv, "--clip-benchmark": asked.benchmark}
    named = {option: path.resolve() for option, path in files.items() if path}
    if len(set(named.values())) < len(named):
        raise BadRequest(f"{' and '.join(named)} name one file: give each its own")
    if asked.judged is None:
        if asked.scale:
            raise BadRequest("--scale is of --judgements: add --judgements COLUMN, or leave it out")
        return
    others = {
        "--by": asked.by, "--robust": asked.robust, "--through": asked.index, "--qrels": asked.qrels,
        "--protocol": asked.protocol, **named,
    }  # fmt: skip
    if more := [option for option, value in others.items() if value]:
        raise BadRequest(f"--judgements is told alone: leave out {', '.join(more)}, and ask for them without it")


def _note_seen(found: Found, pairs: Sequence[Pair], trained_on: str) -> None:
    line, names = audit.seen_before(pairs, open_pairs(trained_on))
    if names:
        found.notes.append(line)
        for name in names:
            show.note(f"trained on: {name}")


def _measure(found: Found, name: str, pairs: Sequence[Pair], asked: Asked) -> None:
    """Everything that needs this encoder, while it is in memory."""
    encoder = bulk.load_for_bulk(name, asked.device, show.note, asked.engine, lambda: len(pairs) < bulk.FEW)
    what = name if len(asked.encoders) > 1 else ""
    with show.Meter(f"encoding {what}".strip(), "pictures") as meter:
        one = measuring.measure(encoder, pairs, meter)
    if asked.qrels:
        right, notes = qrels.read(asked.qrels, one.pairs, one.items, pairs)
        one = replace(one, judged=right)
        found.notes += [line for line in [*notes, *_unjudged(one)] if line not in found.notes]
    if asked.protocol:
        found.notes += [line for line in protocols.check(asked.protocol, one) if line not in found.notes]
        if protocols.named(asked.protocol).folds:
            found.folds.append(protocols.folds(one))
    found.measured.append(one)
    if asked.judged is not None:
        found.agreements.append(judgements.agreement(one, encoder, asked.judged, asked.scale))
    if asked.index:
        found.costs.append(through.search(one, asked.index))
    if asked.robust:
        found.harms.append(_harms(one, encoder, what))


def _unjudged(one: Measured) -> list[str]:
    left = len(one.texts) - len(one.asked["text_to_image"])
    return [f"{left} captions have no relevant picture in --qrels, and are not asked"] if left else []


def _harms(one: Measured, encoder: Encoder, what: str) -> list[robustness.Harm]:
    with show.Meter(f"harming {what}".strip(), "pictures") as meter:
        return robustness.harms(one, encoder, meter)


# ---------------------------------------------------------------- what is shown


def _say(found: Found, asked: Asked) -> None:
    reports = found.reports()
    _write(found, asked, reports)
    if asked.as_json:
        for line in _lines(found, asked, reports):
            show.out(json.dumps(line))
        return
    parts = [str(one) for one in tables(found, asked)]
    if len(reports) == 1:
        parts.insert(0, str(reports[0]))
    else:
        notes = dict.fromkeys(note for one in reports for note in one.notes)
        parts += ["\n".join(notes)] if notes else []
    show.out("\n\n".join([*parts, *map(str, found.costs), *_published(found, asked, reports)]))


def _published(found: Found, asked: Asked, reports: Sequence[Report]) -> list[str]:
    """Each encoder among those that papers tell of."""
    if not asked.protocol:
        return []
    averaged = [*found.folds, *([None] * (len(reports) - len(found.folds)))]
    return [protocols.table(asked.protocol, one, own) for one, own in zip(reports, averaged, strict=True)]


def _write(found: Found, asked: Asked, reports: Sequence[Report]) -> None:
    """The files that were asked for."""
    both = list(zip(found.measured, reports, strict=True))
    if asked.html:
        page.write(asked.html, both, tables(found, asked), list(map(str, found.costs)), creator=target.MARK)
        show.note(f"report: {asked.html}")
    if asked.csv:
        rows.write_csv(asked.csv, both)
        show.note(f"a row a query: {asked.csv}")
    if asked.benchmark:
        name = asked.dataset or Path(asked.source.partition("?")[0].partition(":")[2] or asked.source).stem
        clip_benchmark.write(asked.benchmark, found.measured[0], name, asked.language)
        show.note(f"for clip_benchmark build: {asked.benchmark}")


def tables(found: Found, asked: Asked) -> list[Table]:
    """The comparison, where there are several encoders; slices; what is left under harms."""
    made = []
    if len(found.measured) > 1:
        made += [comparing.table(found.measured), comparing.difference_table(_differences(found))]
    made += [slices.table(one.encoder, slices.of(one, by)) for by in asked.by for one in found.measured]
    return made + [robustness.table(one) for one in found.harms]


def _differences(found: Found) -> list[comparing.Difference]:
    """Of each encoder from the first."""
    first, *others = found.measured
    return [one for other in others for one in comparing.differences(other, first)]


def _lines(found: Found, asked: Asked, reports: Sequence[Report]) -> Iterator[dict[str, Any]]:
    """JSON: a report for each encoder, then each difference, slice, harm and what an index costs."""
    for one in reports:
        yield one.as_dict()
    if len(found.measured) > 1:
        for difference in _differences(found):
            yield {"difference": {name: getattr(difference, name) for name in difference.__slots__}}
    for by in asked.by:
        for measured in found.measured:
            for part in slices.of(measured, by):
                yield {"slice": {name: getattr(part, name) for name in part.__slots__}, "encoder": measured.encoder}
    for harm in found.harms:
        yield {"robustness": robustness.as_json(harm), "encoder": harm[0].measured.encoder}
    for cost in found.costs:
        yield {"through": cost.as_dict()}
    for measured, folds in zip(found.measured, found.folds, strict=False):
        yield {"folds": folds, "encoder": measured.encoder}


def _say_agreements(agreements: Sequence[Agreement], as_json: bool) -> None:
    show.out("\n".join(one.to_json() for one in agreements) if as_json else "\n\n".join(map(str, agreements)))


def scale_of(text: str | None) -> tuple[float, float] | None:
    """The bounds of --scale 1:4. Raises BadRequest."""
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        bounds = float(low), float(high)
    except ValueError:
        bounds = (0.0, 0.0)
    if not colon or not bounds[0] < bounds[1]:
        raise BadRequest(f"--scale {text} is no scale: give the least and the greatest score, as --scale 1:4")
    return bounds


# ---------------------------------------------------------------- how fast


def speed(words: Sequence[str], as_json: bool, device: str, engine: str) -> int:
    """`mmr eval speed ENCODER [INDEX]`; the exit code."""
    from eval import speed as speeds

    if len(words) not in (1, 2):
        raise BadRequest("speed is measured of one encoder, and one index: mmr eval speed ENCODER [INDEX]")
    encoder = bulk.load_for_bulk(words[0], device, show.note, engine)
    found = speeds.of_encoder(encoder, show.note)
    if len(words) == 2:
        found += [speeds.first_query(Path(words[1])), *speeds.of_index(encoder, Path(words[1]))]
    if as_json:
        show.out("\n".join(json.dumps(one.as_dict()) for one in found))
    else:
        show.out(str(speeds.table(f"{encoder.name} on this machine", found)))
    return show.OK
