"""Does a cosine say what people say? Kendall's tau and Spearman's rho with their scores, accuracy on their choices.

As CLIPScore (Hessel et al. 2021) does it: several people's scores of a picture with a caption are that many examples,
and tau-c is what it reports for Flickr8k-Expert; tau-b for Flickr8k-CF.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval import intervals
from eval.measuring import Measured
from retrieval.datatypes import Pair
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest

OTHER = "caption_b"  # the column of the other caption, where a row says which of two is better
FIRST, SECOND = frozenset("a A first".split()), frozenset("b B second".split())
BLOCK = 4096  # examples that are compared with all others at once


@dataclass(frozen=True)
class Agreement:
    """How an encoder agrees with people. `str()` is lines for a person.

    Attributes:
        encoder: Its name.
        examples: Scores, or choices, that it was compared with.
        figures: tau_b, tau_c and spearman, -1 to 1; or accuracy, 0 to 1.
        intervals: Figure -> (low, high) of 95 %, pictures drawn again and again; of accuracy alone.
        left_out: Judgements that are no numbers, or outside the scale.
        notes: What is to be said of them.
    """

    encoder: str
    examples: int
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    left_out: int = 0
    notes: Sequence[str] = ()

    def to_json(self) -> str:
        """One line."""
        return json.dumps(
            {"encoder": self.encoder, "examples": self.examples,
             **{name: value if np.isfinite(value) else None for name, value in self.figures.items()},
             "intervals": self.intervals,
             "left_out": self.left_out, "notes": list(self.notes)}
        )  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.examples} judgements, encoder {self.encoder}"]
        for name, value in self.figures.items():
            sure = (
                "  (95 %: {:.1%} to {:.1%}; chance 50.0%)".format(*self.intervals[name])
                if name in self.intervals
                else ""
            )
            lines.append(f"  {name:<10} {f'{value:6.1%}' if name == 'accuracy' else f'{value:+7.4f}'}{sure}")
        return "\n".join([*lines, *self.notes])


def agreement(
    measured: Measured, encoder: Encoder, column: str, scale: tuple[float, float] | None = None
) -> Agreement:  # fmt: skip
    """Compare cosines with a column of the pairs' source.

    Args:
        measured: The encoder on these pairs.
        encoder: The same, for the other captions of choices.
        column: Scores: a number, or several of different people, as "1;2;2"; or which of `caption` and `caption_b` is
            better: a or b.
        scale: The least and the greatest score there is; what lies outside is left out, and told.

    Raises:
        BadRequest: No row has that column, nothing in it can be used, or there is no other caption.
    """
    require(measured.pairs, column)
    said = [pair.meta.get(column) for pair in measured.pairs]
    cosine = np.einsum("qd,qd->q", measured.texts, measured.images[measured.owner]).astype(np.float64)
    values = {str(value).strip() for value in said if value is not None}
    if values <= FIRST | SECOND and any(OTHER in pair.meta for pair in measured.pairs):
        return _choices(measured, encoder, said, cosine)
    if values <= {"a", "b", "A", "B"}:
        raise BadRequest(f"{column} says which of two captions is better: give the other one in a column {OTHER}")
    return _scores(measured, said, cosine, column, scale)


def require(pairs: Sequence[Pair], column: str) -> None:
    """Raise BadRequest where no row has that column."""
    if any(pair.meta.get(column) is not None for pair in pairs):
        return
    fields = sorted({name for pair in pairs for name in pair.meta})
    others = f"give --judgements {' or '.join(fields[:8])}" if fields else "there are none beside pictures and captions"
    raise BadRequest(f"no row has {column}: {others}")


def _scores(
    measured: Measured, said: Sequence[Any], cosine: np.ndarray, column: str, scale: tuple[float, float] | None
) -> Agreement:  # fmt: skip
    low, high = scale or (-np.inf, np.inf)
    rows, numbers, strange = [], [], []
    for row, value in enumerate(said):
        for text in _several(value):
            number = _number(text)
            if number is None or not low <= number <= high:
                strange.append(str(text))
                continue
            rows.append(row)
            numbers.append(number)
    if len(set(numbers)) < 2:
        raise BadRequest(f"{column} has fewer than two different scores within its scale: there is nothing to rank by")
    notes = []
    if strange:
        outside = f" outside {low:g} to {high:g}" if scale else " that are no numbers"
        notes.append(f"{len(strange)} judgements{outside} were left out, as {', '.join(sorted(set(strange))[:3])}")
    mine, theirs = cosine[rows], np.array(numbers)
    if lost := int((~np.isfinite(mine)).sum()):
        notes.append(f"cosines that are no numbers, and are left out: {lost}")
        mine, theirs = mine[np.isfinite(mine)], theirs[np.isfinite(mine)]
    if len(np.unique(mine)) < 2:
        notes.append("all cosines are equal: there is nothing to rank by")
    figures = {**kendall(mine, theirs), "spearman": spearman(mine, theirs)}
    return Agreement(measured.encoder, len(rows), figures, {}, len(strange), notes)


def _choices(measured: Measured, encoder: Encoder, said: Sequence[Any], cosine: np.ndarray) -> Agreement:
    rows = [row for row, value in enumerate(said) if value is not None and measured.pairs[row].meta.get(OTHER)]
    if not rows:
        raise BadRequest(f"no row has both a choice and {OTHER}: write a or b, and the other caption beside")
    others = encoder.encode_texts([str(measured.pairs[row].meta[OTHER]) for row in rows])
    against = np.einsum("qd,qd->q", others, measured.images[measured.owner[rows]])
    first = np.array([str(said[row]).strip() in FIRST for row in rows])
    right = np.where(first, cosine[rows] > against, cosine[rows] < against).astype(np.float64)  # a tie is no answer
    (low,), (high,) = intervals.confidence(right[:, None], measured.owner[rows])
    missing = len(said) - len(rows)
    notes = [f"{missing} rows without a choice, or without {OTHER}, were left out"] if missing else []
    bounds = {"accuracy": (float(low), float(high))}
    return Agreement(measured.encoder, len(rows), {"accuracy": float(right.mean())}, bounds, missing, notes)


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return list(value)
    return [part for part in re.split(r"[;|,\s]+", value.strip("[]() ")) if part] if isinstance(value, str) else [value]


def _number(text: Any) -> float | None:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


# ---------------------------------------------------------------- rank correlation


def kendall(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """tau_b and tau_c of two float64 (n,).

    P pairs go the same way in both and Q go opposite ways. tau-b = (P - Q) / sqrt((P + Q + ties of one) (P + Q + ties
    of the other)) (Kendall 1945); tau-c = 2 (P - Q) / (n^2 (m - 1) / m), m the lesser number of different values
    (Stuart 1953).
    """
    count, agree, untied, untied_other = len(one), 0, 0, 0
    for start in range(0, count, BLOCK):
        part = slice(start, start + BLOCK)
        first, second = _signs(one[part], one), _signs(other[part], other)
        agree += int(np.einsum("ij,ij->", first, second, dtype=np.int64))
        untied += int(np.count_nonzero(first))
        untied_other += int(np.count_nonzero(second))
    fewest = min(len(np.unique(one)), len(np.unique(other)))
    if fewest < 2:
        return {"tau_b": float("nan"), "tau_c": float("nan")}
    return {
        "tau_b": agree / np.sqrt(untied) / np.sqrt(untied_other),
        "tau_c": agree / (count**2 * (fewest - 1) / fewest),
    }


def _signs(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """int8: 1 where a row's value is the greater, -1 where it is the less."""
    return (rows[:, None] > columns).astype(np.int8) - (rows[:, None] < columns).astype(np.int8)


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of the ranks, where equal values share their mean rank."""
    if min(len(np.unique(one)), len(np.unique(other))) < 2:
        return float("nan")
    return float(np.corrcoef(_shared_ranks(one), _shared_ranks(other))[0, 1])


def _shared_ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]
