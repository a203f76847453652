"""Is A better than B? The same queries asked of both, differences with intervals, and McNemar's test.

An interval is a bootstrap over pictures of the difference, so what both find easy or hard cancels out. They are of one
comparison each: with many encoders, some difference is sure by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval import intervals
from eval.measuring import DIRECTIONS, Measured
from eval.tables import Table
from retrieval.errors import BadRequest

SHORT = {"text_to_image": "t2i", "image_to_text": "i2t"}
SHOWN = ("hit@1", "hit@5", "hit@10", "mrr")


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one encoder is than another in a metric, as fractions.

    Attributes:
        encoder: Which is better, if `value` is above 0.
        beside: Than which.
        direction: Of DIRECTIONS.
        metric: Of SHOWN.
        value: encoder's less beside's.
        low: Of its interval of 95 %.
        high: And the other bound.
        mcnemar: p of McNemar's test, of hit@k; else None.
    """

    encoder: str
    beside: str
    direction: str
    metric: str
    value: float
    low: float
    high: float
    mcnemar: float | None

    @property
    def is_sure(self) -> bool:
        """Zero is not within the interval."""
        return self.low > 0 or self.high < 0


def require_same(measured: Sequence[Measured]) -> None:
    """Raise BadRequest where two encoders were not asked the same, or two have one name."""
    first = measured[0]
    for other in measured[1:]:
        if [item.id for item in other.items] != [item.id for item in first.items]:
            raise BadRequest(
                f"{other.encoder} and {first.encoder} could not read the same pictures: compare them again"
            )
    names = [one.encoder for one in measured]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadRequest(f"{min(twice)} is named twice: name each encoder once")


def differences(one: Measured, beside: Measured) -> list[Difference]:
    """Of two encoders, both directions, each metric of SHOWN."""
    return [
        _difference(one, beside, direction, metric, low, high)
        for direction in DIRECTIONS
        for metric, low, high in zip(SHOWN, *_bounds(one, beside, direction), strict=True)
    ]


def _bounds(one: Measured, beside: Measured, direction: str) -> tuple[np.ndarray, np.ndarray]:
    apart = np.stack([one.each[direction][name] - beside.each[direction][name] for name in SHOWN], 1)
    return intervals.confidence(apart, one.owners(direction))


def _difference(
    one: Measured, beside: Measured, direction: str, metric: str, low: float, high: float
) -> Difference:  # fmt: skip
    mine, other = one.each[direction][metric], beside.each[direction][metric]
    tested = intervals.mcnemar(mine > 0, other > 0) if metric.startswith("hit@") else None
    value = float(mine.mean() - other.mean())
    return Difference(one.encoder, beside.encoder, direction, metric, value, float(low), float(high), tested)


def table(measured: Sequence[Measured]) -> Table:
    """A row an encoder; * where it is the best and surely so, beside each of the others."""
    header = ["", *(f"{SHORT[direction]} {metric}" for direction in DIRECTIONS for metric in SHOWN), "rSum"]
    best = {(direction, metric): _best(measured, direction, metric) for direction in DIRECTIONS for metric in SHOWN}
    rows = []
    for number, one in enumerate(measured):
        means = {at: float(one.each[at[0]][at[1]].mean()) for at in best}
        cells = [_cell(metric, value) + ("*" if best[direction, metric] == number else " ")
                 for (direction, metric), value in means.items()]  # fmt: skip
        total = sum(100 * value for (_, metric), value in means.items() if metric.startswith("hit@"))
        rows.append([one.encoder, *cells, f"{total:.1f}"])
    pictures, captions = len(measured[0].images), len(measured[0].texts)
    title = f"{pictures} pictures, {captions} captions; * is the best, surely (95 %, pictures drawn again and again)"
    return Table(title, header, rows)


def _cell(metric: str, value: float) -> str:
    return f"{value:.1%}" if metric.startswith("hit@") else f"{value:.3f}"


def _best(measured: Sequence[Measured], direction: str, metric: str) -> int | None:
    """The number of the best one; None where it is not surely better than each of the others."""
    each = [one.each[direction][metric] for one in measured]
    best = int(np.argmax([values.mean() for values in each]))
    apart = np.stack([each[best] - values for number, values in enumerate(each) if number != best], 1)
    low, _ = intervals.confidence(apart, measured[0].owners(direction))
    return best if (low > 0).all() else None


def difference_table(found: Sequence[Difference]) -> Table:
    """A row a difference."""
    rows = [
        [
            one.encoder, SHORT[one.direction], one.metric, f"{100 * one.value:+.1f}",
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}", "" if one.mcnemar is None else f"{one.mcnemar:.1e}",
            "yes" if one.is_sure else "no",
        ]
        for one in found
    ]  # fmt: skip
    header = ["", "", "", "points", "95 %", "McNemar p", "sure"]
    return Table(f"how much better than {found[0].beside}", header, rows)
