"""When a store gets an approximate index, and what it is measured with: its own captions, else a bank of prompts.

People type words, so words are what recall is promised for (indexes/approximate/tune.py says why).
"""

import numpy as np

from indexes import Store
from indexes.approximate import tune
from retrieval.callbacks import OnMessage, no_message
from retrieval.encoders.prompts import prompts
from retrieval.encoders.protocol import Encoder
from retrieval.indexing.cards import Card

LEAST_ROWS = 10_000  # below this, exact search is as fast
AUTO_ROWS = 100_000  # from here on one is made without being asked for
AUTO_RECALL = 0.95
MERGE_SHARE = 0.02  # of the rows, and at least LEAST_ROWS: newer ones are scanned at each search until they are so many
QUERIES = 3000
_HNSW_SHARE = 1 / 8  # of the memory that HNSW32 would take, if none is asked for


def keep(
    store: Store, encoder: Encoder, recall: float | None = None, memory: float | None = None,
    say: OnMessage = no_message, device: str = "cpu",
) -> None:  # fmt: skip
    """Give a store the approximate index that it should have by now; do only what is needed.

    recall: asked for on text (None: what it has, or AUTO_RECALL from AUTO_ROWS rows on). memory: bytes it may take.
    device: "cpu", or "cuda" for what a GPU can do of it.
    Raises StoreError where nothing fits the memory.
    """
    recorded = store.derived.recorded
    if len(store) < LEAST_ROWS:
        if recall is not None:
            say(f"{len(store)} pictures are searched exactly: fewer than {LEAST_ROWS} need no approximate index")
        if recorded and store.derived.index is None:  # damaged
            store.drop_approximate()
        return
    if recall is None and memory is None and recorded and store.derived.index is not None:
        if store.derived.unmerged() < max(LEAST_ROWS, MERGE_SHARE * len(store)):
            return
        say(f"merging {store.derived.unmerged()} new rows into the approximate index")
        store.merge_approximate()
        if _still_holds(store, encoder):
            return
        say("its recall on text has fallen: building it again")
    elif recall is None and memory is None and not recorded and len(store) < AUTO_ROWS:
        return
    asked = recall or (recorded.asked if recorded else AUTO_RECALL)
    if len(store.segments) > 1:
        say(f"bringing {len(store.segments)} segments together")
        store.compact()  # FAISS then re-ranks from the mapped rows itself
    budget = memory or _HNSW_SHARE * (4 * store.dim + 272) * len(store)
    built = tune.choose(
        store.segments, text_queries(store, encoder), store.dim, store.manifest["next_row"], asked, budget, say=say,
        device=device,
    )  # fmt: skip
    point = built.point(asked)
    store.set_approximate(built, asked)
    if point is None:
        say(f"{built.spec} does not reach a recall of {asked} on text: searches stay exact")
    else:
        say(f"{built.spec}: recall@10 of {point.recall:.3f} on text ({asked} asked)")


def may_be_due(store: Store) -> bool:
    """Could `keep` have something to do? It is not asked what: a store with few rows, and nothing recorded, has not."""
    return store.derived.recorded is not None or len(store) >= AUTO_ROWS


def _still_holds(store: Store, encoder: Encoder) -> bool:
    """Measure the points again, on all rows; True where the recall asked for is still reached."""
    built, recorded = store.derived.index, store.derived.recorded
    assert built is not None and recorded is not None  # it was merged just now
    asked = recorded.asked
    queries = text_queries(store, encoder)
    exam = tune.Exam.of(store.segments, queries)
    built.points = tune.operating_points(built, store.segments, exam, (*tune.RECALLS, asked))
    if built.point(asked) is None:
        return False
    store.set_approximate(built, asked)
    return True


def text_queries(store: Store, encoder: Encoder) -> np.ndarray:
    """QUERIES unit rows of words: captions drawn from the store, or prompts where it has too few. float32 (q, dim)."""
    rows = store.rows()
    drawn = np.random.default_rng(0).choice(rows, min(len(rows), 2 * QUERIES), replace=False)
    captions = {caption for record in store.records(drawn) for caption in Card.of(record).captions}
    texts = sorted(captions)[:QUERIES]
    if len(texts) < QUERIES // 4:
        texts += prompts()
    return encoder.encode_texts(texts)
