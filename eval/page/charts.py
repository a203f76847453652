"""The charts of a page, each with its numbers: hits, places, cosines of right and wrong pairs, calibration."""

import math
from collections.abc import Sequence

import numpy as np

from eval import classification, metrics
from eval.measuring import DIRECTIONS, Measured
from eval.page import svg, text
from eval.page.svg import Axis, Series
from eval.report import TITLES
from eval.separation import Calibration, Scores
from eval.tables import Table

KS = 100  # hit@k is drawn for k up to this
_SAID = (1, 2, 5, 10, 20, 50, 100)  # the k of the numbers
_BINS = 40  # of cosines


def curve(measured: Measured, direction: str, most: int = KS) -> np.ndarray:
    """hit@k for k = 1 to `most`, or to as many items as there are: float64."""
    places = metrics.Places(measured.rankings[direction]).first
    most = min(most, measured.rankings[direction].items)
    return np.cumsum(np.bincount(places, minlength=most + 1)[1 : most + 1]) / len(places)


def chance(measured: Measured, direction: str, most: int = KS) -> list[float]:
    """The same of a random order, as a report says it."""
    found = measured.rankings[direction]
    return [metrics.chance_of(found, k) for k in range(1, min(most, found.items) + 1)]


def place_bins(items: int) -> list[tuple[int, int]]:
    """Bins of places, (first, last) each, that grow as 1, 2, 5, 10, ... do, until all items are in one."""
    lasts, bins = [1], []
    while lasts[-1] < items:
        power = 10 ** (len(lasts) // 3)
        lasts.append((1, 2, 5)[len(lasts) % 3] * power)
    for number, last in enumerate(lasts):
        bins.append((lasts[number - 1] + 1 if number else 1, min(last, items)))
    return bins


def place_shares(measured: Measured, direction: str, bins: Sequence[tuple[int, int]]) -> np.ndarray:
    """The share of queries whose right answer stands in each of the bins (`place_bins`): float64."""
    places = metrics.Places(measured.rankings[direction]).first
    lasts = [last for _, last in bins]
    return np.bincount(np.searchsorted(lasts, places), minlength=len(lasts)) / len(places)


def _title(direction: str) -> str:
    return TITLES[direction][:1].upper() + TITLES[direction][1:]


def hits(names: Sequence[str], all_measured: Sequence[Measured]) -> str:
    """Two figures: hit@k of every encoder in each direction, above chance."""
    return "".join(_hits(names, all_measured, direction) for direction in DIRECTIONS)


def _hits(names: Sequence[str], all_measured: Sequence[Measured], direction: str) -> str:
    values = [curve(one, direction) for one in all_measured]
    by_chance = chance(all_measured[0], direction)
    series = [
        Series(name, _counted(value), svg.look(number))
        for number, (name, value) in enumerate(zip(names, values, strict=True))
    ] + [Series("chance", _counted(by_chance), "chance")]
    longest = max(len(value) for value in values)
    x = Axis(1, max(2, longest), [(k, str(k)) for k in _SAID if k <= longest], "k (logarithmic)", log=True)
    said = [k for k in _SAID if k <= min(len(by_chance), *(len(value) for value in values))]
    rows: list[list[str]] = [[one.name, *(f"{one.points[k - 1][1]:.1%}" for k in said)] for one in series]
    told = f"{_title(direction)}: hit@k, the share of queries with a right answer among the first k"
    drawn = svg.chart(f"{told}. {_ends(rows, said)}", x, svg.percent(1), series)
    return _figure(told, drawn, series, Table(told, ["encoder", *(f"hit@{k}" for k in said)], rows))


def _ends(rows: Sequence[Sequence[str]], said: Sequence[int]) -> str:
    """The first and the last number of each series in words."""
    return "; ".join(f"{row[0]}: {row[1]} at {said[0]}, {row[-1]} at {said[-1]}" for row in rows)


def places(names: Sequence[str], all_measured: Sequence[Measured]) -> str:
    """Two figures: where the right answers stand, in bins that grow."""
    return "".join(_places(names, all_measured, direction) for direction in DIRECTIONS)


def _places(names: Sequence[str], all_measured: Sequence[Measured], direction: str) -> str:
    bins = place_bins(max(one.rankings[direction].items for one in all_measured))
    shares = [place_shares(one, direction, bins) for one in all_measured]
    told = f"{_title(direction)}: the place of the first right answer, as a share of queries"
    groups = [(svg.look(number), share.tolist()) for number, share in enumerate(shares)]
    top = svg.percent(float(max(share.max() for share in shares)))
    drawn = svg.bars(told, [_short(last) for _, last in bins], "place, up to", top, groups)
    series = [Series(name, (), kind, "bar") for name, (kind, _) in zip(names, groups, strict=True)]
    rows = [[name, *(f"{value:.1%}" for value in share)] for name, share in zip(names, shares, strict=True)]
    return _figure(told, drawn, series, Table(told, ["encoder", *(f"{low} to {high}" for low, high in bins)], rows))


def cosines(found: Scores) -> str:
    """A figure: how the cosines of right and of wrong pairs are spread, and how far apart they are."""
    if not len(found.right) or not len(found.wrong):
        return ""
    both = np.concatenate([found.right, found.wrong])
    edges = np.linspace(float(both.min()), float(both.max()) or 1e-6, _BINS + 1)
    edges = edges if edges[-1] > edges[0] else np.linspace(edges[0] - 0.01, edges[0] + 0.01, _BINS + 1)
    series = [
        Series(name, _steps(edges, np.histogram(values, edges)[0] / len(values)), kind, "area")
        for name, values, kind in (("wrong pairs", found.wrong, "wrong"), ("right pairs", found.right, "right"))
    ]
    told = (
        "Cosines of right and wrong pairs, as shares of each kind. A right pair has the greater one in "
        f"{found.auc:.1%} of cases (AUC; 50 % would be chance)"
    )
    low, high = float(edges[0]), float(edges[-1])
    x = Axis(low, high, [(at, f"{at:.2f}") for at in np.linspace(low, high, 5).tolist()], "cosine")
    top = svg.percent(max(y for one in series for _, y in one.points))
    at = (5, 25, 50, 75, 95)
    rows: list[list[str]] = [
        [name, f"{len(values):,}", *(f"{one:.3f}" for one in np.percentile(values, at))]
        for name, values in (("right pairs", found.right), ("wrong pairs", found.wrong))
    ]
    numbers = Table("Cosines", ["", "pairs", *(f"{one} %" for one in at)], rows, ["The cosine that so many are below."])
    return _figure(told, svg.chart(told, x, top, series), series, numbers)


def reliability(found: Calibration) -> list[tuple[float, float, int]]:
    """(mean surety, share that was right, how many) of each bin of surety that has any."""
    at = np.minimum((found.sure * classification.BINS).astype(int), classification.BINS - 1)
    return [
        (float(found.sure[at == one].mean()), float(found.right[at == one].mean()), int((at == one).sum()))
        for one in np.unique(at)
    ]


def calibration(found: Calibration | None) -> str:
    """A figure: how sure the first answer was against how often it was right."""
    if found is None:
        return '<p class="quiet">Calibration is not drawn: there are too few captions, or too many pictures.</p>'
    bins = reliability(found)
    points = [(sure, right) for sure, right, _ in bins]
    sizes = [2 + 5 * math.sqrt(count / len(found.sure)) for _, _, count in bins]
    series = [
        Series("as sure as right", [(0, 0), (1, 1)], "chance"), Series("", points, "s0"),
        Series("first answers, in bins of surety; larger where there are more", points, "s0", "dots", sizes),
    ]  # fmt: skip
    how = "fitted on half of the pictures and judged on the others" if found.fitted else "the encoder's own scale"
    told = (
        f"How sure the first answer is, and how often it is right: {len(found.sure):,} captions, mean gap (ECE) "
        f"{found.ece:.1%}. Surety is the softmax over all pictures of the cosine times {found.scale:.1f}, {how}"
    )
    x = Axis(0, 1, svg.percent(1).ticks, "probability of the first answer")
    rows: list[list[str]] = [[f"{sure:.1%}", f"{right:.1%}", f"{count:,}"] for sure, right, count in bins]
    numbers = Table("Calibration", ["sure", "right", "captions"], rows)
    return _figure(told, svg.chart(told, x, svg.percent(1), series), [series[0], series[2]], numbers)


def _short(count: int) -> str:
    """A number in few letters: 5k, 2M."""
    for power, letter in ((10**6, "M"), (10**3, "k")):
        if count >= power:
            return f"{count / power:.3g}{letter}"
    return str(count)


def _counted(values: Sequence[float] | np.ndarray) -> list[tuple[float, float]]:
    return [(number, float(value)) for number, value in enumerate(values, 1)]


def _steps(edges: np.ndarray, heights: np.ndarray) -> list[tuple[float, float]]:
    """The outline of a histogram."""
    return [(float(at), float(y)) for side, y in enumerate(heights) for at in edges[side : side + 2]]


def _figure(told: str, drawn: str, series: Sequence[Series], numbers: Table) -> str:
    legend = "".join(f"<li>{svg.swatch(one.look, one.shape)} {text.words(one.name)}</li>" for one in series)
    return (
        f'<figure class="drawn"><figcaption>{text.words(told)}</figcaption>{drawn}<ul class="legend">{legend}</ul>'
        f"{text.folded('The numbers', text.table(numbers))}</figure>"
    )
