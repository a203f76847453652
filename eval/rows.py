"""A csv with a row for every query, in both directions: where its right answer stands, and what stood first."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eval import answers, metrics
from eval.measuring import DIRECTIONS, Measured
from eval.report import Report
from indexes import durable
from retrieval.exchange import cells

HEADER = (
    "encoder", "fingerprint", "direction", "query", "picture", "rank", "optimistic_rank", "score", "first",
    "first_score", *metrics.HITS,
)  # fmt: skip


def write_csv(path: Path, reports: Sequence[tuple[Measured, Report]]) -> None:
    """Write the table, whole or not at all. The folders above it are made.

    Args:
        path: A .csv file. UTF-8 with a byte order mark; no cell is a formula (retrieval/exchange/cells.py).
        reports: What each encoder made of the same pairs, as for the page.

    The columns: `query` is a caption or the uri of a picture, `picture` the uri of the picture that it is
    of, `rank` the place of the first right answer with ties against the model, `optimistic_rank` with ties for it,
    `score` its cosine, `first` the uri or the caption that stood first, `first_score` its cosine. Raises OSError.
    """
    table = io.StringIO(newline="")
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(HEADER)
    for measured, _ in reports:
        for direction in DIRECTIONS:
            rows.writerows(_rows(measured, direction))
    durable.make_folder(path.parent)
    durable.write_bytes(path, table.getvalue().encode(cells.ENCODING, "backslashreplace"))


def _rows(measured: Measured, direction: str) -> Iterator[list[str | int | float]]:
    captions = [cells.text(pair.caption) for pair in measured.pairs]
    pictures = [cells.path(item.uri) for item in measured.items]
    asked, answered = (captions, pictures) if direction == "text_to_image" else (pictures, captions)
    found, owners = answers.firsts(measured, direction), measured.owners(direction)
    optimistic = metrics.Places(measured.rankings[direction], optimistic=True).first
    for at, number in enumerate(found.asked):
        yield [
            cells.text(measured.encoder), measured.fingerprint, direction, asked[number], pictures[owners[at]],
            int(found.place[at]), int(optimistic[at]), _score(found.right_score[at]), answered[found.first[at]],
            _score(found.first_score[at]), *(int(found.place[at] <= k) for k in metrics.KS),
        ]  # fmt: skip


def _score(cosine: float) -> str:
    """Nothing where a vector is not all numbers."""
    return f"{cosine:.6f}" if np.isfinite(cosine) else ""
