"""The figures of every encoder in one table, a column each."""

from collections.abc import Sequence

from eval.measuring import DIRECTIONS
from eval.metrics import HITS
from eval.report import TITLES, Report
from eval.tables import Table


def table(names: Sequence[str], reports: Sequence[Report]) -> Table:
    """Pictures and captions; hits with their intervals, MRR, MAP and the median place, both ways; rSum."""
    rows: list[list[str]] = [
        ["pictures", *(f"{one.items:,}" for one in reports)], ["captions", *(f"{one.queries:,}" for one in reports)],
        ["rSum, of 600", *(f"{one.r_sum:.1f}" for one in reports)],
    ]  # fmt: skip
    for direction in DIRECTIONS:
        way = TITLES[direction]
        values: list[dict[str, float]] = [getattr(report, direction) for report in reports]
        rows += [[f"{way}: {name}", *(_sure(report, direction, name) for report in reports)] for name in HITS]
        rows.append([f"{way}: MRR", *(f"{one['mrr']:.3f}" for one in values)])
        if direction == "image_to_text":  # of a caption, which has one picture, it is the MRR
            rows.append([f"{way}: MAP", *(f"{one['map']:.3f}" for one in values)])
        rows.append([f"{way}: median place", *(f"{one['median_rank']:g}" for one in values)])
    return Table("Figures", ["", *names], rows, ["In brackets: 95 % intervals, drawn over whole pictures."])


def _sure(report: Report, direction: str, name: str) -> str:
    low, high = report.intervals[direction][name]
    return f"{getattr(report, direction)[name]:.1%} ({low:.1%} to {high:.1%})"
