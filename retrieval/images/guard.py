"""Decoding in processes of its own: a file that crashes its decoder, hangs it or eats memory costs that file alone.

A worker (worker.py) reads requests on stdin and answers on stdout, a line of JSON and the bytes behind it each way.
Workers are started when first needed and used again; they end with the process that started them. Nothing is pickled.
There are two crews of them: one decodes, the other reads the text in pictures, which takes more time and memory.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from PIL import Image

from retrieval.errors import ImageError
from retrieval.images.exif import Fields
from retrieval.images.pixels import Decoded

SECONDS, SECONDS_TO_READ = 20.0, 60.0  # for one file
# Bytes that a worker may take beside what it has when it starts (on Linux).
MEMORY, MEMORY_TO_READ = 900_000_000, 2_500_000_000
WORKERS = max(2, min(4, os.cpu_count() or 2))
MOST_READERS = 8  # up to 900 MB each, for a large page
TEXT = "text"  # the kind of a request, and what a worker is told to be there for

Answer = tuple[list[Image.Image], Fields]


def decode_guarded(content: Path | bytes, at_least: int | None = None) -> Decoded:
    """What `load.decode_with_fields` gives, decoded in another process. Raises ImageError with the reason."""
    frames, fields = ask({"kind": "picture", "at_least": at_least}, content)
    return Decoded(frames[0], fields)


def ask(request: dict[str, Any], content: Path | bytes) -> Answer:
    """The pictures and fields that a worker gives for a request. Raises ImageError with the reason."""
    return decoders.ask(request, content)


def read_guarded(content: Path | bytes | Image.Image) -> str:
    """The text in a picture, read in another process: of a file, its bytes, or RGB pixels. Raises ImageError."""
    request: dict[str, Any] = {"kind": TEXT}
    if isinstance(content, Image.Image):
        request, content = request | {"size": content.size}, content.tobytes()
    return readers.ask(request, content)[1]["text"]


class Crew:
    """Workers for one kind of work. count: how many there may be. job: what a worker is told to be there for."""

    def __init__(self, count: int, job: str = "") -> None:
        self.count, self.job = count, job
        self.idle: list[Worker] = []  # those that wait for a file
        self.slots = threading.BoundedSemaphore(count)

    def ask(self, request: dict[str, Any], content: Path | bytes) -> Answer:
        """What a worker gives for a request. Raises ImageError with the reason."""
        with self.slots:
            try:
                worker = self.idle.pop()
            except IndexError:
                worker = Worker(self.job)
            try:
                answer = worker.ask(request, content)
            except BaseException:
                worker.end()
                raise
            self.idle.append(worker)
        if isinstance(answer, str):
            raise ImageError(answer)
        return answer

    def forget(self) -> None:
        """In a forked child: the pipes are the parent's, and threads that held slots are not here."""
        self.idle.clear()
        self.slots = threading.BoundedSemaphore(self.count)


class Worker:
    """One process, started when the object is made. job: as a Crew says it."""

    def __init__(self, job: str = "") -> None:
        self._seconds = SECONDS_TO_READ if job == TEXT else SECONDS
        here = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (here, *sys.path)))
        # -P: a picture folder that one is in may hold a numpy.py.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "retrieval.images.worker", *filter(None, [job])],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdin and self.process.stdout, "both are pipes"
        self._requests, self._answers = self.process.stdin, self.process.stdout

    def ask(self, request: dict[str, Any], content: Path | bytes) -> Answer | str:
        """The answer, or the reason why there is none. Raises ImageError where the process did not survive."""
        overdue = threading.Event()

        def stop() -> None:
            overdue.set()
            self.process.kill()

        timer = threading.Timer(self._seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            self.send(request, content)
            return self._receive()
        except (OSError, ValueError, EOFError) as error:
            reason = f"took longer than {self._seconds:g} s" if overdue.is_set() else "crashes its decoder"
            raise ImageError(reason) from error
        finally:
            timer.cancel()

    def send(self, request: dict[str, Any], content: Path | bytes) -> None:
        """Write a request into the process, with the bytes or the name of the file."""
        if isinstance(content, bytes):
            write_message(self._requests, {**request, "bytes": len(content)}, content)
        else:
            write_message(self._requests, {**request, "path": str(content.absolute())})

    def _receive(self) -> Answer | str:
        answer = json.loads(self._answers.readline())
        if "error" in answer:
            return answer["error"]
        frames, mode = [], answer.get("mode", "RGB")
        for width, height in answer["sizes"]:
            pixels = self._answers.read(width * height * len(mode))
            frames.append(Image.frombytes(mode, (width, height), pixels))
        return frames, answer["fields"]

    def end(self) -> None:
        """Stop the process and let go of it."""
        self.process.kill()
        for stream in (self._requests, self._answers):
            try:
                stream.close()
            except OSError:  # what was still to be written has nobody to read it
                continue
        self.process.wait()


decoders, readers = Crew(WORKERS), Crew(min(MOST_READERS, max(2, os.cpu_count() or 2)), TEXT)


@atexit.register
def end_all() -> None:
    """Stop the workers that have nothing to do; the next picture starts a new one."""
    for crew in (decoders, readers):
        while crew.idle:
            crew.idle.pop().end()


def _in_child() -> None:
    for crew in (decoders, readers):
        crew.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def write_message(stream: IO[bytes], head: dict[str, Any], *bodies: bytes) -> None:
    """Write a message of the pipe: a line of JSON, then the bytes that belong to it."""
    stream.write(json.dumps(head).encode() + b"\n")
    for body in bodies:
        stream.write(body)
    stream.flush()
