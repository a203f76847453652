"""Decoding in processes of its own: a file that crashes its decoder, hangs it or eats memory costs that file alone.

A worker (worker.py) reads requests on stdin and answers on stdout, a line of JSON and the bytes behind it each way.
Workers are started when first needed and used again; they end with the process that started them. Nothing is pickled.
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

SECONDS = 20.0  # for one file
MEMORY = 900_000_000  # bytes that a worker may take beside what it has when it starts (on Linux)
WORKERS = max(2, min(4, os.cpu_count() or 2))

Answer = tuple[list[Image.Image], Fields]

_slots = threading.BoundedSemaphore(WORKERS)
idle: "list[Worker]" = []  # those that wait for a file


def decode_guarded(content: Path | bytes, at_least: int | None = None) -> Decoded:
    """What `load.decode_with_fields` gives, decoded in another process. Raises ImageError with the reason."""
    frames, fields = ask({"kind": "picture", "at_least": at_least}, content)
    return Decoded(frames[0], fields)


def ask(request: dict[str, Any], content: Path | bytes) -> Answer:
    """The pictures and fields that a worker gives for a request. Raises ImageError with the reason."""
    with _slots:
        try:
            worker = idle.pop()
        except IndexError:
            worker = Worker()
        try:
            answer = worker.ask(request, content)
        except BaseException:
            worker.end()
            raise
        idle.append(worker)
    if isinstance(answer, str):
        raise ImageError(answer)
    return answer


class Worker:
    """One decoding process, started when the object is made."""

    def __init__(self) -> None:
        here = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (here, *sys.path)))
        # -P: a picture folder that one is in may hold a numpy.py.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "retrieval.images.worker"], env={**os.environ, "PYTHONPATH": path},
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

        timer = threading.Timer(SECONDS, stop)
        timer.daemon = True
        timer.start()
        try:
            self.send(request, content)
            return self._receive()
        except (OSError, ValueError, EOFError) as error:
            reason = f"took longer than {SECONDS:g} s" if overdue.is_set() else "crashes its decoder"
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


@atexit.register
def end_all() -> None:
    """Stop the workers that have nothing to do; the next picture starts a new one."""
    while idle:
        idle.pop().end()


def _in_child() -> None:
    global _slots
    idle.clear()  # the pipes are the parent's
    _slots = threading.BoundedSemaphore(WORKERS)  # threads that held some are not here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def write_message(stream: IO[bytes], head: dict[str, Any], *bodies: bytes) -> None:
    """Write a message of the pipe: a line of JSON, then the bytes that belong to it."""
    stream.write(json.dumps(head).encode() + b"\n")
    for body in bodies:
        stream.write(body)
    stream.flush()
