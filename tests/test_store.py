"""The store against a plain dictionary, a full disk, a second writer, damaged files. Crashes are in test_faults.py."""

import errno
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from older import prove

from indexes import Damaged, Locked, NewerFormat, NotAnIndex, Record, Store, StoreError, database, durable, filters
from rows import numbered as unit

DIM = 8


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "index", DIM, encoder={"name": "toy"}) as made:
        yield made


def test_what_was_added_is_found_after_opening_again(store):
    store.add(unit(1, 2, 3), [Record("a", "s1", {"uri": "a.jpg"}), Record("b"), Record("c")])
    with Store.open(store.path) as reader:
        found = reader.search(unit(2), 2)
        assert reader.records(found.rows[0])[0] == Record("b")
        assert found.scores[0, 0] == pytest.approx(1, abs=1e-3)  # rows are float16
        assert reader.manifest["encoder"] == {"name": "toy"}
        assert len(reader) == 3


class AgainstADictionary(RuleBasedStateMachine):
    """Any sequence of add, delete, compact and reopen leaves what a dictionary would hold."""

    def __init__(self):
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.create(Path(self.folder.name) / "i", DIM)
        self.model = {}

    @rule(batch=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 50), max_size=5))
    def add(self, batch):
        if batch:
            self.store.add(unit(*batch.values()), [Record(name, str(n)) for name, n in batch.items()])
            self.model |= batch

    @rule(names=st.sets(st.sampled_from("abcdefgh"), max_size=3))
    def delete(self, names):
        self.store.delete(names)
        for name in names:
            self.model.pop(name, None)

    @rule()
    def compact(self):
        self.store.compact()

    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store.open(Path(self.folder.name) / "i", write=True)

    @invariant()
    def holds_the_same(self):
        assert self.store.stamps() == {name: str(n) for name, n in self.model.items()}
        assert len(self.store) == len(self.model)
        assert self.store.verify() == []
        if self.model:
            numbers = sorted(set(self.model.values()))
            found = self.store.search(unit(*numbers), 1)
            best = self.store.records(found.rows[:, 0])
            assert [self.model[record.id] for record in best] == numbers

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_a_reader_stays_on_the_state_it_opened(store):
    store.add(unit(1, 2), [Record("a"), Record("b")])
    with Store.open(store.path) as reader:
        store.delete(["a"])
        store.add(unit(3), [Record("c")])
        store.compact()
        assert reader.stamps().keys() == {"a", "b"}
        found = reader.search(unit(1), 3)
        assert [record.id for record in reader.records(found.rows[0][:2])] == ["a", "b"]
        assert found.rows[0, 2] == -1


def test_compaction_drops_the_dead_and_the_files_go_with_the_next_one(store):
    store.add(unit(1, 2), [Record("a"), Record("b")])
    store.add(unit(3), [Record("a")])
    store.compact()
    store.compact()
    assert len(store) == 2
    assert len(list((store.path / "segments").iterdir())) == 2  # this one, and the one before for those who read it
    assert store.stamps().keys() == {"a", "b"}


@pytest.mark.parametrize(
    "vectors",
    [unit(1) * 2, np.full((1, DIM), np.nan, np.float32), np.zeros((1, DIM), np.float32), unit(1)[:, :4]],
    ids=["too long", "nan", "zero", "wrong dim"],
)
def test_only_unit_rows_come_in(store, vectors):
    with pytest.raises(ValueError, match=r"unit length|shape"):
        store.add(vectors, [Record("a")])
    assert len(store) == 0


def test_a_second_writer_is_told_to_wait(store):
    with pytest.raises(Locked, match="another process is writing"):
        Store.open(store.path, write=True)
    with Store.open(store.path) as reader, pytest.raises(StoreError, match="write=True"):
        reader.add(unit(1), [Record("a")])


# ---------------------------------------------------------------- when the machine fails


@pytest.mark.parametrize("what", ["fsync", "write"])
def test_a_full_disk_leaves_the_last_commit(store, monkeypatch, what):
    store.add(unit(1), [Record("a")])

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if what == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(durable, "write_file", full)
        with pytest.raises(OSError, match="No space left"):
            store.add(unit(2), [Record("b")])
    assert [file.name for file in (store.path / "segments").iterdir()] == ["000001.f16"]
    store.add(unit(3), [Record("c")])
    assert store.stamps().keys() == {"a", "c"}


def test_every_flipped_byte_of_a_segment_is_noticed(store):
    store.add(unit(1, 2), [Record("a"), Record("b")])
    file = store.path / "segments" / "000001.f16"
    good = file.read_bytes()
    for place in range(len(good)):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        item = "ab"[place // (2 * DIM)]
        assert store.verify() == [f"segments/000001.f16: the vector of {item} is not what was written"]
    file.write_bytes(good)
    assert store.verify() == []


def test_a_truncated_or_missing_segment_is_named(store):
    store.add(unit(1), [Record("a")])
    file = store.path / "segments" / "000001.f16"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Damaged, match="000001.f16 has 15 bytes instead of 16"):
        Store.open(store.path)
    file.unlink()
    with pytest.raises(Damaged, match="000001.f16 is missing"):
        Store.open(store.path)


def test_a_changed_record_is_noticed(store):
    store.add(unit(1, 2), [Record("a", "s", {"uri": "a.jpg"}), Record("b")])
    assert store.verify() == []
    with sqlite3.connect(store.path / "mmr.db") as connection:
        connection.execute("""UPDATE items SET fields = '{"uri": "b.jpg"}' WHERE id = 'a'""")
    connection.close()
    assert store.verify() == ["mmr.db: the record of row 0 was changed"]


# ---------------------------------------------------------------- snapshots and filters


def test_a_snapshot_is_the_state_it_was_taken_of(store, tmp_path):
    store.add(unit(1, 2), [Record("a"), Record("b")])
    store.compact()
    store.delete(["a"])
    store.snapshot(tmp_path / "copies" / "monday", root="elsewhere")
    store.add(unit(3), [Record("c")])
    store.compact()
    store.compact()
    with Store.open(tmp_path / "copies" / "monday", write=True) as copy:
        assert copy.stamps().keys() == {"b"}
        assert copy.manifest == {**copy.manifest, "root": "elsewhere", "encoder": {"name": "toy"}}
        assert copy.verify() == []
        copy.add(unit(4), [Record("d")])
        assert copy.stamps().keys() == {"b", "d"}
    assert store.stamps().keys() == {"b", "c"}
    with pytest.raises(NotAnIndex, match="not empty"):
        store.snapshot(tmp_path / "copies" / "monday")


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
@pytest.mark.parametrize("before", ["new", "empty"])
@pytest.mark.parametrize("write", range(4))
def test_a_snapshot_that_fails_leaves_nothing(store, tmp_path, monkeypatch, error, before, write):
    """At each of its writes: two segments, the database, and the name of the database."""
    store.add(unit(1, 2), [Record("a"), Record("b")])
    store.add(unit(3), [Record("c")])
    target = tmp_path / "copies" / "monday"
    if before == "empty":
        target.mkdir(parents=True)
    (tmp_path / "other").touch()
    was, writes = files_below(tmp_path), []

    def failing(real):
        def call(*given):
            writes.append(given)
            if len(writes) == write + 1:
                raise error
            return real(*given)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_file", failing(durable.write_file))
        patch.setattr("indexes.database.put", failing(database.put))
        real = durable.sync_folder
        named = failing(real)  # of the folders only that of mmr.db: by then it has its name
        patch.setattr("indexes.durable.sync_folder", lambda at: (named if (at / "mmr.db").exists() else real)(at))
        with pytest.raises(type(error)):
            store.snapshot(target)
    assert len(writes) == write + 1
    assert files_below(tmp_path) == was
    store.snapshot(target)
    with Store.open(target) as copy:
        assert copy.stamps().keys() == {"a", "b", "c"}
        assert copy.verify() == []


def test_a_snapshot_has_the_files_beside_that_it_is_told_of(store, tmp_path):
    (store.path / "list.txt").write_text("one\n")
    store.snapshot(tmp_path / "copy", beside=["list.txt", "none.txt"])
    assert (tmp_path / "copy" / "list.txt").read_text() == "one\n"
    assert not (tmp_path / "copy" / "none.txt").exists()


def test_a_snapshot_takes_up_the_half_that_a_kill_left(store, tmp_path):
    store.add(unit(1), [Record("a")])
    target = tmp_path / "copy"
    (target / "segments").mkdir(parents=True)
    (target / "segments" / "000001.f16").write_bytes(b"ha")
    (target / "mmr.db.partial").write_bytes(b"lf")
    store.snapshot(target)
    with Store.open(target) as copy:
        assert copy.verify() == []


def test_a_snapshot_has_no_place_inside_its_index_nor_where_something_is(store, tmp_path):
    before = files_below(store.path)
    for inside in (store.path, store.path / "segments" / "copy"):
        with pytest.raises(NotAnIndex, match="lies inside the index itself: give a folder outside"):
            store.snapshot(inside)
    assert files_below(store.path) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(NotAnIndex, match="not empty: give a folder that is new or empty"):
        store.snapshot(tmp_path / "full")
    assert files_below(tmp_path / "full") == ["letter.txt"]
    with Store.open(store.path) as reader, pytest.raises(StoreError, match="write=True"):
        reader.snapshot(tmp_path / "copy")


def test_a_snapshot_leaves_out_what_only_earlier_readers_need(store, tmp_path):
    store.add(unit(1, 2), [Record("a"), Record("b")])
    store.compact()
    store.snapshot(tmp_path / "copy")
    assert files_below(tmp_path / "copy" / "segments") == ["000002.f16"]
    with Store.open(tmp_path / "copy", write=True) as copy:
        copy.compact()
        assert copy.verify() == []
        assert copy.stamps().keys() == {"a", "b"}


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("ways", [0, 10**9], ids=["masked", "gathered"])
def test_a_filter_leaves_what_meets_it(store, monkeypatch, share, ways):
    monkeypatch.setattr("indexes.segments.GATHER_BELOW", 1 / ways if ways else 10**9)
    rng = np.random.default_rng(0)
    years = rng.random(400)
    for start in range(0, 400, 100):
        records = [Record(str(i), fields={"year": float(years[i])}) for i in range(start, start + 100)]
        store.add(unit(*range(start, start + 100)), records)
    store.delete(["7", "8", "250"])
    found = store.search(unit(*range(5)), 9, where=filters.parse(f"year < {share}"))
    left = [i for i in range(400) if years[i] < share and i not in (7, 8, 250)]
    scores = unit(*range(5)) @ np.stack([unit(i)[0] for i in left]).astype(np.float16).T if left else np.empty((5, 0))
    for line, expected in zip(found.rows, scores, strict=True):
        best = [left[i] for i in np.argsort(-expected, kind="stable")[:9]]
        assert [int(record.id) for record in store.records(line[line >= 0])] == best
    assert len(store.rows(filters.parse(f"year < {share}"))) == len(left)
    store.add(unit(500), [Record("new", fields={"year": -1.0})])
    assert "new" in {r.id for r in store.records(store.search(unit(500), 1, where=filters.parse("year < 0")).rows[0])}


# ---------------------------------------------------------------- what is no index


def test_what_is_no_index_is_said(tmp_path):
    with pytest.raises(NotAnIndex, match="no index at"):
        Store.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "mmr.db").touch()
    with pytest.raises(NotAnIndex, match="is empty"):
        Store.open(tmp_path / "empty")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "mmr.db").write_text("not a database, but long enough to be looked at " * 50)
    with pytest.raises(Damaged, match="is damaged"):
        Store.open(tmp_path / "text")
    (tmp_path / "other").mkdir()
    other = sqlite3.connect(tmp_path / "other" / "mmr.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(NotAnIndex, match="was not written by mmr"):
        Store.open(tmp_path / "other")
    with pytest.raises(NotAnIndex, match="not empty"):
        Store.create(tmp_path / "other", 2)


def test_a_newer_format_is_refused(store):
    store.close()
    database = sqlite3.connect(store.path / "mmr.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(NewerFormat, match="format 99"):
        Store.open(store.path)


def test_a_making_that_was_interrupted_is_taken_up(tmp_path):
    (tmp_path / "i" / "segments").mkdir(parents=True)
    (tmp_path / "i" / "lock").touch()
    (tmp_path / "i" / "mmr.db.partial").write_text("half")
    with Store.create(tmp_path / "i", 2) as store:
        assert len(store) == 0


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_fields_that_are_no_json_are_refused_and_nothing_is_changed(store, number):
    store.add(unit(1), [Record("a")])
    with pytest.raises(ValueError, match="JSON"):
        store.add(unit(2, 3), [Record("b"), Record("c", "", {"meta": {"price": [number]}})])
    assert store.stamps() == {"a": ""}
    assert store.verify() == []


def test_nan_that_an_older_version_wrote_is_null(store):
    store.add(unit(1, 2, 3), [Record("abc"[n], "", {"price": 1, "size": n + 1}) for n in range(3)])
    with sqlite3.connect(store.path / "mmr.db") as older:
        older.execute("""UPDATE items SET fields = '{"price": NaN, "size": [Infinity, 2]}' WHERE id = 'b'""")
        prove(older)
    older.close()

    def ids(where):
        return [record.id for record in store.records(store.rows(filters.parse(where)))]

    assert (ids("price == 1"), ids("price is null"), ids("size > 2")) == (["a", "c"], ["b"], ["c"])
    assert store.search(unit(2), 1, where=filters.parse("price is null")).rows.tolist() == [[1]]
    store.compact()
    assert store.records(store.rows())[1].fields == {"price": None, "size": [None, 2]}
    assert (ids("price is null"), store.verify()) == (["b"], [])


def test_a_record_that_is_no_json_at_all_is_damage(store):
    store.add(unit(1), [Record("a")])
    with sqlite3.connect(store.path / "mmr.db") as other:
        other.execute("UPDATE items SET fields = '{'")
    other.close()
    with pytest.raises(Damaged, match="mmr verify"):
        store.rows(filters.parse("price == 1"))
