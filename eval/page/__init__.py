"""One page that shows how good encoders are: figures, charts and the queries behind them, in one file.

    page.write(Path("report.html"), [(measured, report.of(measured))])

It runs nothing and asks for nothing: charts are inline SVG, pictures are small and inside, and every text is text.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from eval import answers, separation
from eval.answers import Firsts
from eval.measuring import DIRECTIONS, Measured
from eval.page import charts, document, galleries, summary, text
from eval.page.pictures import Album
from eval.report import Report
from eval.tables import Table
from indexes import durable

_TITLE = "How well words find pictures"
_SKIPPED = 20  # pictures that are named


def write(
    path: Path, reports: Sequence[tuple[Measured, Report]], tables: Sequence[Table] = (), notes: Sequence[str] = (),
    title: str = "", creator: str = "", scales: Sequence[float | None] = (),
) -> None:  # fmt: skip
    """Write the page, whole or not at all.

    Args:
        path: An .html file. The folders above it are made.
        reports: What each encoder made of the same pairs, and its report. The first is what others are shown beside.
        tables: What else is to be told, as comparisons, slices, robustness; it follows the figures.
        notes: Lines that stand on top, beside those of the reports.
        title: What the page is called.
        creator: What wrote it, for its metadata.
        scales: What each encoder learned to multiply cosines by, in their order; None, or none at all, has it fitted.

    Raises:
        OSError: The disk said so.
    """
    names = called([report for _, report in reports])
    lead = text.listed([*notes, *_notes(names, [report for _, report in reports])], "notes")
    page = document.whole(title or _TITLE, lead, [*_parts(names, reports, tables, scales)], creator)
    durable.make_folder(path.parent)
    durable.write_bytes(path, page.encode("utf-8", "backslashreplace"))


def called(reports: Sequence[Report]) -> list[str]:
    """What each encoder is called: its name, with its fingerprint where two have the same."""
    often = Counter(report.encoder for report in reports)
    return [one.encoder if often[one.encoder] == 1 else f"{one.encoder} ({one.fingerprint[:8]})" for one in reports]


def _notes(names: Sequence[str], reports: Sequence[Report]) -> list[str]:
    """What the reports say, once: with the encoder's name before what is not said of all."""
    often = Counter(note for report in reports for note in report.notes)
    said = [
        note if often[note] == len(reports) or note.startswith(name) else f"{name}: {note}"
        for name, report in zip(names, reports, strict=True)
        for note in report.notes
    ]
    return [*dict.fromkeys(said)]


def _parts(
    names: Sequence[str], reports: Sequence[tuple[Measured, Report]], tables: Sequence[Table],
    scales: Sequence[float | None],
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """(heading, HTML) of each part."""
    all_measured = [measured for measured, _ in reports]
    figures = summary.table(names, [report for _, report in reports])
    yield from ((one.title[:1].upper() + one.title[1:], text.table(one)) for one in (figures, *tables))
    yield "Hits and places", _drawn(charts.hits(names, all_measured) + charts.places(names, all_measured))
    album, scales, before = Album(), [*scales, *[None] * (len(reports) - len(scales))], None
    for name, measured, scale in zip(names, all_measured, scales, strict=True):
        found = {direction: answers.firsts(measured, direction) for direction in DIRECTIONS}
        yield name, _encoder(measured, found, scale) + galleries.Gallery(measured, album).html(found, before)
        before = before or (name, found["text_to_image"])
    skipped = dict(pair for measured in all_measured for pair in measured.skipped)
    if skipped:
        yield f"Pictures that cannot be read: {len(skipped):,}", _skipped(skipped)


def _encoder(measured: Measured, found: dict[str, Firsts], scale: float | None) -> str:
    sure = separation.calibration(measured, found["text_to_image"], scale)
    return _drawn(charts.cosines(separation.scores(measured)) + charts.calibration(sure))


def _drawn(figures: str) -> str:
    return f'<div class="charts">{figures}</div>'


def _skipped(skipped: dict[str, str]) -> str:
    lines = [f"{uri}: {reason}" for uri, reason in [*skipped.items()][:_SKIPPED]]
    more = [f"and {len(skipped) - _SKIPPED:,} more"] if len(skipped) > _SKIPPED else []
    return text.listed([*lines, *more])
