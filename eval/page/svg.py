"""Charts as inline SVG: lines, areas and bars between two axes. Colours are classes, which the page's style defines."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 380, 236  # units of a chart, about as many pixels on a telephone
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 16, 10, 36
_NAMES = 12  # below the bars, before only every other one is written
_COLOURS = 6  # classes s0 to s5; more series are dashed


@dataclass(frozen=True)
class Axis:
    """From low to high, on a logarithmic scale where said. ticks: (value, what is written there)."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    label: str = ""
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        low, high, at = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return (at - low) / (high - low) if high > low else 0.5


@dataclass(frozen=True)
class Series:
    """Points (x, y) under a name.

    look: a class of the style. shape: "line", "area" down to the axis, or "dots". sizes: the radius of each dot.
    """

    name: str
    points: Sequence[tuple[float, float]]
    look: str
    shape: str = "line"
    sizes: Sequence[float] = ()


def look(number: int) -> str:
    """The classes of the n-th of several series."""
    return f"s{number % _COLOURS}" + (" dashed" if number >= _COLOURS else "")


def percent(high: float) -> Axis:
    """An axis of shares from 0 to at least `high`, with about five ticks."""
    step = next(one for one in (0.01, 0.02, 0.05, 0.1, 0.2) if high <= one * 5 or one == 0.2)
    count = max(1, math.ceil(round(min(1.0, high) / step, 9)))
    return Axis(0, count * step, [(n * step, f"{n * step:.0%}") for n in range(count + 1)])


def chart(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Series between two axes. title: what it shows, in words, for who cannot see it."""
    return _whole(title, x, y, "".join(_drawn(one, x, y) for one in series))


def bars(title: str, names: Sequence[str], label: str, y: Axis, groups: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A group of bars for each name. groups: (the look, a value for each name) of each series."""
    step = 1 + len(names) // _NAMES
    x = Axis(0, len(names), [(at + 0.5, name) for at, name in enumerate(names) if at % step == 0], label)
    across, up = _across(x), _up(y)
    width = 0.8 / max(1, len(groups))
    drawn = [
        f'<rect class="fill {kind}" x="{across(at + 0.1 + width * number):.1f}" y="{up(value):.1f}" '
        f'width="{max(1.0, across(width) - across(0) - 1):.1f}" height="{up(0) - up(value):.1f}"/>'
        for number, (kind, values) in enumerate(groups)
        for at, value in enumerate(values)
        if value > 0
    ]
    return _whole(title, x, y, "".join(drawn))


def swatch(kind: str, shape: str = "line") -> str:
    """A short line, or a square, of a series' look, for the legend."""
    inside = {
        "line": f'<path class="stroke {kind}" d="M0 6H22"/>',
        "dots": f'<circle class="fill {kind}" cx="11" cy="6" r="4"/>',
    }.get(shape, f'<rect class="fill {kind} {shape}" x="4" y="0" width="12" height="12"/>')  # fmt: skip
    return f'<svg class="swatch" viewBox="0 0 22 12" aria-hidden="true">{inside}</svg>'


def _across(x: Axis) -> Callable[[float], float]:
    return lambda value: _LEFT + x.place(value) * (WIDTH - _LEFT - _RIGHT)


def _up(y: Axis) -> Callable[[float], float]:
    return lambda value: HEIGHT - _BOTTOM - y.place(value) * (HEIGHT - _TOP - _BOTTOM)


def _drawn(series: Series, x: Axis, y: Axis) -> str:
    across, up = _across(x), _up(y)
    places = [(across(one), up(other)) for one, other in series.points]
    if series.shape == "dots":
        return "".join(
            f'<circle class="fill {series.look}" cx="{a:.1f}" cy="{b:.1f}" r="{size:.1f}"/>'
            for (a, b), size in zip(places, series.sizes, strict=True)
        )
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places) if places else ""
    if series.shape == "line" or not places:
        return f'<path class="stroke {series.look}" d="{path}"/>'
    closed = f"{path}L{places[-1][0]:.1f} {up(y.low):.1f}L{places[0][0]:.1f} {up(y.low):.1f}Z"
    return f'<path class="fill area {series.look}" d="{closed}"/><path class="stroke {series.look}" d="{path}"/>'


def _whole(title: str, x: Axis, y: Axis, inside: str) -> str:
    across, up = _across(x), _up(y)
    low, left, right = HEIGHT - _BOTTOM, _LEFT, WIDTH - _RIGHT
    grid = [f'<path class="grid" d="M{left} {up(at):.1f}H{right}"/>' for at, _ in y.ticks]
    written = [_text(left - 5, up(at) + 4, name, "end") for at, name in y.ticks]
    written += [_text(across(at), low + 15, name) for at, name in x.ticks]
    written.append(_text((left + right) / 2, HEIGHT - 4, x.label))
    told = html.escape(title)
    return (
        f'<svg class="chart" role="img" aria-label="{told}" viewBox="0 0 {WIDTH} {HEIGHT}"><title>{told}</title>'
        f'{"".join((*grid, inside))}<path class="axis" d="M{left} {low}H{right}"/>{"".join(written)}</svg>'
    )


def _text(across: float, down: float, said: str, anchor: str = "middle") -> str:
    return f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}">{html.escape(said)}</text>'
