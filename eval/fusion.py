"""compare(): every fusion beside each modality alone, on the same rows, over several seeds.

A seed decides what is held out (unless test rows are given), where weights start and the order of the rows. What is
compared is measured on rows that no fit and no choice has seen.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval import classification
from retrieval.encoders.protocol import Encoder
from retrieval.heads import examples
from retrieval.heads.config import HeadConfig
from retrieval.heads.fusions import FUSIONS
from retrieval.heads.head import Head
from retrieval.heads.prepare import PreparedRows, train_head

HELD_OUT = 0.2  # of the rows, where no test rows are given


@dataclass(frozen=True)
class Line:
    """One fusion. values: its figure by seed. figure: their mean. interval: 95 %, drawing rows. alone: one modality.

    gain: over the better modality alone, with an interval of its own (the same rows are drawn for both).
    """

    name: str
    figure: float
    values: list[float]
    interval: tuple[float, float]
    alone: bool
    gain: float = 0.0
    gain_interval: tuple[float, float] = (0.0, 0.0)
    macro_f1: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Lines, the modalities alone first. `str()` is the table, `to_json()` one line a fusion."""

    label: str
    metric: str
    examples: int
    seeds: int
    lines: list[Line]

    def to_json(self) -> str:
        """JSON lines: an object a fusion."""
        return "\n".join(json.dumps({"label": self.label, "metric": self.metric, **dataclasses.asdict(line)})
                         for line in self.lines)  # fmt: skip

    def __str__(self) -> str:
        head = f"{self.label}: {self.metric}, {self.examples} held-out rows, mean of {self.seeds} seeds"
        lines = [head, f"  {'':<16}{self.metric:>9}  {'95 %':<18}over the better one alone"]
        for line in self.lines:
            low, high = line.interval
            text = f"  {line.name:<16}{line.figure:>9.1%}  {f'{low:.1%} to {high:.1%}':<18}"
            if not line.alone:
                low, high = line.gain_interval
                text += f"{100 * line.gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
            lines.append(text.rstrip())
        return "\n".join(lines)


def compare(
    prepared: PreparedRows, test: PreparedRows | None, encoder: Encoder, names: Sequence[str], config: HeadConfig,
    seeds: int = 3, on_fit: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Comparison:  # fmt: skip
    """Fit every one of `names` for every seed, and measure it on rows that no fit and no choice has seen.

    Args:
        prepared: Labelled rows to learn from, as `prepare` gives them.
        test: The rows to measure on; None holds out a stratified share of `prepared`, another one for each seed.
        encoder: The one that `prepared` comes from.
        names: Modalities and fusions (FUSIONS); empty is every modality that some row has, and every fusion.
        config: What all of them share; its `fusion` is replaced by each name, its `seed` counted up.
        seeds: How often each is fitted.
        on_fit: Called with (done, total, name) before each fit.

    Returns:
        A line for each name: its figure with a 95 % interval, and what it gains over the better modality alone.

    Raises:
        BadRequest: A name is no modality and no fusion, or there is nothing to tell apart.

    Examples:
        >>> print(compare(rows, None, encoder, ["image", "text", "concat"], HeadConfig(), seeds=5))
    """
    names = list(names) or [*prepared.inputs.there().dims, *FUSIONS]
    merits: dict[str, list[np.ndarray]] = {name: [] for name in names}
    figures: dict[str, list[classification.HeadReport]] = {name: [] for name in names}
    for seed in range(seeds):
        learn, held = (prepared, test) if test else _split(prepared, seed)
        for name in names:
            on_fit(seed * len(names) + list(names).index(name), seeds * len(names), name)
            chosen = dataclasses.replace(config, fusion=name, seed=config.seed + seed)
            head, _ = train_head(learn, encoder, chosen)
            scores = head.scores(held.inputs)
            figures[name].append(classification.head_report(head.task, scores, held.examples.labels, head.names))
            merits[name].append(_merit(head, scores, held.examples.labels))
    on_fit(seeds * len(names), seeds * len(names), "")
    means = {name: np.concatenate(parts) for name, parts in merits.items()}
    return _comparison(prepared, names, figures, means, seeds, test)


def _split(prepared: PreparedRows, seed: int) -> tuple[PreparedRows, PreparedRows]:
    learn, held = examples.split(prepared.examples.labels, HELD_OUT, seed)
    return prepared[learn], prepared[held]


def _merit(head: Head, scores: np.ndarray, labels: Sequence) -> np.ndarray:
    """What a row adds to the figure: 1 where it is right; for numbers, the share of the variance that is explained."""
    if head.task == "number":
        truth = np.asarray(labels, np.float64)
        return 1 - (truth - scores[:, 0]) ** 2 / (truth.var() or 1.0)
    if head.task == "single":
        return np.array([head.names[i] == label for i, label in zip(scores.argmax(1), labels, strict=True)], float)
    said = [frozenset(name for name, sure in zip(head.names, row, strict=True) if sure >= 0.5) for row in scores]
    return np.array([answer == label for answer, label in zip(said, labels, strict=True)], float)


def _comparison(
    prepared: PreparedRows, names: Sequence[str], figures: dict, merits: dict, seeds: int, test: PreparedRows | None
) -> Comparison:
    alone = [name for name in names if name in prepared.inputs.dims]
    best = max(alone, key=lambda name: merits[name].mean()) if alone else None
    rows = len(merits[names[0]]) // seeds
    metric = next(iter(figures[names[0]][0].figures))
    lines = []
    for name in names:
        gain = merits[name] - merits[best] if best else np.zeros(1)
        reports = figures[name]
        lines.append(Line(
            name, float(merits[name].mean()), [report.figures[metric] for report in reports],
            _interval(merits[name], seeds, test is not None), name in alone,
            float(gain.mean()), _interval(gain, seeds, test is not None),
            float(np.mean([r.figures["macro_f1"] for r in reports])) if "macro_f1" in reports[0].figures else None,
        ))  # fmt: skip
    return Comparison(prepared.examples.column, metric, rows, seeds, lines)


def _interval(values: np.ndarray, seeds: int, same_rows: bool) -> tuple[float, float]:
    """The 95 % interval of the mean over seeds and rows. The same row under several seeds is one row, drawn as one."""
    return classification.interval(values.reshape(seeds, -1).mean(0) if same_rows else values)
