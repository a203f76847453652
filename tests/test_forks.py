"""What a forked child finds: free locks, whole data, libraries that do not wait for threads it has not."""

import os
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from indexes import forks
from retrieval.images import guard
from together import fork, in_child

pytestmark = [fork, pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")]


@pytest.fixture
def held():
    """A thread that takes a lock and keeps it until the test is over, or for so long."""
    threads, over = [], threading.Event()

    def hold(lock, seconds=None, before=lambda: None, after=lambda: None):
        taken = threading.Event()

        def work():
            with lock:
                before()
                taken.set()
                over.wait(seconds)
                after()

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        taken.wait()

    yield hold
    over.set()
    for thread in threads:
        thread.join()


def take(lock):
    with lock:
        return True


def test_a_lock_that_another_thread_holds_is_free_in_a_child(held):
    lock = forks.Lock()
    held(lock)
    assert in_child(lambda: take(lock)) == "True"


def test_a_lock_of_the_thread_that_forks_stays_its_own(held):
    lock = forks.Lock()
    with lock:
        assert in_child(lambda: take(lock)) == "True"
    assert take(lock)


def test_what_is_waited_for_is_whole_in_a_child(held):
    lock, pair = forks.Lock(waited_for=True), [1, 1]
    held(lock, 0.1, before=lambda: pair.__setitem__(0, 2), after=lambda: pair.__setitem__(1, 2))
    assert in_child(lambda: take(lock) and pair) == "[2, 2]"
    assert take(lock)


def test_locks_that_are_gone_are_not_waited_for():
    before = len(forks._all)
    locks = [forks.Lock(waited_for=True) for _ in range(3)]
    assert len(forks._all) == before + 3
    del locks
    assert len(forks._all) == before


def test_libraries_compute_in_the_one_thread_that_a_child_has(monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, "faiss", SimpleNamespace(omp_set_num_threads=lambda n: asked.append(("faiss", n))))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=lambda n: asked.append(("torch", n))))
    assert in_child(lambda: asked) == str([("faiss", 1), ("torch", 1)])
    assert asked == []


def test_a_child_of_a_process_that_uses_many_threads_does_not_hang(tmp_path):
    """In a process of its own, for OMP_NUM_THREADS: GNU OpenMP's threads are not in the child."""
    import subprocess

    script = """
import os, sys
import faiss, numpy as np
import indexes.forks
rows = np.random.default_rng(0).standard_normal((60_000, 16)).astype(np.float32)
found = faiss.knn(rows[:64], rows, 3)[1]
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(faiss.knn(rows[:64], rows, 3)[1], found) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    given = {**os.environ, "OMP_NUM_THREADS": "4", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", script], env=given, start_new_session=True)
    try:
        assert process.wait(60) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise


def test_a_child_decodes_though_other_threads_were_decoding():
    slots = [guard.decoders.slots.acquire(timeout=10) for _ in range(guard.WORKERS)]
    try:
        assert in_child(lambda: guard.decoders.slots.acquire(timeout=1)) == "True"
    finally:
        for _ in slots:
            guard.decoders.slots.release()


def test_a_lock_made_while_others_fork_is_no_trouble():
    over = threading.Event()

    def make():
        while not over.is_set():
            take(forks.Lock(waited_for=True))

    thread = threading.Thread(target=make)
    thread.start()
    try:
        assert [in_child(lambda: take(forks.Lock())) for _ in range(20)] == ["True"] * 20
    finally:
        over.set()
        thread.join()
    time.sleep(0)
