"""The process that guard.py starts as `python -m retrieval.images.worker`: it decodes, or with `text` reads text too.

It reads requests on stdin and answers on stdout, a line of JSON and the bytes behind it each way, until stdin ends.
"""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from retrieval.errors import ImageError
from retrieval.images import clips
from retrieval.images.guard import MEMORY, MEMORY_TO_READ, TEXT, Answer, write_message
from retrieval.images.pixels import decode_here, formats, is_heif, unread

if TYPE_CHECKING:
    from retrieval.images.reading import Reader


def _serve(requests: BinaryIO, answers: BinaryIO, reader: "Reader | None") -> None:
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["bytes"]) if "bytes" in request else Path(request["path"])
        try:
            frames, fields = _answer(content, request, reader)
            mode = frames[0].mode if frames else "RGB"
            head = {"sizes": [frame.size for frame in frames], "mode": mode, "fields": fields}
            write_message(answers, head, *(frame.tobytes() for frame in frames))
        except ImageError as error:
            write_message(answers, {"error": str(error)})
        except OSError as error:  # of the file itself: its disk fails
            write_message(answers, {"error": str(unread(error))})
        except MemoryError:
            write_message(answers, {"error": "too large for memory"})


def _answer(content: Path | bytes, request: dict[str, Any], reader: "Reader | None") -> Answer:
    if request["kind"] == TEXT:
        assert reader is not None, "asked of one that was started for it"
        return [], {"text": _text(content, request, reader)}
    return _KINDS[request["kind"]](content, request)


def _text(content: Path | bytes, request: dict[str, Any], reader: "Reader") -> str:
    """The text in a picture: of a file, or of RGB pixels where their size is said."""
    if "size" in request:
        assert isinstance(content, bytes), "pixels come through the pipe"
        return _read(Image.frombytes("RGB", request["size"], content), reader)
    (image,), _ = _picture(content, request | {"at_least": reader.at_least})
    return _read(image, reader)


def _read(image: Image.Image, reader: "Reader") -> str:
    try:
        return reader(image)
    except MemoryError:
        raise
    except Exception as error:  # OpenCV's and ONNX Runtime's own, whatever a picture made of them
        told = str(error).strip() or type(error).__name__
        raise ImageError(told.splitlines()[-1][:120]) from error  # some hold a whole traceback


def _picture(content: Path | bytes, request: dict[str, Any]) -> Answer:
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


def _clip(content: Path | bytes, request: dict[str, Any]) -> Answer:
    return clips.clip_here(content, request["count"], request["at_least"])


def _sound(content: Path | bytes, request: dict[str, Any]) -> Answer:
    from retrieval.sounds import decoding

    return decoding.sound_here(content, request["count"], request["seconds"])


_KINDS: dict[str, Callable[[Path | bytes, dict[str, Any]], Answer]] = {
    "picture": _picture, "clip": _clip, "sound": _sound,
}  # fmt: skip


def _limit_memory(memory: int) -> None:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
    except (ImportError, OSError):  # elsewhere the limit on pixels is what holds
        return
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write into an answer
    reader = None
    if TEXT in sys.argv[1:]:
        from retrieval.images.reading import Reader  # heavy

        reader = Reader()
    _limit_memory(MEMORY_TO_READ if reader else MEMORY)
    _serve(sys.stdin.buffer, answers, reader)


if __name__ == "__main__":
    main()
