"""Which spec, and how hard to look: measured on real text queries against the exact answer, never on image vectors.

An index that reaches 0.95 for pictures as queries gives 0.77 to 0.85 for words. So: specs that fit the memory asked for
are built on a sample and measured with text; the cheapest that reaches the recall, with the lower end of its confidence
interval, is built on all rows; its operating points are measured again there, chosen on a third of the queries and
reported on another. Rows lie closer among all than in a sample: where codes prove too coarse, the next specs are built
on all rows too.
"""

import bisect
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexes import exact
from indexes.approximate import ann
from indexes.approximate.ann import Ann
from indexes.approximate.recorded import Point
from indexes.errors import StoreError
from indexes.segments import Segment, gather

K = 10
RECALLS = (0.90, 0.95, 0.99)  # the operating points that are kept, beside the one asked for
SAMPLE_ROWS, SAMPLE_QUERIES = 20_000, 500  # what the specs are compared on
LEAST_QUERIES, MOST_QUERIES = 100, 3000
WAYS = 3  # to one recall that are timed: more lists may save fetched rows
TIMED_QUERIES, TIMED_ROUNDS, TIMED_SECONDS = 500, 2, 0.1  # each at least so often, and so long: a hiccup misleads
CLEARLY = 0.9  # a later spec, which takes more memory, must be that much quicker on a sample
REPORTED = 500  # queries that a recall is reported on: exact answers are a quarter of the work of a large index
LEAST_WIDTH = 16  # of reduced rows
FINE_FETCH = 113  # where more rows must be fetched, codes are coarse for these rows: wider ones may be quicker
FETCHES = tuple(round(10 * 2 ** (step / 4)) for step in range(21))  # 10, 12, 14, ... 320
# Of the queries: what a reduction is learned from, what ways are chosen on, and what their recall is reported on.
LEARNED, CHOSEN, HELD_OUT = slice(0, None, 3), slice(1, None, 3), slice(2, None, 3)
_ONE_SIDED = 1.645  # standard errors of a one-sided 95 % bound


@dataclass(frozen=True, slots=True)
class Candidate:
    """A FAISS factory string and what it takes in memory for each row, in bytes; the rows themselves stay mapped."""

    spec: str
    bytes_per_row: float


def candidates(rows: int, dim: int, memory: float) -> list[Candidate]:
    """Specs for so many rows that fit `memory` bytes, the cheapest to search first by experience.

    Reduced rows first (reduction.py): text asks for few directions. Then IVF with 4-bit product quantisation
    (fast-scan) on residuals: its scan is cheap, so that probing the many lists that text needs stays affordable; a
    graph or wider codes where they fit. Raises StoreError where nothing fits.
    """
    lists = int(2 ** np.clip(np.round(np.log2(2 * np.sqrt(rows))), 4, 16))
    even, half, quarter = dim // 2 * 2, dim // 4 * 2, dim // 8 * 2
    reduced = [Candidate(f"Lean{width},IVF{lists},PQ{width // 2}x4fsr", width / 4 + 8) for width in (quarter, half)]
    every = [
        *(reduced if quarter >= LEAST_WIDTH else []),
        Candidate(f"IVF{lists},PQ{even // 2}x4fsr", even / 4 + 8),
        Candidate(f"IVF{lists},RaBitQ", dim / 8 + 16),
        Candidate(f"IVF{lists},SQ8", dim + 8),
        Candidate("HNSW32,SQ8", dim + 4 * 64 + 16),
    ]
    fitting = [each for each in every if each.bytes_per_row * rows <= memory]
    if not fitting:
        least = min(each.bytes_per_row for each in every) * rows
        raise StoreError(
            f"no index of {rows} rows fits {memory / 2**20:.0f} MB: give --memory {least / 2**20 + 1:.0f}M"
        )
    return fitting


def choose(
    segments: Sequence[Segment], queries: np.ndarray, dim: int, rows_below: int, recall: float, memory: float,
    specs: Sequence[str] = (), say: Callable[[str], None] = lambda text: None, device: str = "cpu",
) -> Ann:  # fmt: skip
    """Build the best index for these rows and text queries (float32 (q, dim)), with its measured operating points.

    specs: only these are tried. device: "cuda" has a GPU find the exact answers and train. Raises StoreError where
    queries are too few, or nothing fits the memory.
    """
    if len(queries) < LEAST_QUERIES:
        raise StoreError(
            f"{len(queries)} text queries are too few to measure recall with: give at least {LEAST_QUERIES}"
        )
    queries = queries[:MOST_QUERIES]
    rows = sum(len(segment.vectors) - len(segment.dead) for segment in segments)
    tried = list(specs) or [each.spec for each in candidates(rows, dim, memory)]
    spec = tried[0] if len(tried) == 1 else best_on_a_sample(segments, queries, dim, rows, recall, tried, say)
    exam = Exam.of(segments, queries, device)
    best, least = None, np.inf
    for wider in tried[tried.index(spec) :]:
        say(f"building {wider} on {rows} rows")
        built = ann.build(segments, wider, dim, rows_below, queries[LEARNED], device=device)
        built.points = operating_points(built, segments, exam, (*RECALLS, recall))
        point, seconds = built.point(recall), np.inf
        if point:
            seconds, *_ = cheapest(built, segments, exam.chosen, [(point.effort, point.fetch)])
        if best is None or seconds < least:
            best, least = built, seconds
        elif least < np.inf:
            break
        if point and point.fetch <= FINE_FETCH:
            break
        say(f"{wider} is coarse for these rows: {_gives(seconds, recall)}")
    assert best is not None  # the chosen spec at least was built
    return best


def _gives(seconds: float, recall: float) -> str:
    return f"{1 / seconds:.0f} queries/s at {recall:.2f}" if seconds < np.inf else f"never {recall:.2f}"


@dataclass(frozen=True, slots=True)
class Exam:
    """Text queries with their exact answers, rows (q, K): ways are chosen by some, and reported on others."""

    chosen: np.ndarray
    chosen_truth: np.ndarray
    held_out: np.ndarray
    held_out_truth: np.ndarray

    @classmethod
    def of(cls, segments: Sequence[Segment], queries: np.ndarray, device: str = "cpu") -> "Exam":
        """Split the queries and answer them from all rows of these segments."""
        chosen, held_out = queries[CHOSEN], queries[HELD_OUT][:REPORTED]
        truth = exact.search(segments, np.concatenate([chosen, held_out]), K, device).rows
        return cls(chosen, truth[: len(chosen)], held_out, truth[len(chosen) :])


def best_on_a_sample(
    segments: Sequence[Segment], queries: np.ndarray, dim: int, rows: int, recall: float, specs: Sequence[str],
    say: Callable[[str], None],
) -> str:  # fmt: skip
    """The spec that reaches the recall in the least time. They are tried until one is slower than one before it."""
    sample, asked = _sampled(segments, min(1.0, SAMPLE_ROWS / rows)), queries[CHOSEN][:SAMPLE_QUERIES]
    truth = exact.search(sample, asked, K).rows
    best, least = specs[0], np.inf
    for spec in specs:
        try:
            built = ann.build(sample, _scaled(spec, rows), dim, len(sample[0].vectors), queries[LEARNED])
        except RuntimeError as error:
            say(f"{spec}: FAISS does not take it ({str(error).splitlines()[0][:100]})")
            continue
        ways = ways_to(built, asked, truth, [recall])[recall]
        seconds, *_ = cheapest(built, sample, asked, ways) if ways else (np.inf,)
        say(f"{spec}: {_gives(seconds, recall)} on a sample")
        if seconds < CLEARLY * least:
            best, least = spec, seconds
        elif least < np.inf:
            break
    return best


def _sampled(segments: Sequence[Segment], share: float) -> list[Segment]:
    """One segment of that share of the rows, under numbers of its own."""
    rng = np.random.default_rng(0)
    alive = np.concatenate([segment.alive() for segment in segments])
    chosen = np.sort(rng.choice(alive, round(share * len(alive)), replace=False)) if share < 1 else alive
    return [replace(part, names=None) for part in gather(segments, chosen)]


def _scaled(spec: str, rows: int) -> str:
    """The same spec for a sample: as many rows a list as the whole would have."""
    if rows <= SAMPLE_ROWS:
        return spec
    return re.sub(r"\bIVF(\d+)", lambda found: f"IVF{max(16, int(found[1]) * SAMPLE_ROWS // rows)}", spec)


def operating_points(built: Ann, segments: Sequence[Segment], exam: Exam, recalls: Sequence[float]) -> list[Point]:
    """The cheapest way to each recall: chosen by some queries, its recall that of others. segments: those it knows."""
    points = []
    for asked, found in ways_to(built, exam.chosen, exam.chosen_truth, sorted(set(recalls))).items():
        if found:
            _, effort, fetch = cheapest(built, segments, exam.chosen, found)
            caught = hits(built.propose(exam.held_out, fetch, effort), exam.held_out_truth)
            points.append(Point(asked, effort, fetch, float(caught.mean()), _low(caught)))
    return points


def ways_to(
    built: Ann, queries: np.ndarray, truth: np.ndarray, recalls: Sequence[float]
) -> dict[float, list[tuple[int, int]]]:
    """For each recall the (effort, fetch) that reach it by the lower bound: fewer lists visited, or fewer rows fetched.

    The re-rank is exact, so what it finds is what was fetched, and fewer fetched are the first of more: recall needs
    one search for each effort.
    """
    ways: dict[float, list[tuple[int, int]]] = {recall: [] for recall in recalls}
    for effort in worth_trying(built, queries[::10], truth[::10], min(recalls)):
        proposed = built.propose(queries, FETCHES[-1], effort)
        places = _places(proposed, truth)
        lows = [_low((places < fetch).sum(1) / np.maximum(1, (truth >= 0).sum(1))) for fetch in FETCHES]
        for recall, found in ways.items():
            fetch = next((fetch for fetch, low in zip(FETCHES, lows, strict=True) if low >= recall), None)
            if fetch and len(found) < WAYS and (not found or fetch < found[-1][1]):
                found.append((effort, fetch))
        if ways[max(recalls)] and effort >= 1.4 * ways[max(recalls)][0][0]:  # more lists than that save nothing
            break
    return ways


def cheapest(
    built: Ann, segments: Sequence[Segment], queries: np.ndarray, ways: Sequence[tuple[int, int]]
) -> tuple[float, int, int]:
    """(seconds a query, effort, fetch) of the quickest, the whole search timed; the best of a few rounds."""
    queries, timed = queries[:TIMED_QUERIES], []
    for effort, fetch in ways:
        point = Point(0, effort, fetch, 0, 0)
        marks = [time.perf_counter()]
        while len(marks) <= TIMED_ROUNDS or marks[-1] - marks[0] < TIMED_SECONDS:
            ann.search(built, point, segments, queries, K)
            marks.append(time.perf_counter())
        timed.append((float(np.diff(marks).min()) / len(queries), effort, fetch))
    return min(timed)


def worth_trying(built: Ann, queries: np.ndarray, truth: np.ndarray, recall: float) -> list[int]:
    """The efforts from the last on that a few queries already show to be too little, however many rows are fetched."""
    efforts = all_efforts(built)

    def ceiling(effort: int) -> float:
        return hits(built.propose(queries, FETCHES[-1], effort), truth).mean()

    return efforts[max(0, bisect.bisect_left(efforts, recall, key=ceiling) - 1) :]


def all_efforts(built: Ann) -> list[int]:
    """How hard one may look: lists visited, or nodes of a graph, in steps of the square root of two."""
    import faiss

    inverted = faiss.try_extract_index_ivf(built.index)
    most = inverted.nlist if inverted else 1024
    steps = [int(round(2 ** (power / 2))) for power in range(2 * int(np.log2(most)) + 1)]
    return sorted({step for step in steps if 1 <= step <= most} | ({most} if inverted else set()))


def hits(proposed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The share of each query's true answers that were proposed, (q,)."""
    found = (truth[:, :, None] == proposed[:, None, :]).any(2) & (truth >= 0)
    return found.sum(1) / np.maximum(1, (truth >= 0).sum(1))


def _places(proposed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How far down each true answer was proposed, (q, K); beyond the end for those that were not."""
    same = (truth[:, :, None] == proposed[:, None, :]) & (truth >= 0)[:, :, None]
    return np.where(same.any(2), same.argmax(2), proposed.shape[1])


def _low(caught: np.ndarray) -> float:
    """The lower end of a one-sided 95 % interval of the mean."""
    return float(caught.mean() - _ONE_SIDED * caught.std() / np.sqrt(len(caught)))
