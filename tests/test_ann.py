"""Approximate search: proposals are re-ranked by the truth, recall is measured, a damaged file is never believed."""

import dataclasses
import hashlib
import json
import sqlite3
from unittest import mock

import numpy as np
import pytest

from indexes import Damaged, Record, Store, StoreError, exact, filters, proof
from indexes.approximate import ann, tune
from indexes.approximate.derived import Derived
from indexes.approximate.recorded import Point, Recorded
from indexes.approximate.rerank import refined, rerank
from indexes.segments import Segment
from rows import unit

DIM, COUNT = 32, 3000


def clustered(count, seed):
    """Rows around a hundred centres, as pictures of a hundred things are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((100, DIM))
    rows = centres[rng.integers(0, 100, count)] + 0.7 * rng.standard_normal((count, DIM))
    return unit(rows)


ROWS, QUERIES = clustered(COUNT, 0), clustered(1500, 1)


def segment(rows=ROWS, first=0, dead=()):
    return Segment(first, rows.astype(np.float16), np.array(dead, np.int64))


@pytest.fixture(scope="module", params=["IVF32,PQ16x4fsr", "Lean24,IVF32,PQ12x4fsr"])
def index(request):
    """IVF + PQ of the first 3,000 rows, measured on queries."""
    return tune.choose([segment()], QUERIES, DIM, COUNT, 0.9, 1e9, [request.param])


@pytest.mark.parametrize(
    "spec",
    ["Flat", "IVF16,Flat", "IVF16,PQ16x4fsr", "HNSW16", "IVF16,RaBitQ", "OPQ16,IVF16,PQ16x4fs", "Lean8,IVF16,PQ4x4fsr"],
)
@pytest.mark.parametrize("first", [0, 5])
@pytest.mark.parametrize("split", [COUNT, 1000])
def test_looked_at_in_full_any_spec_gives_the_exact_answer(spec, first, split):
    segments = [segment(ROWS[:split], first, [0, 7])]
    segments += [segment(ROWS[split:], first + split, [3])] if split < COUNT else []
    built = ann.build(segments, spec, DIM, first + COUNT, QUERIES)
    assert built.index.ntotal == COUNT - sum(len(each.dead) for each in segments)
    dead_later = [dataclasses.replace(each, dead=np.array([0, 7, 11])) for each in segments]
    everything = Point(1.0, 3000, COUNT, 1.0, 1.0)
    found = ann.search(built, everything, dead_later, QUERIES[:50], 10)
    truth = exact.search(dead_later, QUERIES[:50], 10)
    np.testing.assert_array_equal(found.rows, truth.rows)
    np.testing.assert_allclose(found.scores, truth.scores, atol=1e-6)


def test_faiss_reads_the_rows_of_one_segment_where_they_lie(index, monkeypatch):
    asked = []
    monkeypatch.setattr(ann, "rerank", lambda *args: asked.append("by hand") or rerank(*args))
    point = index.points[-1]
    by_faiss = ann.search(index, point, [segment()], QUERIES, 10)
    assert not asked
    by_hand = ann.search(dataclasses.replace(index, rows_from=-1), point, [segment()], QUERIES, 10)
    assert asked == ["by hand"]  # the index might name rows before the segment, which FAISS would read nevertheless
    np.testing.assert_array_equal(by_faiss.rows, by_hand.rows)
    np.testing.assert_allclose(by_faiss.scores, by_hand.scores, atol=1e-6)


def test_a_row_beyond_the_segment_is_an_error_not_a_read():
    flat = ann.build([segment()], "Flat", DIM, COUNT).index
    with pytest.raises(RuntimeError, match="base_labels"):
        refined(flat, None, segment(ROWS[:10]), QUERIES[:1], 3, 100)


def test_the_rerank_drops_what_was_deleted_and_pads_what_is_missing():
    rows = np.array([[3, 1, -1, 2, 99_999]])
    found = rerank([segment(dead=[1])], QUERIES[:1], rows, 5)
    scores = {row: float(QUERIES[0] @ ROWS[row].astype(np.float16).astype(np.float32)) for row in (2, 3)}
    assert found.rows[0].tolist() == [*sorted(scores, key=scores.get, reverse=True), -1, -1, -1]
    assert found.scores[0, 0] == pytest.approx(max(scores.values()), abs=1e-6)


def test_points_rise_and_keep_their_promise_on_other_queries(index):
    assert [point.asked for point in index.points] == [0.9, 0.95, 0.99]
    assert sorted(point.recall for point in index.points) == [point.recall for point in index.points]
    others = clustered(2000, 2)
    truth = exact.search([segment()], others, 10).rows
    for point in index.points:
        found = ann.search(index, point, [segment()], others, 10).rows
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)])
        assert recall == pytest.approx(point.recall, abs=0.02)
        assert recall >= point.asked - 0.01


def test_the_point_for_a_recall_is_the_cheapest_that_gives_it(index):
    assert index.point(0.93).asked == 0.95
    assert index.point(0.99).asked == 0.99
    assert index.point(0.999) is None


def test_what_does_not_fit_or_cannot_be_measured_is_said():
    with pytest.raises(StoreError, match=r"fits 1 MB: give --memory 12M"):
        tune.candidates(1_000_000, 64, 2**20)
    with pytest.raises(StoreError, match="Lean32,Flat does not reduce 32 dimensions: give Lean16, or leave it out"):
        ann.build([segment()], "Lean32,Flat", DIM, COUNT, QUERIES)
    with pytest.raises(StoreError, match="Lean8,Flat learns from text queries"):
        ann.build([segment()], "Lean8,Flat", DIM, COUNT)
    with pytest.raises(StoreError, match="3 text queries are too few"):
        tune.choose([segment()], QUERIES[:3], DIM, COUNT, 0.9, 1e9)
    assert all(each.bytes_per_row * 10**6 <= 2e8 for each in tune.candidates(10**6, 512, 2e8))


@pytest.mark.parametrize("spec", ["IVF16,Flat", "IVF16,PQ16x4fsr", "Lean24,IVF16,PQ12x4fsr", "OPQ16,IVF16,PQ16x4fs"])
def test_more_lists_than_there_are_is_all_of_them(spec):
    """Where few rows may answer a search looks the harder: twice as hard as at all 16 lists is at all 16 lists."""
    built = ann.build([segment()], spec, DIM, COUNT, QUERIES)
    points = [Point(0.9, lists, 40, 1.0, 1.0) for lists in (16, 32)]
    all_of_them, more = (ann.search(built, point, [segment()], QUERIES, 10) for point in points)
    np.testing.assert_array_equal(more.rows, all_of_them.rows)


def test_the_best_spec_is_chosen_by_measuring(monkeypatch):
    monkeypatch.setattr(tune, "SAMPLE_ROWS", 1500)
    said = []
    built = tune.choose(
        [segment()], QUERIES, DIM, COUNT, 0.9, 1e9, ["nonsense", "IVF16,PQ2x4fs", "IVF16,Flat"], said.append
    )
    assert built.spec in ("IVF16,PQ2x4fs", "IVF16,Flat")
    assert any("nonsense: FAISS does not take it" in line for line in said)
    assert sum("queries/s at 0.90" in line or "never" in line for line in said) == 2


def test_efforts_that_are_too_little_are_passed_over_and_no_others(monkeypatch):
    built = ann.build([segment()], "IVF32,PQ16x4fsr", DIM, COUNT)
    truth = exact.search([segment()], QUERIES, 10).rows
    efforts = tune.worth_trying(built, QUERIES[::10], truth[::10], 0.97)
    assert efforts[0] > 1
    assert efforts == tune.all_efforts(built)[-len(efforts) :]
    found = tune.ways_to(built, QUERIES, truth, [0.97])
    monkeypatch.setattr(tune, "worth_trying", lambda built, *asked: tune.all_efforts(built))
    assert found == tune.ways_to(built, QUERIES, truth, [0.97])


@pytest.mark.parametrize(("second", "chosen"), [(0.95, "IVF16,SQ8"), (0.85, "IVF16,Flat")])
def test_a_spec_that_takes_more_memory_must_be_clearly_quicker(second, chosen, monkeypatch):
    timed = iter([(1.0, 1, 10), (second, 1, 10)])
    monkeypatch.setattr(tune, "cheapest", lambda *asked: next(timed))
    asked = [segment()], QUERIES, DIM, COUNT, 0.9
    assert tune.best_on_a_sample(*asked, ["IVF16,SQ8", "IVF16,Flat"], lambda text: None) == chosen


@pytest.mark.parametrize(
    ("measured", "chosen", "built"),
    [
        ([(50, 1.0)], 0, 1),  # fine codes: nothing else is built
        ([None, (200, 1.0), (50, 0.5)], 2, 3),  # the first never gets there, the second is coarse
        ([(200, 1.0), (200, 2.0), (50, 0.1)], 0, 2),  # until one is slower than the best
        ([(200, 1.0), (50, 2.0)], 0, 2),
        ([(200, 1.0), None, None], 0, 2),
        ([None, None, None], 0, 3),  # none does: the first, which takes the least
    ],
)
def test_codes_too_coarse_for_all_rows_have_wider_ones_built(measured, chosen, built, monkeypatch):
    specs = ["IVF16,PQ8x4fs", "IVF16,PQ16x4fs", "IVF16,SQ8"]
    monkeypatch.setattr(tune, "best_on_a_sample", lambda *asked: specs[0])
    points = iter(measured)

    def operating_points(*asked):
        at = next(points)
        return [Point(0.9, at[1], at[0], 0.9, 0.9)] if at else []

    monkeypatch.setattr(tune, "operating_points", operating_points)
    monkeypatch.setattr(tune, "cheapest", lambda built, segments, queries, ways: (ways[0][0], *ways[0]))
    said = []
    made = tune.choose([segment()], QUERIES, DIM, COUNT, 0.9, 1e9, specs, said.append)
    assert made.spec == specs[chosen]
    assert sum("building" in line for line in said) == built


# ---------------------------------------------------------------- in a store


@pytest.fixture
def store(tmp_path, index):
    with Store.create(tmp_path / "index", DIM) as made:
        made.add(ROWS, [Record(str(i), fields={"n": i}) for i in range(COUNT)])
        made.set_approximate(ann.copy_of(index), 0.99)
        yield made


def asked_of_faiss(monkeypatch):
    """How often the approximate index is asked."""
    asked = []
    search = ann.search
    monkeypatch.setattr(ann, "search", lambda *args: asked.append(1) or search(*args))
    return asked


def test_a_store_answers_from_it_after_opening_again(store, monkeypatch):
    asked = asked_of_faiss(monkeypatch)
    with Store.open(store.path) as reader:
        found = reader.search(ROWS[:20], 1)
        assert found.rows[:, 0].tolist() == list(range(20))
        assert len(asked) == 1
        assert reader.search(ROWS[:20], 1, recall=1).rows[:, 0].tolist() == list(range(20))
        assert len(asked) == 1  # the exact answer was asked for
        assert reader.verify() == []


def test_new_rows_are_found_at_once_and_merged_later(store, monkeypatch):
    new = clustered(50, 5)
    store.add(new, [Record(f"new {i}") for i in range(50)])
    store.delete(["3"])
    assert store.derived.unmerged() == 50
    with Store.open(store.path) as reader:
        assert reader.search(new, 1).rows[:, 0].tolist() == list(range(COUNT, COUNT + 50))
        assert store.merge_approximate()
        assert not store.merge_approximate()
        assert store.derived.unmerged() == 0
        assert store.derived.index.index.ntotal == COUNT + 50
        assert store.search(new, 1).rows[:, 0].tolist() == list(range(COUNT, COUNT + 50))
        assert 3 not in store.search(ROWS[3:4], 5).rows
        assert reader.search(new, 1).rows[:, 0].tolist() == list(range(COUNT, COUNT + 50))  # on the state it opened
        assert sorted(file.name for file in (store.path / "derived").iterdir()) == ["000001.faiss", "000002.faiss"]
    store.remove_orphans()
    assert [file.name for file in (store.path / "derived").iterdir()] == ["000002.faiss"]


def test_a_compaction_keeps_it(store, monkeypatch):
    store.delete([str(i) for i in range(0, COUNT, 3)])
    points = store.derived.index.points
    store.compact()
    asked = asked_of_faiss(monkeypatch)
    found = store.search(ROWS[1:2], 1)
    assert store.records(found.rows[0])[0].id == "1"
    assert len(asked) == 1
    assert store.derived.index.points == points
    assert store.verify() == []
    assert store.derived.index.index.ntotal == len(store) == COUNT - COUNT // 3


def test_a_snapshot_has_it_too_unless_it_is_damaged(store, tmp_path, monkeypatch):
    store.snapshot(tmp_path / "copy")
    asked = asked_of_faiss(monkeypatch)
    with Store.open(tmp_path / "copy") as copy:
        assert copy.verify() == []
        assert copy.search(ROWS[:5], 1).rows[:, 0].tolist() == list(range(5))
        assert len(asked) == 1
    (file,) = store.derived.files()
    file.write_bytes(b"damaged")
    store.snapshot(tmp_path / "another")
    with Store.open(tmp_path / "another") as copy:
        assert copy.verify() == []
        assert copy.derived.recorded is None
        assert copy.search(ROWS[:5], 1).rows[:, 0].tolist() == list(range(5))


def test_a_file_that_cannot_give_the_recall_is_not_read(store):
    """FAISS takes a tenth of a second to import, which an exact answer has no use for."""
    with Store.open(store.path) as reader, mock.patch.object(Derived, "_believed", side_effect=AssertionError):
        assert reader.search(ROWS[:5], 1, recall=0.99999).rows[:, 0].tolist() == list(range(5))
        with pytest.raises(AssertionError):
            reader.search(ROWS[:5], 1)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_file_is_not_believed(store, damage, monkeypatch):
    (file,) = (store.path / "derived").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 8
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flipped" else content[:100])
    asked = asked_of_faiss(monkeypatch)
    with Store.open(store.path) as reader:
        assert reader.search(ROWS[:5], 1).rows[:, 0].tolist() == list(range(5))
        assert not asked
        assert reader.derived.index is None
        (problem,) = reader.verify()
        assert "derived/000001.faiss" in problem
        assert problem.endswith("`mmr index` makes it again")


def resigned(store, content, **recorded):
    """Put a file of another hand in place of the approximate index, with its own checksum recorded."""
    (file,) = (store.path / "derived").iterdir()
    file.write_bytes(content)
    said = store.manifest["ann"] | {"sha256": hashlib.sha256(content).hexdigest(), **recorded}
    store.set_manifest(ann=said)


def made_by_faiss(ids, dim=DIM):
    import faiss

    index = faiss.index_factory(dim, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    rows = np.ascontiguousarray(ROWS[:, :dim])
    index.train(rows)
    index.add_with_ids(rows[: len(ids)], np.array(ids, np.int64))
    return faiss.serialize_index(index).tobytes()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"damaged", lambda: made_by_faiss([-5]), lambda: made_by_faiss([COUNT]), lambda: made_by_faiss([2**62]),
        lambda: made_by_faiss([1], dim=DIM // 2), lambda: made_by_faiss([1])[:-7],
    ],
)  # fmt: skip
def test_a_file_of_another_hand_is_not_believed_for_its_checksum(store, content, monkeypatch):
    resigned(store, content() if callable(content) else content)
    asked = asked_of_faiss(monkeypatch)
    with Store.open(store.path) as reader:
        assert reader.search(ROWS[:5], 1).rows[:, 0].tolist() == list(range(5))
        assert not asked


def test_reading_leaves_faiss_as_it_was(store):
    import faiss

    before = faiss.get_deserialization_vector_byte_limit()
    with Store.open(store.path) as reader:
        assert reader.derived.index is not None
    assert faiss.get_deserialization_vector_byte_limit() == before


def test_every_flipped_byte_of_the_file_is_noticed(store):
    (file,) = (store.path / "derived").iterdir()
    good = file.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(good), 200):
        file.write_bytes(good[:place] + bytes([good[place] ^ (1 << place % 8)]) + good[place + 1 :])
        assert len(store.verify()) == 1
    file.write_bytes(good)
    assert store.verify() == []


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_filtered_recall_is_not_below_what_was_tuned(store, share):
    where = filters.parse(f"n < {int(share * COUNT)}")
    found = store.search(QUERIES, 10, where=where).rows
    truth = store.search(QUERIES, 10, where=where, recall=1).rows
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)])
    assert recall >= 0.9
    assert found.max() < share * COUNT


# ---------------------------------------------------------------- what the manifest says of it


def test_what_is_recorded_reads_back_and_lies_as_it_always_did():
    point = {"asked": 0.9, "effort": 4, "fetch": 40, "recall": 0.93, "low": 0.91}
    said = {"number": 3, "sha256": "ab", "spec": "IVF4,Flat", "rows_below": 9, "asked": 0.9, "rows_from": 2}
    said |= {"points": [point]}
    recorded = Recorded.from_json(said)
    assert recorded == Recorded(3, "ab", "IVF4,Flat", 9, 0.9, 2, (Point(0.9, 4, 40, 0.93, 0.91),))
    assert json.dumps(recorded.to_json()) == json.dumps(said)  # the order of the keys too
    del said["rows_from"]  # as it was written before there was one
    assert Recorded.from_json(said).rows_from == 0


def test_a_manifest_that_makes_no_sense_of_it_is_damage(store):
    store.set_manifest(walked=1)
    with sqlite3.connect(store.path / "mmr.db") as database:
        database.execute("""UPDATE manifest SET value = '{"number": 1}' WHERE key = 'ann'""")
        proof.seal(database)
    database.close()
    with pytest.raises(Damaged, match=r"mmr.db is damaged \(Object missing required field `sha256`\)"):
        Store.open(store.path)


def test_only_a_writer_changes_it(store):
    with Store.open(store.path) as reader:
        built = reader.derived.index
        for change in (lambda: reader.set_approximate(built, 0.9), reader.drop_approximate):
            with pytest.raises(StoreError, match="write=True"):
                change()
    assert [file.name for file in (store.path / "derived").iterdir()] == ["000001.faiss"]
    store.drop_approximate()
    assert list((store.path / "derived").iterdir()) == []
