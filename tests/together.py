"""Many threads at once, and a forked child: what tests of both share."""

import os
import select
import signal
import threading

import pytest

THREADS = 8
fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def together(work, count=THREADS):
    """What each of so many threads got from work(its number); they start at once."""
    got, gate = [None] * count, threading.Barrier(count)

    def one(number):
        gate.wait()
        try:
            got[number] = work(number)
        except Exception as error:
            got[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def in_child(work):
    """What a forked child says: True, False, or the error it got, as text; "it hangs" after half a minute."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    ended, _, _ = select.select([reading], [], [], 30)
    if not ended:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        said = pipe.read() if ended else "it hangs"
    os.waitpid(child, 0)
    return said
