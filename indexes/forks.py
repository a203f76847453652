"""Threads and forks: locks that a forked child finds free, and libraries whose threads a child does not have.

A child has one thread. A lock that another thread held in the moment of the fork is never released in it, and the
thread pools of FAISS and torch (GNU OpenMP) wait for threads that are not there: both would hang it.
"""

import os
import sys
import threading
import weakref
from types import TracebackType

_all: "list[weakref.ref[Lock]]" = []
_held: "list[Lock]" = []  # by the thread that forks


class Lock:
    """A lock between threads, which one thread may take again and again; a forked child finds it free.

    waited_for: a fork waits until no other thread holds it, so that a child finds whole what it guards. Only for what
    is held shortly, and within which no other such lock is taken.
    """

    def __init__(self, waited_for: bool = False) -> None:
        self.waited_for = waited_for
        self._lock = threading.RLock()
        _all.append(weakref.ref(self, _all.remove))

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()

    def renew(self) -> None:
        """In a child: forget who held it, unless that is the thread that forked."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


def _known() -> list[Lock]:
    return [lock for known in list(_all) if (lock := known()) is not None]


def _before() -> None:
    for lock in _known():
        if lock.waited_for:
            lock.__enter__()
            _held.append(lock)


def _after() -> None:
    while _held:
        _held.pop().__exit__(None, None, None)


def _in_child() -> None:
    _after()
    for lock in _known():
        lock.renew()
    if faiss := sys.modules.get("faiss"):
        faiss.omp_set_num_threads(1)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
