"""A file to the spectrograms of a few of its windows, in this process, whatever the file may do to it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from indexes import distribution
from retrieval.errors import ImageError, NeedsLibrary
from retrieval.sounds import mel
from retrieval.sounds.waves import Heard, check_asked


def require_library(is_clip: bool) -> None:
    """Raise NeedsLibrary where nothing is installed that could read it. is_clip: the sound of a clip."""
    if find_spec("av") is not None:
        return
    if is_clip:
        raise NeedsLibrary(f"the sound of clips needs one more library: {distribution.install('video')}")
    if find_spec("soundfile") is None:
        raise NeedsLibrary(f"sounds need one more library: {distribution.install('sound')}")


def sound_here(content: Path | bytes, count: int, seconds: float) -> tuple[list[Image.Image], dict[str, Any]]:
    """Up to `count` windows as gray pictures (mel.py), and the file's fields. Raises ImageError with the reason."""
    check_asked(count, seconds)
    found = _heard(content, count, seconds)
    missed = ", and of so long a sound no more is heard: cut it into shorter files"
    return mel.pictures(found.waves, seconds, "" if found.whole else missed), found.fields


def _heard(content: Path | bytes, count: int, seconds: float) -> Heard:
    reason = ""
    if find_spec("soundfile") is not None:
        from retrieval.sounds import files

        try:
            return files.heard(content, count, seconds)
        except files.NotKnown as error:
            reason = str(error)
    if find_spec("av") is not None:
        from retrieval.sounds import streams

        return streams.heard(content, count, seconds)
    raise ImageError(
        f"does not decode: {reason}; M4A, AAC and clips need one more library: {distribution.install('video')}"
    )
