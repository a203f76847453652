"""curves.png: the loss, the recall and what drives them, of a run folder, on one page. Drawn with Pillow."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from retrieval.training import log

WIDTH, HEIGHT = 640, 360  # of one panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 44, 36
_INK, _GREY, _GRID = (30, 30, 30), (120, 120, 120), (228, 228, 228)
_COLOURS = ((31, 119, 180), (214, 96, 30), (44, 140, 60), (140, 86, 160), (160, 120, 40), (200, 60, 130),
            (20, 150, 160), (90, 90, 90))  # fmt: skip

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """A title, lines by name, and a level to compare with, if there is one."""

    title: str
    lines: dict[str, Points]
    level: tuple[str, float] | None = None
    as_percent: bool = False
    from_zero: bool = True
    across: str = "step"  # what is counted from left to right


def draw(run: Path | str) -> Path | None:
    """Draw the curves of a run's log into curves.png; its path, or None where the log has nothing to draw yet."""
    panels = panels_of(log.read(run))
    if not panels:
        return None
    page = page_of(panels)
    file = Path(run) / "curves.png"
    page.save(file.with_suffix(".partial"), "PNG")
    return file.with_suffix(".partial").replace(file)


def page_of(panels: Sequence[Panel]) -> Image.Image:
    """Panels on one page, two beside each other."""
    rows = math.ceil(len(panels) / 2)
    page = Image.new("RGB", (WIDTH * min(2, len(panels)), HEIGHT * rows), "white")
    for number, panel in enumerate(panels):
        page.paste(_drawn(panel), (number % 2 * WIDTH, number // 2 * HEIGHT))
    return page


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
        Panel("loss", {"": _points(lines, "loss")}, (f"chance {chance:.2f}", chance)),
        Panel("recall@10 on --eval", recalls, as_percent=True),
        Panel("learning rate", {"": _points(lines, "lr")}),
        Panel("logit scale", {"": _points(lines, "logit_scale")}, from_zero=False),
    ]
    return [panel for panel in panels if max(map(len, panel.lines.values())) > 1]


def _points(lines: Sequence[dict], name: str) -> Points:
    return [(line["step"], line[name]) for line in lines if name in line and math.isfinite(line[name])]


def _drawn(panel: Panel) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    values = [y for points in panel.lines.values() for _, y in points]
    if panel.level:
        values.append(panel.level[1])
    ticks = nice_ticks(min(0.0, *values) if panel.from_zero else min(values), max(values))
    last = max(x for points in panel.lines.values() for x, _ in points)
    place = _placing(last, ticks[0], ticks[-1])
    pen.text((_LEFT, 12), panel.title, _INK, _font(18))
    _axes(pen, panel, ticks, last, place)
    _lines(pen, panel, place)
    _names(pen, panel)
    return image


def _placing(last: float, low: float, high: float) -> Callable[[float, float], tuple[float, float]]:
    """Where (step, value) is on a panel."""
    wide, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    span = (high - low) or 1.0
    return lambda x, y: (_LEFT + wide * x / (last or 1), HEIGHT - _BOTTOM - tall * (y - low) / span)


def _axes(pen: ImageDraw.ImageDraw, panel: Panel, ticks: list[float], last: float, place: Callable) -> None:
    for tick in ticks:
        x, y = place(0, tick)
        pen.line([(x, y), (WIDTH - _RIGHT, y)], _GRID)
        label = f"{tick:.0%}" if panel.as_percent and ticks[-1] > 0.05 else f"{tick:.4g}"
        pen.text((x - 8, y), label, _GREY, _font(13), anchor="rm")
    for tick in nice_ticks(0, last):
        if tick <= last:
            pen.text((place(tick, 0)[0], HEIGHT - _BOTTOM + 8), f"{tick:g}", _GREY, _font(13), anchor="ma")
    pen.text((WIDTH - _RIGHT, HEIGHT - 6), panel.across, _GREY, _font(12), anchor="rs")
    if panel.level:
        name, value = panel.level
        x, y = place(0, value)
        for dash in range(int(x), WIDTH - _RIGHT, 10):
            pen.line([(dash, y), (dash + 5, y)], _GREY)
        pen.text((WIDTH - _RIGHT, y - 3), name, _GREY, _font(13), anchor="rd")


def _lines(pen: ImageDraw.ImageDraw, panel: Panel, place: Callable) -> None:
    for points, colour in zip(panel.lines.values(), _COLOURS, strict=False):
        path = [place(x, y) for x, y in points]
        pen.line(path, colour, 2, joint="curve")
        if len(path) <= 30:
            for x, y in path:
                pen.ellipse([(x - 3, y - 3), (x + 3, y + 3)], colour)


def _names(pen: ImageDraw.ImageDraw, panel: Panel) -> None:
    """Beside the title where there is room, else below each other in the lower left corner."""
    named = [(name, colour) for name, colour in zip(panel.lines, _COLOURS, strict=False) if name]
    wide = sum(pen.textlength(name, _font(14)) + 16 for name, _ in named)
    beside, at = wide <= WIDTH - _LEFT - _RIGHT - pen.textlength(panel.title, _font(18)), WIDTH - _RIGHT
    for number, (name, colour) in enumerate(named):
        if beside:
            pen.text((at, 14), name, colour, _font(14), anchor="ra")
            at -= pen.textlength(name, _font(14)) + 16
        else:
            low = HEIGHT - _BOTTOM - 4 - 16 * (len(named) - 1 - number)
            pen.text((_LEFT + 8, low), name, colour, _font(14), anchor="ld")


def nice_ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers from at or below `low` to at or above `high`."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= 6)
    first, count = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, max(count, first + 1) + 1)]


def _font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size)
