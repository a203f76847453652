"""One store or retriever for many threads, closed under them, and taken along by a forked child."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from indexes import Record, Store, StoreError, filters, opened, segment_files
from retrieval import Retriever
from retrieval.indexing.catalog import Identity
from rows import numbered
from together import THREADS, fork, in_child, together

DIM = 8
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "index", DIM, encoder={"name": "toy"}) as made:
        made.add(numbered(*range(40)), [Record(str(n), str(n), {"n": n}) for n in range(40)])
        yield made


def asked(reader):
    found = reader.search(numbered(*range(10)), 3)
    where = reader.search(numbered(1), 3, where=filters.parse("n > 20"))
    records = reader.records(found.rows.ravel())
    return found.rows.tolist(), where.rows.tolist(), [record.id for record in records], reader.stamps()


# ---------------------------------------------------------------- threads


def test_threads_share_a_reader(store):
    with Store.open(store.path) as reader:
        expected = asked(reader)
        assert together(lambda number: asked(reader)) == [expected] * THREADS


def test_threads_share_a_writer_and_no_commit_is_lost(store):
    """Each adds, replaces and compacts; all that was committed is there, and whole."""

    def work(number):
        for turn in range(4):
            store.add(numbered(100 + number), [Record(f"of {number}", str(turn))])
            asked(store)
            if turn == number % 4:
                store.compact()

    start = store.generation
    assert together(work) == [None] * THREADS
    assert store.generation == start + THREADS * 5
    stamps = {str(n): str(n) for n in range(40)} | {f"of {number}": "3" for number in range(THREADS)}
    assert store.stamps() == stamps
    assert store.verify() == []


def test_any_thread_closes_a_writer(store):
    assert together(lambda number: store.close(), 1) == [None]
    with pytest.raises(StoreError, match="does not write"):
        store.delete(["1"])
    Store.open(store.path, write=True).close()


def test_closing_waits_for_what_another_thread_writes(store, monkeypatch):
    begun, real = threading.Event(), segment_files.write

    def slow(*given):
        begun.set()
        time.sleep(0.1)
        return real(*given)

    def work(number):
        if number == 0:
            store.add(numbered(77), [Record("last")])
        else:
            begun.wait()
            store.close()

    monkeypatch.setattr(segment_files, "write", slow)
    assert together(work, 2) == [None, None]
    with Store.open(store.path) as reader:
        assert "last" in reader.stamps()


def test_a_view_stays_while_its_store_goes_on(store):
    view = store.view()
    before = asked(view)
    store.delete(["1"])
    store.compact()
    assert asked(view) == before
    assert asked(store) != before
    with pytest.raises(StoreError, match="opened for reading"):
        view.delete(["2"])
    view.close()
    assert "1" not in store.stamps()


def test_closed_under_other_threads_it_is_one_error(store):
    reader = Store.open(store.path)
    begun = threading.Event()

    def work(number):
        if number == 0:
            begun.wait()
            reader.close()
            return "closed"
        while True:
            asked(reader)
            begun.set()

    closed, *others = together(work)
    assert closed == "closed"
    assert {type(error) for error in others} == {StoreError}
    assert {str(error) for error in others} == {f"{store.path} was closed: open it again"}
    reader.close()


@pytest.fixture
def retriever(tmp_path, toy):
    path = tmp_path / "toys"
    with Store.create(path, toy.dim, **Identity.of(toy, path).entry()) as made:
        captions = [f"{'red ' * n}{'green ' * (9 - n)}thing {n}" for n in range(10)]
        records = [Record(f"{n}.png", "", {"uri": f"{n}.png", "caption": captions[n]}) for n in range(10)]
        made.add(toy.encode_texts(captions), records)
    with Retriever.open(path, toy) as opened_:
        yield opened_


def answers(retriever):
    found = [retriever.search("red"), retriever.search(["red", "-", "green"]), retriever.search("id:3.png", k=2)]
    found += [retriever.captions("green"), retriever.search("red green", k=3, diversity=0.5)]
    return [[hit.id for hit in hits] for hits in found]


def test_threads_share_a_retriever_and_its_captions_are_encoded_once(retriever, monkeypatch):
    encoded, real = [], retriever.encoder.encode_texts

    def counted(texts):
        encoded.append(len(texts))
        return real(texts)

    monkeypatch.setattr(retriever.encoder, "encode_texts", counted)
    expected = answers(retriever)
    assert together(lambda number: answers(retriever)) == [expected] * THREADS
    assert encoded.count(10) == 1


def test_captions_of_a_retriever_that_writes_are_those_of_now(toy, tmp_path, retriever):
    with Store.open(retriever.store.path, write=True) as writer:
        writing = Retriever(writer, toy)
        assert len(writing.captions("red")) == 10
        writer.delete(["9.png"])
        assert len(writing.captions("red")) == 9


def test_threads_round_the_rows_once(tmp_path, monkeypatch):
    certified = pytest.importorskip("indexes.certified")
    rows = numbered(*range(50)).astype(np.float16)
    copies, made, real = certified.Copies(rows), [], certified.Copies._rounded

    def counted(self, *key):
        made.append(key)
        return real(self, *key)

    monkeypatch.setattr(certified.Copies, "_rounded", counted)
    none = np.empty(0, np.int64)
    got = together(lambda number: certified.search(copies, none, numbered(3, 4, 5), 1)[0].ravel().tolist())
    assert got == [[3, 4, 5]] * THREADS
    assert len(made) == 1


def test_threads_read_an_approximate_index_once(store, monkeypatch):
    from indexes.approximate import ann, ann_file

    built = ann.build(store.segments, "IVF1,Flat", DIM, store.manifest["next_row"])
    built.points = [ann.Point(0.9, 1, 10, 1.0, 1.0)]
    store.set_approximate(built, 0.9)
    read, real = [], ann_file.read

    def counted(*given):
        read.append(given)
        return real(*given)

    monkeypatch.setattr(ann_file, "read", counted)
    with Store.open(store.path) as reader:
        got = together(lambda number: reader.search(numbered(*range(10)), 1).rows.ravel().tolist())
        assert got == [list(range(10))] * THREADS
    assert len(read) == 1


def test_a_file_that_goes_while_bytes_are_counted_has_none(store, monkeypatch):
    (store.path / "segments" / "going").write_bytes(b"12345")
    before, real = store.describe()["bytes"], Path.is_file

    def going(path):
        there = real(path)
        if path.name == "going":
            path.unlink()
        return there

    monkeypatch.setattr(Path, "is_file", going)
    assert store.describe()["bytes"] == before - 5


# ---------------------------------------------------------------- forks


@fork
def test_a_child_has_its_own_connection_on_the_same_state(store):
    with Store.open(store.path) as reader:
        expected, connection = asked(reader), reader._opened._connection
        for _ in range(3):
            store.add(numbered(77), [Record("new", str(store.generation))])
            store.compact()
        assert in_child(lambda: asked(reader) == expected) == "True"
        assert in_child(lambda: asked(reader) and reader._opened._connection is not connection) == "True"
        assert in_child(lambda: asked(reader) and opened._inherited == [connection]) == "True"  # and never closed
        assert asked(reader) == expected


@fork
def test_a_child_keeps_what_it_reads_when_its_parent_lets_go(store):
    reader = Store.open(store.path)
    expected = asked(reader)
    go, wait = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go[0], 1)
        same = asked(reader) == expected
        os._exit(0 if same else 1)
    reader.close()
    for _ in range(3):
        store.add(numbered(77), [Record("new", str(store.generation))])
        store.compact()
    os.write(go[1], b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for end in (*go, *wait):
        os.close(end)
    store.compact()
    assert len(list((store.path / "segments").iterdir())) == 2


@fork
def test_a_child_that_closes_leaves_the_lease_to_its_parent(store):
    with Store.open(store.path) as reader:
        expected = asked(reader)
        assert in_child(reader.close) == "None"
        for _ in range(3):
            store.compact()
        assert asked(reader) == expected


@fork
def test_the_child_of_a_writer_reads_and_cannot_write(store):
    expected = asked(store)
    assert in_child(lambda: asked(store) == expected) == "True"
    said = in_child(lambda: store.delete(["1"]))
    assert said == f"StoreError: this process does not write to {store.path}: open it with write=True"
    assert in_child(store.close) == "None"
    store.delete(["1"])  # the lock is still the parent's
    with pytest.raises(StoreError, match="another process is writing"):
        Store.open(store.path, write=True)


@fork
def test_the_child_of_a_writer_is_counted_when_it_first_asks(store):
    def leases():
        store.stamps()
        return [file.name[:4] for file in (store.path / "readers").iterdir()]

    assert in_child(leases) == "['1-0-']"


@fork
def test_a_child_finds_free_what_other_threads_held(store, retriever):
    """It is forked while threads read, encode captions and write."""
    over = threading.Event()

    def busy():
        while not over.is_set():
            asked(store)
            retriever._captions = None
            answers(retriever)
            store.add(numbered(5), [Record("5", "5", {"n": 5})])

    threads = [threading.Thread(target=busy) for _ in range(3)]
    expected = answers(retriever)
    for thread in threads:
        thread.start()
    try:
        said = [in_child(lambda: answers(retriever) == expected and len(asked(store)) == 4) for _ in range(10)]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert said == ["True"] * 10
