"""The store under power cuts, SIGKILL and a failing disk, at every system call of its life; and the instruments.

The calls of one script (create, add, update, delete, compact, collect, replace) are recorded as the kernel sees them,
every folder that a power cut could have left is rebuilt from the record, and each is opened and compared with a
dictionary.

A quick run tries some of the calls, in each operation the first of each kind among them; `make soak` (--soak) tries
all, and random subsets of what was not synced besides.
"""

import errno
import functools
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from eval.faults.crashes import crashes, digest, read_files, write_files
from eval.faults.syscalls import KILL, Call, acknowledge, watch, works_here
from indexes import Record, Store, StoreError, Words
from indexes.approximate import ann
from rows import numbered
from sampling import spread

pytestmark = [
    pytest.mark.skipif(not works_here(), reason="tracing a child needs Linux on x86-64 and the right to ptrace"),
    # The children of a process with threads do no more than write files.
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]
DIM = 8
FAULTS = (errno.ENOSPC, errno.EIO)


VECTORS = numbered(*range(16), dim=DIM)
# A step: what it does to a Store, and to a plain dictionary of id -> stamp. A stamp is the number of a row of VECTORS.
STEPS = {
    "add": (lambda store: put(store, a=0, b=1, c=2), lambda model: model | {"a": "0", "b": "1", "c": "2"}),
    "update": (lambda store: put(store, c=3, d=4), lambda model: model | {"c": "3", "d": "4"}),
    "delete": (lambda store: store.delete(["a"]), lambda model: {k: v for k, v in model.items() if k != "a"}),
    "compact": (lambda store: store.compact(), lambda model: model),
    "add again": (lambda store: put(store, e=5), lambda model: model | {"e": "5"}),
    "collect": (lambda store: store.compact(), lambda model: model),  # removes what the first compaction replaced
    "derive": (lambda store: derive(store), lambda model: model),  # twice: the second replaces the first
    "delete again": (lambda store: store.delete(["b", "e"]), lambda model: {k: model[k] for k in "cd"}),
    "replace": (lambda store: replace(store, f=6, c=7), lambda model: {"f": "6", "c": "7"}),
}


def put(store, **numbers):
    store.add(VECTORS[list(numbers.values())], [record(name, n) for name, n in numbers.items()])


def record(name, number):
    """One that is found by words: its number is one of them."""
    return Record(name, str(number), {"caption": f"number {number}", "meta": {"name": name}})


def replace(store, **numbers):
    records = [record(name, n) for name, n in numbers.items()]
    store.replace([(VECTORS[list(numbers.values())], records)], encoder={"name": "another"})


@functools.cache
def approximate():
    """The approximate index of the rows before "derive": built here, for FAISS's threads do not survive a fork."""
    with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "index", DIM) as store:
        for name, (step, _) in STEPS.items():
            if name == "derive":
                break
            step(store)
        built = ann.build(store.segments, "IVF1,Flat", DIM, store.manifest["next_row"])
        built.points = [ann.Point(0.9, 1, 10, 1.0, 1.0)]
        return built


def derive(store):
    for _ in range(2):
        store.set_approximate(approximate(), 0.9)


def models():
    """What a dictionary holds after create and after each step; None: no index is there."""
    held = [None, {}]
    for _, change in STEPS.values():
        held.append(change(held[-1]))
    return held


def live(root):
    """The whole script, each step acknowledged."""
    store = Store.create(root / "index", DIM, encoder={"name": "toy"})
    acknowledge()
    for step, _ in STEPS.values():
        step(store)
        acknowledge()
    store.close()


@pytest.fixture(autouse=True)
def built_before_any_fork():
    approximate()


def check(root, allowed):
    """The index holds one of the allowed states, whole; nothing else shows; and it goes on."""
    if not (root / "index" / "mmr.db").exists():
        assert None in allowed, "an acknowledged index is gone"
        return
    with Store.open(root / "index", write=True) as store:
        held = store.stamps()
        assert held in allowed
        assert store.verify() == []
        if held:
            best = store.search(VECTORS[[int(stamp) for stamp in held.values()]], 1).rows[:, 0]
            assert [record.id for record in store.records(best)] == list(held)
        for number in range(8):  # words are of the same commit as the rows
            found = store.search_words(Words.parse(f"{number} nothing"), 9).rows[0]
            wanted = [name for name, stamp in held.items() if stamp == str(number)]
            assert [record.id for record in store.records(found)] == wanted
        with closing(sqlite3.connect(store.path / "mmr.db")) as database:
            named = {f"{number:06d}.f16" for (number,) in database.execute("SELECT id FROM segments")}
        assert {file.name for file in (store.path / "segments").iterdir()} == named  # no orphan is left
        assert set((store.path / "derived").glob("*")) == store.derived.files()
        put(store, z=9)
        assert store.stamps() == held | {"z": "9"}


@pytest.fixture
def every(soak):
    """How far apart the calls are that are tried: about a fifth of the work where not all of it is asked for."""
    return 1 if soak else 12


def kind(call: Call) -> tuple[str, str]:
    """What is done, to which kind of file: ("write", ".f16.partial")."""
    return call.kind, "".join(Path(call.target or call.path).suffixes)


def between(calls: list[Call]) -> list[tuple]:
    """Of each moment of the script, before the first call to after the last: the step, and the calls around it."""
    step, kinds = np.cumsum([0, *(call.kind == "acknowledge" for call in calls)]), [None, *map(kind, calls), None]
    return list(zip(step.tolist(), kinds, kinds[1:], strict=False))


@pytest.fixture
def root(tmp_path):
    """A folder in memory where there is one: a state is written and read, nothing more."""
    memory = Path("/dev/shm")
    made = memory / f"mmr-{os.getpid()}-{tmp_path.name}" if os.access(memory, os.W_OK) else tmp_path / "root"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_whatever_a_power_cut_leaves_the_last_promise_holds(root, soak, every, record_property):
    calls = watch(lambda: live(root), root).calls
    assert sum(call.kind == "acknowledge" for call in calls) == 1 + len(STEPS)
    held, seen, count = models(), set(), 0
    points = set(spread(between(calls), every))
    for crash in crashes({}, calls, extra=40 if soak else 0, points=points):
        count += 1
        state = (digest(crash.files), crash.acknowledged)
        if state not in seen:
            seen.add(state)
            shutil.rmtree(root)
            write_files(root, crash.files)
            try:
                check(root, held[crash.acknowledged : crash.acknowledged + 2])
            except Exception as error:
                raise AssertionError(
                    f"after call {crash.point} ({calls[crash.point - 1]}), {crash.what}: {error}"
                ) from error
    record_property("crash states", count)
    assert count >= (5000 if soak else 1000)  # about half of them differ


def test_a_call_that_fails_costs_one_operation(root, soak, every):
    """ENOSPC or EIO at calls of each operation: an error, the state before or after, and the retry succeeds."""
    held, tried = models(), 0
    for number, (name, (step, _)) in enumerate(STEPS.items()):
        shutil.rmtree(root)
        root.mkdir()
        store = Store.create(root / "index", DIM, encoder={"name": "toy"})
        for earlier, _ in list(STEPS.values())[:number]:
            earlier(store)
        store.close()
        start = read_files(root)
        allowed = held[number + 1 : number + 3]

        def work(step=step, allowed=allowed):
            try:
                store = Store.open(root / "index", write=True)
            except (OSError, sqlite3.Error, StoreError):  # the call that failed was one of opening it
                return
            with store:
                try:
                    step(store)
                except (OSError, sqlite3.Error, StoreError):
                    assert store.stamps() in allowed
                    step(store)  # what failed once may be done again, with the same Store
                assert store.stamps() == allowed[1]

        kinds = [kind(call) for call in watch(work, root).calls]  # nothing is acknowledged in it
        for turn, point in enumerate(spread(kinds, every)):
            for fault in FAULTS if soak else FAULTS[turn % 2 :][:1]:
                shutil.rmtree(root)
                write_files(root, start)
                watched = watch(work, root, point, fault)
                assert watched.code == 0, f"{name}, call {point}, {os.strerror(fault)}: {watched}"
                check(root, allowed)
                tried += 1
    assert tried >= (600 if soak else 100)


def comparable(files):
    """A journal of SQLite's has random numbers in it; its length is what can be foretold."""
    return {path: len(data) if path.endswith("-journal") else data for path, data in files.items()}


def test_sigkill_leaves_what_the_record_says(root, soak):
    """The instrument itself: a child really killed before a call leaves the files that the record predicts."""
    calls = watch(lambda: live(root), root).calls
    predicted = {crash.point: crash.files for crash in crashes({}, calls) if crash.what == "killed"}
    acknowledged = np.cumsum([call.kind == "acknowledge" for call in calls])
    for point in range(0, len(calls), 11 if soak else 60):
        if calls[point].kind == "acknowledge":
            continue
        shutil.rmtree(root)
        root.mkdir()
        at = point - int(acknowledged[point])  # points count changes only
        assert watch(lambda: live(root), root, at, KILL).code == -9
        assert comparable(read_files(root)) == comparable(predicted[point])
        check(root, models()[acknowledged[point] :][:2])


# ---------------------------------------------------------------- the instruments


def states(root, work):
    return list(crashes({}, watch(work, root).calls))


def test_a_rename_without_fsync_is_seen_to_lose_the_file(root):
    def careless():
        (root / "new").write_bytes(b"0123456789")
        (root / "new").rename(root / "file")
        acknowledge()

    left = {crash.files.get("file") for crash in states(root, careless) if crash.acknowledged}
    assert left == {None, b"", b"01234", bytes(10), b"0123456789"}  # lost, empty, torn, zeros, whole


def test_fsync_of_file_and_folder_leaves_one_state(root):
    def careful():
        with (root / "new").open("wb") as file:
            file.write(b"0123456789")
            file.flush()
            os.fsync(file.fileno())
        (root / "new").rename(root / "file")
        handle = os.open(root, os.O_RDONLY)
        os.fsync(handle)
        acknowledge()

    assert [crash.files for crash in states(root, careful) if crash.acknowledged] == [{"file": b"0123456789"}]


def test_a_refused_write_is_what_the_work_sees(root):
    def work():
        try:
            (root / "file").write_bytes(b"x")
        except OSError as error:
            os._exit(error.errno)

    assert watch(work, root, at=1, fault=errno.ENOSPC).code == errno.ENOSPC
    assert (root / "file").read_bytes() == b""


def test_what_is_not_understood_is_not_passed_over(root):
    import mmap

    def work():
        with (root / "file").open("w+b") as file:
            file.truncate(10)
            mmap.mmap(file.fileno(), 10)

    with pytest.raises(NotImplementedError, match="mmap on file"):
        watch(work, root)
