"""A compaction: what it leaves, to the bit, and that what it takes does not grow with the rows."""

import sqlite3
import tracemalloc
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from indexes import Damaged, Record, Store, foreign, items, proof, segment_files
from rows import numbered, unit_rows

DIM = 8
ITEM = f"SELECT {proof.ITEM}, died FROM items ORDER BY row"


def lines_of(store, sql):
    with closing(sqlite3.connect(store.path / "mmr.db")) as database:
        return database.execute(sql).fetchall()


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Rows 0 to 6 in three segments; b is written twice, d is deleted."""
    monkeypatch.setattr(segment_files, "AT_ONCE", 2)
    with Store.create(tmp_path / "i", DIM) as made:
        made.add(numbered(0, 1, 2), [Record(name, f"s{name}", {"é": [name, 1.5, None]}) for name in "abc"])
        made.add(numbered(3, 4, 5), [Record("d"), Record("b", "again", {"t": "NaN is ü"}), Record("e")])
        made.add(numbered(6), [Record("f")])
        made.delete(["d"])
        yield made


def test_what_is_alive_is_numbered_anew_and_else_as_it_was(store):
    before, rows = lines_of(store, ITEM), np.concatenate([segment.vectors for segment in store.segments])
    store.compact()
    assert lines_of(store, "SELECT id, first_row, rows, retired FROM segments") == [
        (1, 0, 3, 5), (2, 3, 3, 5), (3, 6, 1, 5), (4, 7, 5, None),
    ]  # fmt: skip
    (segment,) = store.segments
    assert segment.vectors.tobytes() == rows[[0, 2, 4, 5, 6]].tobytes()
    assert [record.id for record in store.records(range(7, 12))] == ["a", "c", "b", "e", "f"]
    born = []
    for row, old in enumerate((0, 2, 4, 5, 6), 7):
        _, name, stamp, fields, _, vector, _, _ = before[old]
        born.append((row, name, stamp, fields, 5, vector, proof.of_item(row, name, stamp, fields, 5, vector), None))
    buried = [(*line[:-1], line[-1] or 5) for line in before]  # b and d died before
    assert lines_of(store, ITEM) == [*buried, *born]
    assert store.manifest["next_row"] == 12
    assert store.verify() == []


def test_those_who_opened_it_before_read_on_until_they_are_gone(store):
    with Store.open(store.path) as reader:
        found, records = reader.search(numbered(4), 5), reader.records(reader.rows())
        store.compact()
        store.compact()
        assert np.array_equal(reader.search(numbered(4), 5).rows, found.rows)
        assert reader.records(reader.rows()) == records
        assert reader.verify() == []
    store.compact()
    assert {row for row, *_ in lines_of(store, ITEM)} == set(range(12, 22))  # this one, and the one before
    assert store.verify() == []


def test_a_store_of_nothing_has_no_segment(store):
    store.delete("abcdef")
    store.compact()
    assert (store.segments, len(store), store.verify()) == ([], 0, [])
    store.add(numbered(1), [Record("a")])
    assert store.rows().tolist() == [7]


def test_a_row_whose_record_is_missing_is_damage_and_nothing_is_changed(store):
    store._database.execute("DELETE FROM items WHERE id = 'c'")
    before = lines_of(store, ITEM)
    with pytest.raises(Damaged, match="rows without a record"):
        store.compact()
    assert lines_of(store, ITEM) == before
    assert len(store.segments) == 3


def test_no_part_of_a_long_one_counts_for_what_goes_in_circles(tmp_path, monkeypatch):
    """One turn may take 600 seconds; here each of three parts takes 400."""
    now, real = [0.0], items.insert
    monkeypatch.setattr(foreign, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(foreign, "_STEPS", 1)
    monkeypatch.setattr(segment_files, "AT_ONCE", 1)

    def slow(*given):
        now[0] += 400
        return real(*given)

    with Store.create(tmp_path / "i", DIM) as store:
        store.add(numbered(0, 1, 2), [Record(name) for name in "abc"])
        monkeypatch.setattr(items, "insert", slow)
        store.compact()
        assert (now[0], len(store), store.verify()) == (1200, 3, [])


def peak(folder, rows):
    """Bytes that Python and NumPy hold at most during a compaction that also collects one."""
    with Store.create(folder / str(rows), DIM) as store:
        vectors = unit_rows(np.random.default_rng(rows), rows, DIM)
        store.add(vectors, [Record(f"{row:09d}", "stamp", {"text": "x" * 200}) for row in range(rows)])
        store.compact()
        tracemalloc.start()
        try:
            store.compact()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def test_its_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    """100 rows at once of some 250 characters: their lines, read and with their new digests, are below 100 kB."""
    monkeypatch.setattr(segment_files, "AT_ONCE", 100)
    few, many = peak(tmp_path, 500), peak(tmp_path, 5_000)
    assert many < 160_000  # 32 bytes a row: their vectors are 16, their records 250
    assert many - few < 45_000  # ten bytes a row more: a list of their numbers is of 40


def test_blocks_that_replace_everything_are_of_one_file_and_leave_none_where_one_is_wrong(store):
    before = sorted((store.path / "segments").iterdir())

    def blocks(*names):
        for number, name in enumerate(names):
            yield numbered(number), [Record(name)]

    with pytest.raises(ValueError, match="an id of its own"):
        store.replace(blocks("x", "y", "x"))
    assert sorted((store.path / "segments").iterdir()) == before
    assert len(store) == 5
    store.replace(blocks("x", "y", "z"), said=1)
    assert [record.id for record in store.records(store.rows())] == ["x", "y", "z"]
    assert (len(store.segments), store.manifest["said"], store.verify()) == (1, 1, [])
    assert store.search(numbered(2), 1).rows.tolist() == [[9]]
