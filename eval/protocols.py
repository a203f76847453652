"""The test sets that papers measure on, by name: are these they, and what have known encoders on them?

Recall of a paper is our hit@k. The captions of MS-COCO's 5,000 pictures are 25,010 as CLIP_benchmark and open_clip take
them, and 25,000 where code after VSE takes five of each: at most .05 points apart. Its 1,000 are five times 1,000 of
the same, averaged, never to be compared with 5,000. What is published is in published.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval import metrics
from eval.comparing import SHORT
from eval.measuring import DIRECTIONS, Measured
from eval.metrics import HITS
from eval.published import Row, rows_of
from eval.report import Report
from eval.tables import Table
from retrieval.errors import BadRequest

FOLD, FOLDS = 1000, 5


@dataclass(frozen=True)
class Protocol:
    """What is measured on.

    Attributes:
        of: What it is, in words.
        pictures: How many.
        captions: How many, as most papers have it.
        others: Other numbers of captions that are in use -> by whom.
        folds: Is it averaged over five parts?
    """

    of: str
    pictures: int
    captions: int
    others: dict[int, str]
    folds: bool = False


_COCO = {25_000: "five of each, as code after VSE takes them; CLIP_benchmark has 25,010, at most .05 points apart"}
PROTOCOLS = {
    "flickr8k": Protocol("the test split of Flickr8k", 1000, 5000, {}),
    "flickr30k": Protocol("Karpathy's test split of Flickr30k", 1000, 5000, {}),
    "coco-5k": Protocol("Karpathy's test split of MS-COCO", 5000, 25_010, _COCO),
    "coco-1k": Protocol(
        "five times 1,000 pictures of Karpathy's test split of MS-COCO", 5000, 25_010, _COCO, folds=True
    ),
}


def named(name: str) -> Protocol:
    """The protocol of that name. Raises BadRequest where there is none."""
    if name not in PROTOCOLS:
        raise BadRequest(f"no protocol `{name}`: use {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def check(name: str, measured: Measured) -> list[str]:
    """Lines for what is not as the protocol has it: published figures then compare roughly, or not at all."""
    protocol, pictures, captions = named(name), len(measured.images), len(measured.texts)
    lines = []
    if pictures != protocol.pictures:
        lines.append(f"{name} has {protocol.pictures:,} pictures ({protocol.of}), and here are {pictures:,}")
    if captions in protocol.others:
        lines.append(f"{captions:,} captions: {protocol.others[captions]}")
    elif captions != protocol.captions:
        lines.append(f"{name} has {protocol.captions:,} captions, and here are {captions:,}")
    few = int((np.bincount(measured.owner, minlength=pictures) < 5).sum())
    if few:
        lines.append(f"{few:,} of the pictures have fewer than five captions")
    return lines


def published(name: str) -> list[Row]:
    """What is known of others on it, the best first. Raises BadRequest where there is no such protocol."""
    named(name)
    return rows_of(name)


def folds(measured: Measured) -> dict[str, dict[str, float]]:
    """Direction -> metric (metrics.METRICS) -> the mean of five times 1,000 pictures, in the order of the source.

    What is beyond 5,000 is left out. Raises BadRequest where there are fewer.
    """
    if len(measured.images) < FOLD * FOLDS:
        raise BadRequest(
            f"coco-1k is five times {FOLD:,} pictures, and here are {len(measured.images):,}: "
            "give the 5,000 of Karpathy's test split, or leave the protocol out"
        )
    found = [_fold(measured, FOLD * number) for number in range(FOLDS)]
    return {
        way: {name: float(np.mean([each[way][name] for each in found])) for name in metrics.METRICS}
        for way in DIRECTIONS
    }  # fmt: skip


def _fold(measured: Measured, first: int) -> dict[str, dict[str, float]]:
    here = (measured.owner >= first) & (measured.owner < first + FOLD)
    images, owner = measured.images[first : first + FOLD], measured.owner[here] - first
    part = Measured(measured.encoder, measured.fingerprint, (), (), images, measured.texts[here], owner)
    return {way: metrics.averaged(part.each[way]) for way in DIRECTIONS}


def table(name: str, reports: Sequence[Report], values: Sequence[dict[str, dict[str, float]]] = ()) -> Table:
    """Ours, with an arrow, among the published ones: in percent, the best text-to-image hit@1 first.

    Args:
        name: Of the protocol.
        reports: Whose encoders and figures.
        values: Figures instead of the reports': what `folds` gives, for coco-1k.
    """
    figures = values or [{way: getattr(one, way) for way in DIRECTIONS} for one in reports]
    ours = [
        Row(f"> {report.encoder}", _hits(own, "text_to_image"), _hits(own, "image_to_text"), "here")
        for report, own in zip(reports, figures, strict=True)
    ]
    rows = [
        [row.encoder, *_cells(row.text_to_image), *_cells(row.image_to_text), row.source]
        for row in sorted([*ours, *published(name)], key=lambda row: -row.first)
    ]
    header = ["", *(f"{SHORT[way]} {hit}" for way in DIRECTIONS for hit in HITS), "source"]
    return Table(f"{name}, ours (>) beside what was published: {named(name).of}", header, rows, words=1)


def _hits(figures: dict[str, dict[str, float]], way: str) -> dict[str, float]:
    return {hit: figures[way][hit] for hit in HITS}


def _cells(found: dict[str, float]) -> list[str]:
    return [f"{100 * found[hit]:.1f}" if hit in found else "-" for hit in HITS]
