"""Readers are counted: what one may still ask for is kept until it is gone; where none can be counted, it is said."""

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from indexes import NotAnIndex, Outdated, Record, Store, StoreError, filters, leases
from indexes.approximate import ann
from indexes.leases import Needed
from retrieval import Retriever
from retrieval.indexing.catalog import Identity
from rows import numbered
from terminal import fails, mmr

DIM = 8


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "index", DIM, encoder={"name": "toy"}) as made:
        made.add(numbered(1, 2, 3), [Record("a", fields={"n": 1}), Record("b", fields={"n": 2}), Record("c")])
        yield made


def turn(store, times=3):
    """Everything that is there is replaced, again and again."""
    for _ in range(times):
        number = store.generation
        store.add(numbered(number, number + 1), [Record("a", str(number)), Record(f"new {number}")])
        store.compact()


def all_of(reader):
    """Whatever can be asked, as it is answered."""
    found = reader.search(numbered(1, 2, 3), 3)
    return (
        reader.stamps(), reader.rows().tolist(), reader.rows(filters.parse("n > 1")).tolist(), len(reader),
        reader.records(reader.rows()), found.rows.tolist(), found.scores.tolist(), reader.verify(),
        reader.search(numbered(1), 2, where=filters.parse("n > 0")).rows.tolist(),
    )  # fmt: skip


def names(path, folder):
    return sorted(file.name for file in (path / folder).glob("*"))


# ---------------------------------------------------------------- what is kept


def test_whatever_a_reader_can_ask_is_kept_while_it_reads(store):
    with Store.open(store.path) as reader:
        before = all_of(reader)
        turn(store)
        assert all_of(reader) == before
        with Store.open(store.path) as later:
            between = all_of(later)
            turn(store)
            assert all_of(later) == between
            assert all_of(reader) == before
    assert names(store.path, "readers") == []


def test_what_waited_is_collected_when_the_last_reader_is_gone(store):
    with Store.open(store.path) as first, Store.open(store.path):
        turn(store)
        first.close()
        turn(store)
        assert len(names(store.path, "segments")) == 13  # three adds and compactions twice, and the first segment
    store.compact()
    assert len(names(store.path, "segments")) == 2  # this one, and the one before for whom nobody counts
    assert names(store.path, "readers") == []


def test_the_next_writer_collects_what_waited(store):
    with Store.open(store.path):
        turn(store)
        store.close()
    assert len(names(store.path, "segments")) == 7
    with Store.open(store.path, write=True) as again:
        # The last compaction retired the one before it and what was added since.
        assert len(names(store.path, "segments")) == 3
        assert again.verify() == []
        generation = again.generation
    with Store.open(store.path, write=True) as again:
        assert again.generation == generation  # nothing waited


def derive(store):
    built = ann.build(store.segments, "IVF1,Flat", DIM, store.manifest["next_row"])
    built.points = [ann.Point(0.9, 1, 10, 1.0, 1.0)]
    store.set_approximate(built, 0.9)


def test_an_approximate_index_that_was_not_read_yet_is_kept_too(store):
    derive(store)
    with Store.open(store.path) as reader, Store.open(store.path):
        derive(store)
        store.drop_approximate()
        derive(store)
        assert names(store.path, "derived") == ["000001.faiss", "000002.faiss", "000003.faiss"]
        assert reader.derived.index is not None
        assert reader.verify() == []
    store.remove_orphans()
    assert names(store.path, "derived") == ["000003.faiss"]


def test_a_reader_that_was_killed_is_not_waited_for(store):
    script = "import sys; from indexes import Store; s = Store.open(sys.argv[1]); print('open', flush=True); input()"
    reader = subprocess.Popen(
        [sys.executable, "-c", script, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout.readline() == "open\n"
    turn(store)
    assert len(names(store.path, "segments")) == 7
    reader.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    reader.communicate()
    assert len(names(store.path, "readers")) == 1
    store.compact()
    assert len(names(store.path, "segments")) == 2
    assert names(store.path, "readers") == []


# ---------------------------------------------------------------- a lease


def test_a_lease_counts_until_it_is_dropped(store):
    one = leases.take(store.path, Needed(12, 3))
    other = leases.take(store.path, Needed(9, 0))
    assert sorted(leases.living(store.path), key=lambda needed: needed.generation) == [Needed(9, 0), Needed(12, 3)]
    other.drop()
    other.drop()
    assert leases.living(store.path) == [Needed(12, 3)]
    del one  # nobody has dropped it: that is as good
    assert leases.living(store.path) == []
    assert names(store.path, "readers") == []


def aged(store, seconds):
    """The lease that is there is of another machine, and its reader was last heard of so long ago."""
    (file,) = (store.path / "readers").iterdir()
    generation, derived, _, end = file.name.split("-")
    file = file.rename(file.with_name(f"{generation}-{derived}-{'0' * 8}-{end}"))
    os.utime(file, (time.time() - seconds,) * 2)


@pytest.mark.parametrize(("seconds", "counts"), [(leases.LIFE - 60, True), (leases.LIFE + 60, False)])
def test_of_another_machine_a_lease_counts_while_it_is_young(store, seconds, counts):
    """Its lock may not be seen here: the folder is on a share."""
    lease = leases.take(store.path, Needed(1, 0))
    aged(store, seconds)
    lease._file = store.path / "readers" / "nowhere"
    lease.drop()
    assert leases.living(store.path) == [Needed(1, 0)] * counts
    assert len(names(store.path, "readers")) == counts


@pytest.mark.parametrize(("seconds", "counts"), [(leases.LIFE - 60, True), (leases.LIFE + 60, False)])
def test_where_locks_do_not_work_a_lease_counts_while_it_is_young(store, monkeypatch, seconds, counts):
    def refused(handle, *, blocking):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("filelock.lock_descriptor", refused)
    lease = leases.take(store.path, Needed(1, 0))
    (file,) = (store.path / "readers").iterdir()
    os.utime(file, (time.time() - seconds,) * 2)
    assert leases.living(store.path) == [Needed(1, 0)] * counts
    lease.drop()
    assert names(store.path, "readers") == []


def test_a_reader_that_asks_says_that_it_lives(store, monkeypatch):
    with Store.open(store.path) as reader:
        (file,) = (store.path / "readers").iterdir()
        os.utime(file, (0, 0))
        reader.rows()
        assert file.stat().st_mtime == 0  # it has just said so
        monkeypatch.setattr(leases, "_BEAT", -1)
        reader.rows()
        assert file.stat().st_mtime > 0


def test_a_lease_that_a_writer_removes_while_it_is_made_is_made_again(store, monkeypatch):
    real, looked = leases._lock, []

    def meanwhile(handle):
        if not looked:
            looked.append(True)
            assert leases.living(store.path) == []  # nobody holds it yet
        return real(handle)

    monkeypatch.setattr(leases, "_lock", meanwhile)
    lease = leases.take(store.path, Needed(4, 0))
    assert leases.living(store.path) == [Needed(4, 0)]
    lease.drop()


def test_other_files_beside_leases_are_left_alone(store):
    (store.path / "readers").mkdir()
    (store.path / "readers" / "notes.txt").touch()
    assert leases.living(store.path) == []
    assert names(store.path, "readers") == ["notes.txt"]


def test_a_copy_takes_no_leases_along(store, tmp_path):
    with Store.open(store.path):
        store.snapshot(tmp_path / "copy")
    assert not (tmp_path / "copy" / "readers").exists()


# ---------------------------------------------------------------- where none can be had


@pytest.fixture
def uncounted(store):
    """An index where no lease can be made, as on read-only media."""
    (store.path / "readers").touch()
    return store


NUMBERS = itertools.count()


def a_new_filter():
    """One that was not asked for yet: what a filter leaves is kept."""
    return filters.parse(f"n > -{next(NUMBERS)}")


ASKED = {
    "stamps": lambda reader: reader.stamps(),
    "rows": lambda reader: reader.rows(),
    "records": lambda reader: reader.records([0]),
    "filtered": lambda reader: reader.search(numbered(1), 1, where=a_new_filter()),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_what_was_collected_is_one_error_and_never_half_of_an_answer(uncounted, ask):
    with Store.open(uncounted.path) as reader:
        turn(uncounted, 1)
        ask(reader)  # one compaction leaves it
        turn(uncounted, 1)
        with pytest.raises(Outdated, match="was rewritten, and what it held when it was opened is gone: run the comm"):
            ask(reader)
        reader.refresh()
        assert reader.stamps() == uncounted.stamps()


def test_a_retriever_goes_on_to_the_newest_state(tmp_path, toy):
    from retrieval.indexing.cards import Card

    def put(store, colour):
        records = [Card(f"{name}.png", (f"a {colour} {name}",)).record(name, colour) for name in ("hat", "bag")]
        store.add(toy.encode_texts([f"{colour} hat", f"{colour} bag {colour}"]), records)
        store.compact()

    path = tmp_path / "index"
    with Store.create(path, toy.dim, **Identity.of(toy, path).entry()) as store:
        (path / "readers").touch()
        put(store, "red")
        with Retriever.open(path, toy) as retriever:
            assert [hit.caption for hit in retriever.search("red")] == ["a red hat", "a red bag"]
            assert {hit.caption for hit in retriever.captions("red")} == {"a red bag", "a red hat"}
            put(store, "green")
            put(store, "blue")
            assert [hit.caption for hit in retriever.search("blue")] == ["a blue hat", "a blue bag"]
            assert {hit.caption for hit in retriever.captions("blue")} == {"a blue bag", "a blue hat"}


def test_a_retriever_does_not_ask_for_ever(uncounted, monkeypatch, toy):
    monkeypatch.setattr("retrieval.indexing.adoption.require_same", lambda *given: None)
    asked = []

    def outdated(store, *given):
        asked.append(store.generation)
        raise Outdated("gone")

    monkeypatch.setattr("retrieval.search.answers.items", outdated)
    with Store.open(uncounted.path) as reader, pytest.raises(Outdated):
        Retriever(reader, toy).search("red")
    assert len(asked) == 10


@pytest.fixture
def rewritten(store, monkeypatch):
    """The index is rewritten twice whenever a command has opened it to read."""
    real = Store.open.__func__

    def opened(cls, path, write=False):
        found = real(cls, path, write)
        if not write:
            turn(store, 2)
        return found

    monkeypatch.setattr(Store, "open", classmethod(opened))
    return store.path


def test_an_export_is_of_the_state_that_it_opened(rewritten, tmp_path):
    result = mmr("export", "npy", tmp_path / "out.npy", "--index", rewritten)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), numbered(1, 2, 3).astype(np.float16))


def test_a_command_says_it_in_a_line(uncounted, rewritten, tmp_path):
    result = mmr("export", "npy", tmp_path / "out.npy", "--index", rewritten)
    fails(result, 3, "was rewritten, and what it held when it was opened is gone: run the command again")
    assert not (tmp_path / "out.npy").exists()


def test_a_lease_is_not_left_where_opening_fails(store):
    (store.path / "segments" / "000001.f16").unlink()
    with pytest.raises(StoreError, match="is missing"):
        Store.open(store.path)
    with pytest.raises(NotAnIndex):
        Store.open(store.path / "segments")
    assert names(store.path, "readers") == []
