"""What a GPU is asked to do: by a stand-in, which keeps its indexes in memory, and by a GPU where there is one."""

from contextlib import contextmanager
from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from indexes import Record, Store, exact
from indexes.approximate import ann, ann_file, gpu, tune
from indexes.approximate.recorded import Point
from indexes.segments import Segment
from rows import unit, unit_rows

DIM, COUNT = 16, 2000
RNG = np.random.default_rng(0)
ROWS = unit_rows(RNG, COUNT, DIM)
QUERIES = unit(ROWS[:300] + 0.3 * RNG.standard_normal((300, DIM)))
SEGMENTS = [Segment(0, ROWS.astype(np.float16), np.array([3], np.int64))]


@pytest.fixture
def stand_in(monkeypatch):
    """A card that takes inverted lists of whole vectors only, as FAISS's takes no fast-scan; it says what it did."""
    said = []

    @contextmanager
    def clustering(inverted):
        said.append(f"clustering {inverted.nlist}")
        yield

    def moved(index):
        if not isinstance(faiss.downcast_index(index), faiss.IndexIVFFlat):
            return None
        said.append(f"moved {index.ntotal}")
        return faiss.clone_index(index)

    def back(index):
        said.append(f"back {index.ntotal}")
        return faiss.clone_index(index)

    card = SimpleNamespace(clustering=clustering, moved=moved, back=back, MOST_FETCHED=100)
    monkeypatch.setattr(ann, "gpu_for", lambda device: card if device == "cuda" else None)
    return said


def test_lists_are_learned_there_and_rows_added_where_faiss_can(stand_in):
    built = ann.build(SEGMENTS, "IVF16,Flat", DIM, COUNT, device="cuda")
    assert stand_in == ["clustering 16", "moved 0", f"back {COUNT - 1}"]
    assert built.index.ntotal == COUNT - 1


def test_fast_scan_stays_on_the_cpu_but_for_its_lists(stand_in):
    built = ann.build(SEGMENTS, "IVF16,PQ8x4fsr", DIM, COUNT, device="cuda")
    assert stand_in == ["clustering 16"]
    inside = faiss.downcast_index(faiss.extract_index_ivf(built.index))
    assert inside.implem == ann.BATCHED_FAST_SCAN


def test_the_cpu_is_asked_for_nothing_of_this(stand_in):
    built = ann.build(SEGMENTS, "IVF16,Flat", DIM, COUNT)
    ann.search(built, Point(1.0, 16, 100, 1.0, 1.0), SEGMENTS, QUERIES, 10)
    assert not stand_in


def test_a_batch_is_searched_there_within_what_it_can_fetch(stand_in):
    built = ann.build(SEGMENTS, "IVF16,Flat", DIM, COUNT)
    everything = Point(1.0, 16, COUNT, 1.0, 1.0)
    for _ in range(2):
        found = ann.search(built, everything, SEGMENTS, QUERIES, 10, device="cuda")
    assert stand_in == [f"moved {COUNT - 1}"], "one copy serves every search"
    assert built.propose(QUERIES, COUNT, 16, "cuda").shape == (len(QUERIES), 100)
    np.testing.assert_array_equal(found.rows, exact.search(SEGMENTS, QUERIES, 10).rows)


def test_what_was_added_or_copied_is_not_answered_from_an_older_copy(stand_in):
    built = ann.build(SEGMENTS, "IVF16,Flat", DIM, COUNT)
    assert built.on_gpu("cuda").ntotal == COUNT - 1
    more = [Segment(COUNT, ROWS[:10].astype(np.float16), np.empty(0, np.int64))]
    copy = ann.copy_of(built)
    ann.extend(copy, more, COUNT + 10)
    assert copy.on_gpu("cuda").ntotal == COUNT + 9
    ann.extend(built, more, COUNT + 10)
    assert built.on_gpu("cuda").ntotal == COUNT + 9


def test_a_store_asks_the_card_only_for_a_recall(stand_in, tmp_path, monkeypatch):
    by_torch = []
    monkeypatch.setattr(exact, "proven", lambda device: by_torch.append(device) or exact.brute_force(by_faiss=False))
    with Store.create(tmp_path / "index", DIM) as store:
        store.add(ROWS, [Record(str(i)) for i in range(COUNT)])
        built = tune.choose(store.segments, QUERIES, DIM, COUNT, 0.9, 1e9, ["IVF16,Flat"])
        store.set_approximate(built, 0.9)
        by_torch.clear()
        store.search(QUERIES, 10, "cuda")
        assert by_torch == ["cuda"]
        assert not stand_in
        store.search(QUERIES, 10, "cuda", recall=0.9)
        assert stand_in == [f"moved {COUNT}"]


@pytest.mark.skipif(not gpu.is_here(), reason="no GPU that FAISS can use")
@pytest.mark.parametrize("spec", ["IVF16,Flat", "IVF16,SQ8", "IVF16,PQ8x4fsr", "Lean8,IVF16,Flat"])
def test_on_a_card_the_answers_are_those_of_the_truth(spec, tmp_path):
    built = ann.build(SEGMENTS, spec, DIM, COUNT, QUERIES, device="cuda")
    ann_file.write(built, tmp_path / "1.faiss")
    everything = Point(1.0, 16, COUNT, 1.0, 1.0)
    for device in ("cpu", "cuda"):
        found = ann.search(built, everything, SEGMENTS, QUERIES, 10, device=device)
        np.testing.assert_array_equal(found.rows, exact.search(SEGMENTS, QUERIES, 10).rows)
