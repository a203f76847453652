"""Labelled examples: the rows of a source with one of its columns as the answer, and how they are split.

A label is the name of a class, several names (`a|b`), or a number. What real tables have is kept and counted: rows
without a label are left out, a class that training never saw counts as wrong, an empty text is a missing modality.
"""

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.datatypes import Item
from retrieval.errors import BadRequest
from retrieval.heads.labels import text_of
from retrieval.sources.registry import open_items

TASKS = ("single", "multiple", "number")
SEPARATOR = "|"  # between the names of a row with several labels


@dataclass(frozen=True)
class Examples:
    """Rows that have a label. labels: one raw value a row, a number for task "number". rows: which of the source's.

    unlabeled: how many rows were left out for want of a label. total: rows of the source.
    """

    items: list[Item]
    labels: list
    task: str
    column: str
    source: str
    rows: np.ndarray
    unlabeled: int
    total: int

    def __len__(self) -> int:
        return len(self.items)


def open_examples(source: str, column: str, task: str = "single") -> Examples:
    """The rows of a source that have something in a column.

    Args:
        source: As for training and indexes: a folder, csv:FILE?split=train, jsonl:FILE, ...
        column: The one that holds the answer; "caption" is the text itself.
        task: "single" for the name of a class, "multiple" for several (`a|b`, or a list), "number" for regression.

    Returns:
        The rows with a label; how many have none is counted in it.

    Raises:
        BadRequest: No such column, nothing in it, or something that is no number.

    Examples:
        >>> examples = open_examples("csv:products.csv?split=train", "articleType")
        >>> examples.labels[0], len(examples)
    """
    items = list(open_items(source))
    values = [item.caption if column == "caption" else item.meta.get(column) for item in items]
    if all(value is None for value in values):
        known = sorted({key for item in items for key in item.meta})
        near = difflib.get_close_matches(column, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"use --label with one of {', '.join(known) or 'its columns'}"
        raise BadRequest(f"{source} has nothing in a column `{column}`: {hint}")
    read = {"single": _name, "multiple": _names, "number": _number}[task]
    labels = [read(value, column) for value in values]
    rows = np.array([i for i, label in enumerate(labels) if label is not None], np.int64)
    if not len(rows):
        raise BadRequest(f"{source} has only empty labels in `{column}`: use another --label")
    kept = [items[i] for i in rows]
    return Examples(kept, [labels[i] for i in rows], task, column, source, rows, len(items) - len(rows), len(items))


def _name(value: Any, column: str) -> str | None:
    return text_of(value)


def _names(value: Any, column: str) -> frozenset[str] | None:
    parts = value if isinstance(value, list) else (text_of(value) or "").split(SEPARATOR)
    return frozenset(text for part in parts if (text := text_of(part))) or None


def _number(value: Any, column: str) -> float | None:
    if text_of(value) is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadRequest(f"`{str(value)[:40]}` in `{column}` is no number: leave out --regression") from None
    return number if math.isfinite(number) else None


# ---------------------------------------------------------------- classes


def classes_of(examples: Examples) -> list[str]:
    """The names to tell apart, sorted; none for numbers. Raises BadRequest where a head would have nothing to learn."""
    if examples.task == "number":
        return []
    counts = Counter(name for label in examples.labels for name in names_of(label))
    if len(counts) < 2 and examples.task == "single":
        (only,) = counts
        raise BadRequest(f"every row has `{examples.column}` {only}: nothing to tell apart, use another --label")
    once = sum(count == 1 for count in counts.values())
    if len(counts) > 20 and once * 2 > len(examples):
        raise BadRequest(
            f"`{examples.column}` has {len(counts)} different values in {len(examples)} rows: that is text, no class; "
            "use another --label"
        )
    return sorted(counts)


def names_of(label: str | frozenset[str]) -> frozenset[str]:
    """The names of one row's label."""
    return label if isinstance(label, frozenset) else frozenset([label])


def targets(labels: Sequence, names: Sequence[str], task: str) -> np.ndarray:
    """What a head is fitted to: int64 (n,), -1 for an unknown class; float32 (n, classes); float32 (n, 1)."""
    if task == "number":
        return np.array(labels, np.float32)[:, None]
    place = {name: number for number, name in enumerate(names)}
    if task == "single":
        return np.array([place.get(label, -1) for label in labels], np.int64)
    rows = np.zeros((len(labels), len(names)), np.float32)
    for row, label in zip(rows, labels, strict=True):
        row[[place[name] for name in label if name in place]] = 1
    return rows


# ---------------------------------------------------------------- splits


def split(labels: Sequence, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows held out: about `share` of each class, sorted int64. Labels and seed decide.

    A class with one example stays where it can be learned from. Rows with several labels, and numbers, are drawn as
    one class.
    """
    rng = np.random.default_rng(seed)
    groups: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        groups.setdefault(label if isinstance(label, str) else "", []).append(row)
    drawn: list[int] = []
    carry = 0.0  # what rounding kept back, so that many small classes give their share together
    for key in sorted(groups):
        rows = rng.permutation(groups[key])
        wanted = len(rows) * share + carry
        take = min(int(wanted + 1e-9), len(rows) - 1)
        carry = wanted - take
        drawn += rows[:take].tolist()
    held = np.array(sorted(drawn), np.int64)
    return np.setdiff1d(np.arange(len(labels)), held), held
