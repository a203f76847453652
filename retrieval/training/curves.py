"""curves.png: the loss, the recall and what drives them, of a run folder, on one page.

Drawn with matplotlib, which is an extra (plots): without it there is no picture. Nothing of
pyplot's global state is used, so that a program that draws pictures of its own is not disturbed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from indexes import distribution
from retrieval import cache
from retrieval.training import log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MISSING = f"curves.png needs matplotlib: {distribution.install('plots')}"
_WIDTH, _HEIGHT, _DPI = 6.4, 3.6, 150  # inches of one panel, pixels an inch
_FEW = 30  # points of a line that are shown each
_INK, _GRAY, _GRID = "#1e1e1e", "#707070", "#e4e4e4"

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart of a page.

    title: above it. lines: points by name; a single line may have the name "". level: a name and a value to compare
    with. as_percent: values are shares. from_zero: the axis of values begins at 0, or below where values do. across:
    what is counted from left to right. up: what the values are.
    """

    title: str
    lines: dict[str, Points]
    level: tuple[str, float] | None = None
    as_percent: bool = False
    from_zero: bool = True
    across: str = "step"
    up: str = ""


def can_draw() -> bool:
    """Is matplotlib installed?"""
    return find_spec("matplotlib") is not None


def draw(run: Path | str) -> Path | None:
    """Draw the curves of a run's log into curves.png; its path.

    None where the log has nothing to draw yet, and where matplotlib is not installed.
    """
    panels = panels_of(log.read(run)) if can_draw() else []
    if not panels:
        return None
    beside = Path(run) / "curves.partial"
    figure_of(panels).savefig(beside, format="png")
    return beside.replace(Path(run) / "curves.png")


def panels_of(lines: Sequence[dict]) -> list[Panel]:
    """What there is to draw of a log's lines: loss, recall@10, rate, scale. Panels without two points are left out."""
    recalls = {
        way.replace("_", "-"): [
            (line["step"], line["metrics"][f"{way}_recall@10"]) for line in lines
            if math.isfinite(line.get("metrics", {}).get(f"{way}_recall@10", math.nan))
        ] for way in ("text_to_image", "image_to_text")
    }  # fmt: skip
    chance = lines[-1]["chance"] if lines else 0.0
    panels = [
        Panel("Loss", {"training": _points(lines, "loss")}, (f"chance, {chance:.2f}", chance), up="loss"),
        Panel("Recall@10 on --eval", recalls, as_percent=True, up="recall@10"),
        Panel("Learning rate", {"": _points(lines, "lr")}, up="rate"),
        Panel("Logit scale", {"": _points(lines, "logit_scale")}, from_zero=False, up="scale"),
    ]
    return [panel for panel in panels if max(map(len, panel.lines.values())) > 1]


def _points(lines: Sequence[dict], name: str) -> Points:
    return [(line["step"], line[name]) for line in lines if name in line and math.isfinite(line[name])]


# ---------------------------------------------------------------- the page


def figure_of(panels: Sequence[Panel]) -> "Figure":
    """Panels on one page, two beside each other; `savefig` writes it."""
    cache.keep_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns, rows = min(2, len(panels)), math.ceil(len(panels) / 2)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    last = max((x for panel in panels for points in panel.lines.values() for x, _ in points), default=1)
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, place)
        _draw_panel(axes, panel)
        axes.set_xlim(0, 1.02 * last)  # the same for all, so that what is below each other is of one step
    return figure


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    for name, points in panel.lines.items():
        xs, ys = zip(*points, strict=True) if points else ((), ())
        axes.plot(xs, ys, label=name, linewidth=1.6, marker="o" if len(points) <= _FEW else "", markersize=3.5)
    if panel.level:
        name, value = panel.level
        axes.axhline(value, label=name, color=_GRAY, linewidth=1.2, linestyle="--")
    _scale(axes, panel)
    axes.set_title(panel.title, loc="left", color=_INK, fontsize=12, pad=10)
    axes.set_xlabel(panel.across, color=_GRAY)
    axes.set_ylabel(panel.up, color=_GRAY)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_GRAY)
    if any(panel.lines) or panel.level:
        axes.legend(frameon=False, fontsize=9)


def _scale(axes: "Axes", panel: Panel) -> None:
    """Where the axes begin and how their numbers are written."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.margins(y=0.1)
    if panel.from_zero and all(y >= 0 for points in panel.lines.values() for _, y in points):
        axes.set_ylim(bottom=0)
    if panel.as_percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
