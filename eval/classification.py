"""evaluate_head(head, prepared) -> HeadReport: how often a head is right, of which classes, and whether it knows.

A label that training never saw counts as wrong. macro-F1 is the mean over every class that stands in the answers or in
the truth, as scikit-learn takes it; ECE is the mean gap between how sure it was and how often it was right (15 bins).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # figures are computed where torch is not installed
    from retrieval.heads.head import Head
    from retrieval.heads.prepare import PreparedRows

BINS = 15
_DRAWS = 1000  # of the bootstrap
_SHOWN = 30  # classes in the table
MATRIX = 200  # classes of the confusion matrix in JSON: all its counts are written


@dataclass(frozen=True)
class HeadReport:
    """How good a head is. `str()` is the table, `to_json()` one line.

    Attributes:
        task: Of examples.TASKS.
        figures: Name -> value, as fractions: accuracy, macro_f1 and ece of classes; accuracy (every label of a row is
            right), macro_f1 and micro_f1 of several labels; r2, mae and rmse of numbers.
        examples: How many rows.
        interval: (low, high) of 95 %, of the first figure.
        classes: Those that stand in the answers or in the truth, sorted.
        per_class: Name -> precision, recall, f1 and support (rows).
        confusion: int64 (classes, classes), a row for each true one; None but for one label a row.
        unseen: Rows whose label training never saw.
    """

    task: str
    figures: dict[str, float]
    examples: int
    interval: tuple[float, float]
    classes: list[str] = field(default_factory=list)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    confusion: np.ndarray | None = None
    unseen: int = 0

    def to_json(self) -> str:
        """One line. A figure that cannot be had (r2 of numbers that are all equal) is null.

        "confusion" are counts, a row for each true one of "labels", a column for each answer; both only where a row has
        one label. "confusion_without" is how many classes are not in it, where there are more than MATRIX.
        """
        figures = {name: _finite(value) for name, value in self.figures.items()}
        held = {
            **{name: figures[name] for name in list(figures)[:2]}, "examples": self.examples,
            "classes": len(self.classes), "per_class": self.per_class, **figures,
            "interval": [_finite(limit) for limit in self.interval], "unseen": self.unseen,
        }  # fmt: skip
        return json.dumps(held | self._matrix())

    def frequent(self, most: int) -> np.ndarray:
        """The places of the classes that are most frequent in truth, in their order: int64 (at most `most`,)."""
        assert self.confusion is not None  # of every head with one label a row
        return np.sort(np.argsort(-self.confusion.sum(1), kind="stable")[:most])

    def _matrix(self) -> dict[str, Any]:
        if self.confusion is None:
            return {}
        kept = self.frequent(MATRIX)
        labels, counts = [self.classes[i] for i in kept], self.confusion[np.ix_(kept, kept)].tolist()
        without = {"confusion_without": left} if (left := len(self.classes) - len(kept)) else {}
        return {"labels": labels, "confusion": counts, **without}

    def __str__(self) -> str:
        first, *rest = self.figures
        low, high = self.interval
        shown = "{:.1%}".format if self.task != "number" else "{:.3f}".format
        lines = [f"{self.examples} examples" + (f", {len(self.classes)} classes" if self.classes else "")]
        lines.append(f"  {first:<10} {shown(self.figures[first]):>7}  (95 %: {shown(low)} to {shown(high)})")
        lines += [f"  {name:<10} {self.figures[name]:>7.3f}" for name in rest]
        if self.unseen:
            lines.append(f"  {self.unseen} rows have a label that training never saw: counted as wrong")
        return "\n".join(lines + self._classes())

    def _classes(self) -> list[str]:
        ordered = sorted(self.per_class.items(), key=lambda entry: (-entry[1]["support"], entry[0]))
        lines = ["", f"  {'class':<28}{'precision':>9}{'recall':>8}{'f1':>8}{'rows':>7}"] if ordered else []
        for name, of in ordered[:_SHOWN]:
            lines.append(
                f"  {name[:27]:<28}{of['precision']:>9.1%}{of['recall']:>8.1%}{of['f1']:>8.3f}{of['support']:>7}"
            )
        if len(ordered) > _SHOWN:
            lines.append(f"  ... and {len(ordered) - _SHOWN} more: --json has them all")
        return lines


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def evaluate_head(head: "Head", prepared: "PreparedRows") -> HeadReport:
    """What a head says of labelled rows, beside their labels.

    Args:
        head: As `load_head` or `train_head` gives it.
        prepared: Rows that it was not fitted on, from `prepare` with the head's own encoder, column and task.

    Returns:
        How often it is right, of which classes, and whether it knows how sure it may be. `str()` of it is a table.

    Raises:
        BadRequest: A row has nothing of what the head goes by, or vectors of another width.

    Examples:
        >>> head = load_head("heads/article")
        >>> rows = prepare("csv:products.csv?split=test", head.column, head.task, load_encoder(head.encoder))
        >>> evaluate_head(head, rows).figures["accuracy"]
    """
    return head_report(head.task, head.scores(prepared.inputs), prepared.examples.labels, head.names)


def head_report(task: str, scores: np.ndarray, labels: Sequence, names: Sequence[str]) -> HeadReport:
    """The report of scores (n, classes), or (n, 1) for numbers. labels: as in Examples."""
    kinds: dict[str, Callable[[np.ndarray, Sequence, list[str]], HeadReport]] = {
        "single": _single, "multiple": _multiple, "number": _number,
    }  # fmt: skip
    return kinds[task](scores, labels, list(names))


def _single(scores: np.ndarray, labels: Sequence[str], names: list[str]) -> HeadReport:
    answers = [names[i] for i in scores.argmax(1)]
    right = np.array([answer == label for answer, label in zip(answers, labels, strict=True)])
    seen = sorted({*answers, *labels})
    place = {name: number for number, name in enumerate(seen)}
    confusion = np.zeros((len(seen), len(seen)), np.int64)
    np.add.at(confusion, ([place[label] for label in labels], [place[answer] for answer in answers]), 1)
    per_class = _per_class(seen, np.diag(confusion), confusion.sum(0), confusion.sum(1))
    figures = {"accuracy": float(right.mean()), "macro_f1": _macro(per_class), "ece": ece(scores.max(1), right)}
    known = set(names)
    return HeadReport(
        "single", figures, len(labels), interval(right), seen, per_class, confusion,
        sum(label not in known for label in labels),
    )  # fmt: skip


def _multiple(scores: np.ndarray, labels: Sequence[frozenset], names: list[str]) -> HeadReport:
    seen = sorted({*names, *(name for label in labels for name in label)})
    truth = np.array([[name in label for name in seen] for label in labels])
    said = np.zeros_like(truth)
    said[:, [seen.index(name) for name in names]] = scores >= 0.5
    both = (truth & said).sum(0)
    per_class = _per_class(seen, both, said.sum(0), truth.sum(0))
    right = (truth == said).all(1)
    micro = 2 * both.sum() / max(1, said.sum() + truth.sum())
    figures = {"accuracy": float(right.mean()), "macro_f1": _macro(per_class), "micro_f1": float(micro)}
    known = set(names)
    return HeadReport(
        "multiple", figures, len(labels), interval(right), seen, per_class,
        unseen=sum(not label <= known for label in labels),
    )  # fmt: skip


def _number(scores: np.ndarray, labels: Sequence[float], names: list[str]) -> HeadReport:
    truth, said = np.asarray(labels, np.float64), scores[:, 0].astype(np.float64)
    errors = (truth - said) ** 2
    spread = truth.var()
    r2 = 1 - errors.mean() / spread if spread > 0 else float("nan")
    figures = {"r2": float(r2), "mae": float(np.abs(truth - said).mean()), "rmse": float(np.sqrt(errors.mean()))}
    low, high = interval(errors)
    limits = (1 - high / spread, 1 - low / spread) if spread > 0 else (float("nan"),) * 2
    return HeadReport("number", figures, len(labels), limits)


def _per_class(names: list[str], both: np.ndarray, said: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, float]]:
    return {
        name: {
            "precision": float(b / s) if s else 0.0, "recall": float(b / t) if t else 0.0,
            "f1": float(2 * b / (s + t)) if s + t else 0.0, "support": int(t),
        }
        for name, b, s, t in zip(names, both, said, truth, strict=True)
    }  # fmt: skip


def _macro(per_class: dict[str, dict[str, float]]) -> float:
    return float(np.mean([of["f1"] for of in per_class.values()]))


def ece(sure: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: over 15 bins of surety, the gap to the share that was right, weighed by rows."""
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    rows = np.bincount(bins, minlength=BINS)
    gaps = np.abs(np.bincount(bins, sure, BINS) - np.bincount(bins, right.astype(float), BINS))
    return float(gaps[rows > 0].sum() / len(sure))


def interval(values: np.ndarray) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean of values (n,)."""
    drawn = np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))
    low, high = np.percentile(np.asarray(values, float)[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)
