"""Which spec, and how hard to look: measured on real text queries against the exact answer, never on image vectors.

An index that reaches 0.95 for pictures as queries gives 0.77 to 0.85 for words. So: specs that fit the memory asked for
are built on a sample and measured with text; the cheapest that reaches the recall, with the lower end of its confidence
interval, is built on all rows; its operating points are measured again there, chosen on one half of the queries and
reported on the other.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from indexes import ann, exact
from indexes.ann import Ann, Point
from indexes.errors import StoreError
from indexes.exact import Segment

K = 10
RECALLS = (0.90, 0.95, 0.99)  # the operating points that are kept, beside the one asked for
SAMPLE_ROWS, SAMPLE_QUERIES = 50_000, 1000  # what the specs are compared on
LEAST_QUERIES = 100
FETCHES = (10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320, 640)
EFFORTS_BEYOND = 3  # efforts tried after one reaches the highest recall: more lists may save fetched rows
_ONE_SIDED = 1.645  # standard errors of a one-sided 95 % bound


@dataclass(frozen=True, slots=True)
class Candidate:
    """A FAISS factory string and what it takes in memory for each row, in bytes; the rows themselves stay mapped."""

    spec: str
    bytes_per_row: float


def candidates(rows: int, dim: int, memory: float) -> list[Candidate]:
    """Specs for so many rows that fit `memory` bytes, the cheapest to search first by experience.

    IVF with 4-bit product quantisation (fast-scan) on residuals first: its scan is cheap, so that probing the many
    lists that text needs stays affordable; a graph or wider codes where they fit. Raises StoreError where nothing fits.
    """
    lists = int(2 ** np.clip(np.round(np.log2(4 * np.sqrt(rows))), 4, 16))
    even = dim - dim % 2
    every = [
        Candidate(f"IVF{lists},PQ{even // 2}x4fsr", even / 4 + 8),
        Candidate(f"IVF{max(16, lists // 2)},PQ{even // 2}x4fsr", even / 4 + 8),
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
    specs: Sequence[str] = (), say: Callable[[str], None] = lambda text: None,
) -> Ann:  # fmt: skip
    """Build the best index for these rows and text queries (float32 (q, dim)), with its measured operating points.

    specs: only these are tried. Raises StoreError where queries are too few, or nothing fits the memory.
    """
    if len(queries) < LEAST_QUERIES:
        raise StoreError(
            f"{len(queries)} text queries are too few to measure recall with: give at least {LEAST_QUERIES}"
        )
    rows = sum(len(segment.vectors) - len(segment.dead) for segment in segments)
    tried = list(specs) or [each.spec for each in candidates(rows, dim, memory)]
    spec = tried[0] if len(tried) == 1 else _best_on_a_sample(segments, queries, dim, rows, recall, tried, say)
    say(f"building {spec} on {rows} rows")
    built = ann.build(segments, spec, dim, rows_below)
    built.points = operating_points(built, segments, queries, (*RECALLS, recall))
    return built


def _best_on_a_sample(
    segments: Sequence[Segment], queries: np.ndarray, dim: int, rows: int, recall: float, specs: Sequence[str],
    say: Callable[[str], None],
) -> str:  # fmt: skip
    sample, queries = _sampled(segments, min(1.0, SAMPLE_ROWS / rows)), queries[:SAMPLE_QUERIES]
    truth = exact.search(sample, queries, K).rows
    best, least = specs[0], np.inf
    for spec in specs:
        try:
            built = ann.build(sample, _scaled(spec, rows), dim, 0)
        except RuntimeError as error:
            say(f"{spec}: FAISS does not take it ({str(error).splitlines()[0][:100]})")
            continue
        measured = _measured(built, sample, queries, truth, recall)
        cheapest = min((seconds for seconds, *_, low in measured if low >= recall), default=np.inf)
        gives = f"{1 / cheapest:.0f} queries/s at {recall:.2f}" if cheapest < np.inf else f"never {recall:.2f}"
        say(f"{spec}: {gives} on a sample")
        if cheapest < least:
            best, least = spec, cheapest
    return best


def _sampled(segments: Sequence[Segment], share: float) -> list[Segment]:
    rng = np.random.default_rng(0)
    alive = np.concatenate([rows for segment in segments for rows, _ in segment.blocks()])
    chosen = np.sort(rng.choice(alive, round(share * len(alive)), replace=False)) if share < 1 else alive
    return exact.gather(segments, chosen)


def _scaled(spec: str, rows: int) -> str:
    """The same spec for a sample: as many rows a list as the whole would have."""
    head, comma, tail = spec.partition(",")
    if not head.startswith("IVF") or rows <= SAMPLE_ROWS:
        return spec
    lists = max(16, int(head[3:]) * SAMPLE_ROWS // rows)
    return f"IVF{lists}{comma}{tail}"


def operating_points(
    built: Ann, segments: Sequence[Segment], queries: np.ndarray, recalls: Sequence[float]
) -> list[Point]:
    """The cheapest way to each recall: chosen on the even queries, its recall that of the odd ones."""
    known = [segment for segment in segments if segment.first_row < built.rows_below]
    truth = exact.search(known, queries, K).rows
    chosen, held_out = slice(0, None, 2), slice(1, None, 2)
    measured = sorted(_measured(built, known, queries[chosen], truth[chosen], max(recalls)))
    points = []
    for asked in sorted(set(recalls)):
        found = next(((effort, fetch) for _, effort, fetch, low in measured if low >= asked), None)
        if found is None:
            break
        caught = hits(built.propose(queries[held_out], found[1], found[0]), truth[held_out])
        points.append(Point(asked, *found, float(caught.mean()), _low(caught)))
    return points


def _measured(
    built: Ann, segments: Sequence[Segment], queries: np.ndarray, truth: np.ndarray, enough: float
) -> list[tuple[float, int, int, float]]:
    """(seconds a query, effort, fetch, lower bound of the recall) over a grid, up to where looking harder is no use.

    The re-rank is exact, so what it finds is what was fetched, and fewer fetched are the first of more: recall needs
    one search for each effort. Time is that of a short search, plus what each row more costs, measured once.
    """
    by_row = _seconds_a_row(built, segments, queries)
    grid, passed = [], 0
    for effort in _efforts(built):
        started = time.perf_counter()
        built.propose(queries, FETCHES[0], effort)
        seconds = (time.perf_counter() - started) / len(queries)
        proposed = built.propose(queries, FETCHES[-1], effort)
        for fetch in FETCHES:
            grid.append((seconds + fetch * by_row, effort, fetch, _low(hits(proposed[:, :fetch], truth))))
        passed += grid[-1][-1] >= enough
        if passed == EFFORTS_BEYOND:
            break
    return grid


def _seconds_a_row(built: Ann, segments: Sequence[Segment], queries: np.ndarray) -> float:
    """What a row more in `fetch` costs: to propose it and to score it."""
    few, effort = queries[:200], _efforts(built)[len(_efforts(built)) // 2]
    marks = [time.perf_counter()]
    built.propose(few, FETCHES[0], effort)
    marks.append(time.perf_counter())
    proposed = built.propose(few, FETCHES[-2], effort)
    marks.append(time.perf_counter())
    ann.rerank(segments, few, proposed, K)
    marks.append(time.perf_counter())
    short, long, scored = np.diff(marks)
    return (max(0.0, long - short) + scored) / len(few) / FETCHES[-2]


def _efforts(built: Ann) -> list[int]:
    import faiss

    inverted = faiss.try_extract_index_ivf(built.index)
    most = inverted.nlist if inverted else 1024
    steps = [int(round(2 ** (power / 2))) for power in range(2 * int(np.log2(most)) + 1)]
    return sorted({step for step in steps if 1 <= step <= most} | ({most} if inverted else set()))


def hits(proposed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The share of each query's true answers that were proposed, (q,)."""
    found = (truth[:, :, None] == proposed[:, None, :]).any(2) & (truth >= 0)
    return found.sum(1) / np.maximum(1, (truth >= 0).sum(1))


def _low(caught: np.ndarray) -> float:
    """The lower end of a one-sided 95 % interval of the mean."""
    return float(caught.mean() - _ONE_SIDED * caught.std() / np.sqrt(len(caught)))
