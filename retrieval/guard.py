"""Decoding in processes of its own: a file that crashes its decoder, hangs it or eats memory costs that file alone.

`python -m retrieval.guard` is the worker: it reads requests on stdin and answers on stdout, a line of JSON and the
bytes behind it each way. Workers are started when first needed and used again; they end with the process that started
them. Nothing is pickled.
"""

import atexit
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from retrieval.errors import ImageError
from retrieval.images import Decoded, decode_here, formats, is_heif

SECONDS = 20.0  # for one file
MEMORY = 900_000_000  # bytes that a worker may take beside what it has when it starts (on Linux)
WORKERS = max(2, min(4, os.cpu_count() or 2))

_slots = threading.BoundedSemaphore(WORKERS)
_idle: "list[_Worker]" = []


def decode(content: Path | bytes, at_least: int | None = None) -> Decoded:
    """What `images.decode_with_fields` gives, from another process. Raises ImageError with the reason."""
    frames, fields = ask({"kind": "picture", "at_least": at_least}, content)
    return Decoded(frames[0], fields)


def ask(request: dict, content: Path | bytes) -> tuple[list[Image.Image], dict]:
    """The pictures and fields that a worker gives for a request. Raises ImageError with the reason."""
    with _slots:
        try:
            worker = _idle.pop()
        except IndexError:
            worker = _Worker()
        try:
            answer = worker.ask(request, content)
        except BaseException:
            worker.end()
            raise
        _idle.append(worker)
    if isinstance(answer, str):
        raise ImageError(answer)
    return answer


class _Worker:
    """One decoding process."""

    def __init__(self) -> None:
        here = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, (here, *sys.path)))
        # -P: a picture folder that one is in may hold a numpy.py.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "retrieval.guard"], env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, request: dict, content: Path | bytes) -> tuple[list[Image.Image], dict] | str:
        """The answer, or the reason why there is none. Raises ImageError where the process did not survive."""
        overdue = threading.Event()
        timer = threading.Timer(SECONDS, lambda: (overdue.set(), self._process.kill()))
        timer.daemon = True
        timer.start()
        try:
            self._send(request, content)
            return self._receive()
        except (OSError, ValueError, EOFError) as error:
            reason = f"took longer than {SECONDS:g} s" if overdue.is_set() else "crashes its decoder"
            raise ImageError(reason) from error
        finally:
            timer.cancel()

    def _send(self, request: dict, content: Path | bytes) -> None:
        if isinstance(content, bytes):
            _write(self._process.stdin, {**request, "bytes": len(content)}, content)
        else:
            _write(self._process.stdin, {**request, "path": str(content.absolute())})

    def _receive(self) -> tuple[list[Image.Image], dict] | str:
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            return answer["error"]
        frames = []
        for width, height in answer["sizes"]:
            pixels = self._process.stdout.read(width * height * 3)
            frames.append(Image.frombytes("RGB", (width, height), pixels))
        return frames, answer["fields"]

    def end(self) -> None:
        """Stop the process and let go of it."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            try:
                stream.close()
            except OSError:  # what was still to be written has nobody to read it
                continue
        self._process.wait()


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # the pipes are the parent's


def _write(stream: BinaryIO, head: dict, *bodies: bytes) -> None:
    stream.write(json.dumps(head).encode() + b"\n")
    for body in bodies:
        stream.write(body)
    stream.flush()


# ---------------------------------------------------------------- the worker


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["bytes"]) if "bytes" in request else Path(request["path"])
        try:
            frames, fields = _clip(content, request) if request["kind"] == "clip" else _picture(content, request)
            sizes = [frame.size for frame in frames]
            _write(answers, {"sizes": sizes, "fields": fields}, *(frame.tobytes() for frame in frames))
        except ImageError as error:
            _write(answers, {"error": str(error)})
        except MemoryError:
            _write(answers, {"error": "too large for memory"})


def _picture(content: Path | bytes, request: dict) -> tuple[list[Image.Image], dict]:
    wanted = None
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        if is_heif(file.read(64)):
            import pillow_heif

            pillow_heif.options.DECODE_THREADS = 1  # there are several workers
            pillow_heif.register_heif_opener()
            wanted = ("HEIF",)
        file.seek(0)
        image, fields = decode_here(file, request["at_least"], wanted or formats(), guarded=True)
    return [image], fields


def _clip(content: Path | bytes, request: dict) -> tuple[list[Image.Image], dict]:
    from retrieval import video

    return video.clip_here(content, request["count"], request["at_least"])


def _limit_memory() -> None:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):  # elsewhere the limit on pixels is what holds
        return
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write into an answer
    _limit_memory()
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
