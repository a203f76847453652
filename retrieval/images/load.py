"""The door to pictures, clips and sounds: an item, a file or bytes in; pixels and the fields of the file out.

Common formats are decoded in the caller's thread (pixels.py). What is rare and read by large C libraries (TIFF,
JPEG 2000, AVIF, HEIC) or by slow Python (packed BMP, plain PPM), clips, and whatever is large or suspicious, goes to a
process of its own (guard.py), which may crash, hang or run out of memory at the cost of that one file. So does every
sound, of which a few windows are given as gray pictures of their spectrograms (sounds/), and all reading of the text in
pictures.
"""

import io
import stat
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from indexes import distribution
from retrieval import packages
from retrieval.datatypes import Item, Picture
from retrieval.errors import ImageError, NeedsLibrary, NoPictures
from retrieval.images import guard, kinds, raw, reading
from retrieval.images.clips import HEAD, NO_PICTURES, Clip, is_clip
from retrieval.images.exif import Fields
from retrieval.images.pixels import Decoded, NeedsGuard, decode_here, kind_of, unread
from retrieval.sounds import decoding, drawing


def decode(content: Path | bytes, at_least: int | None = None, name: str = "") -> Image.Image:
    """Decode a picture as a person sees it: an RGB image, upright, over white, the first frame of an animation.

    at_least: where the shorter side may shrink to this many pixels, the picture comes at a whole fraction of its size,
    never below it. name: what bytes would be called as a file; its ending tells camera raw files, which are shown by
    their embedded preview. Raises ImageError with the reason.
    """
    return decode_with_fields(content, at_least, name).image


def decode_with_fields(content: Path | bytes, at_least: int | None = None, name: str = "") -> Decoded:
    """What `decode` gives, and the fields of the file; it is opened once. Raises ImageError with the reason."""
    suffix = Path(name if isinstance(content, bytes) else content).suffix.lower()
    try:
        with _open(content) as file:
            if suffix in kinds.RAW:
                return _decode_raw(file, at_least)
            kind = kind_of(file.read(64))
            file.seek(0)
            if kind != "guarded":
                return decode_here(file, at_least, (kind,))
    except NeedsGuard:
        pass
    except OSError as error:
        raise unread(error) from error
    return guard.decode_guarded(content, at_least)


def look(content: Path | bytes, count: int, at_least: int | None = None) -> Sequence[Image.Image]:
    """What a file shows, whatever it is called: a picture, or up to `count` frames of a clip.

    Raises ImageError with the reason.
    """
    with _open(content) as file:
        head = file.read(HEAD)
    if is_clip(head):
        return frames(content, count, at_least)
    try:
        return [decode(content, at_least)]
    except ImageError:
        if isinstance(content, bytes) or kinds.kind(content) != "clip":
            raise
        return frames(content, count, at_least)


def kind(path: Path) -> str:
    """What `Item.kind` is for a file that a person names, by what is in it before what it is called.

    A sound is told by its ending: its containers are those of clips.
    """
    if kinds.kind(path) == "sound":
        return "sound"
    try:
        with _open(path) as file:
            head = file.read(HEAD)
        if is_clip(head):
            return "clip"
        return "picture" if kinds.kind(path) == "picture" or kind_of(head) != "guarded" else "clip"
    except ImageError:  # decoding will say so
        return kinds.kind(path)


def shown(content: Path | bytes, kind: str, at_least: int | None = None, name: str = "") -> Image.Image:
    """What people are shown of an item of that kind: RGB; of a clip its middle frame, of a sound its spectrogram,
    and of a clip without pictures that of its sound.

    at_least, name: as for `decode`. Raises ImageError with the reason.
    """
    try:
        if kind == "clip":
            return frames(content, 1, at_least)[0]
        if kind != "sound":
            return decode(content, at_least, name)
    except NoPictures:
        pass
    return drawing.drawn(windows(content, drawing.WINDOWS, drawing.SECONDS).frames)


class Loaded(NamedTuple):
    """What an item shows, an array where it has other channels than a picture file; what its file says (exif.py)."""

    image: Picture
    fields: Fields


def load(item: Item, at_least: int | None = None) -> Picture:
    """The picture of an item as `decode` gives it; of a clip its middle frame. Raises ImageError with the reason."""
    return load_with_fields(item, at_least).image


def load_frames(item: Item, count: int, at_least: int | None = None) -> Sequence[Picture]:
    """Up to `count` frames of a clip in the order of their time, or the picture of an item that is none.

    Raises ImageError with the reason.
    """
    if item.kind != "clip":
        return [load(item, at_least)]
    return frames(file_of(item), count, at_least)


def load_with_fields(item: Item, at_least: int | None = None) -> Loaded:
    """`load`, and what the file says of itself: taken, camera, latitude, longitude, width, height.

    What the source says of it is in `item.meta` and counts more, where both have a name.
    """
    content = content_of(item)
    if item.kind == "sound":
        raise ImageError("a sound, and this encoder sees pictures: give one that hears, as `mmr train SOUNDS` makes it")
    if isinstance(content, Image.Image):
        return Loaded(content, {"width": content.width, "height": content.height})
    if not isinstance(content, Path | bytes):  # an array
        return Loaded(content, {"width": content.shape[1], "height": content.shape[0]})
    if item.kind == "clip":
        pictures, fields = clip(content, 1, at_least)
        return Loaded(pictures[0], fields)
    return Loaded(*decode_with_fields(content, at_least, item.uri))


def text(item: Item) -> str:
    """The text in the picture of an item, its lines from the top down (reading.py); "" where there is none.

    Raises ImageError with the reason; of a clip too, of which no text is read.
    """
    if item.kind != "picture":
        raise ImageError(f"a {item.kind}, of which no text is read")
    content = content_of(item)
    named = Path(item.uri if isinstance(content, bytes) else content) if isinstance(content, Path | bytes) else None
    if isinstance(content, Path | bytes) and not (named and named.suffix.lower() in kinds.RAW):
        return guard.read_guarded(content)
    picture = decode(content, reading.AT_LEAST, item.uri) if isinstance(content, Path | bytes) else content
    if not isinstance(picture, Image.Image):
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise ImageError("no picture of three colors, of which alone text is read")
        picture = Image.fromarray(picture)
    return guard.read_guarded(picture.convert("RGB"))


def require_reader() -> None:
    """Raise MissingModel where no text can be read here: what reads it is not installed, or not what it should be."""
    packages.files_of(reading.PACKAGE)


def file_of(item: Item) -> Path | bytes:
    """The file of a clip or a sound, or its bytes. Raises ImageError with the reason."""
    content = content_of(item)
    if not isinstance(content, Path | bytes):
        raise ImageError("a picture, not the file of a clip or a sound")
    return content


def content_of(item: Item) -> "Path | bytes | Picture":
    """The file of an item, its bytes, or the picture itself. Raises ImageError with the reason."""
    if isinstance(item.content, Path):
        return item.content
    try:
        return item.content()
    except OSError as error:
        raise unread(error) from error
    except (ValueError, KeyError) as error:
        raise ImageError(f"cannot be read: {error}"[:200]) from error


# ---------------------------------------------------------------- which way


def _open(content: Path | bytes) -> BinaryIO:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    try:
        if not stat.S_ISREG(content.stat().st_mode):  # a pipe would wait for ever
            raise ImageError("not a file")
        return content.open("rb")
    except ValueError as error:
        raise ImageError("no file can have this name") from error
    except OSError as error:
        raise unread(error) from error


def _decode_raw(file: BinaryIO, at_least: int | None) -> Decoded:
    preview, tags = raw.preview(file)
    return decode_here(io.BytesIO(preview), at_least, ("JPEG",), around=tags)


def frames(content: Path | bytes, count: int = 8, at_least: int | None = None) -> list[Image.Image]:
    """Up to `count` RGB frames, from the middles of as many equal parts of the clip.

    at_least: the shorter side may shrink to this many pixels. Fewer frames come where the clip has fewer. Raises
    ImageError with the reason.
    """
    return clip(content, count, at_least).frames


def clip(content: Path | bytes, count: int = 8, at_least: int | None = None) -> Clip:
    """`frames`, and the fields of the file; it is opened once.

    Raises NoPictures for one that has sound alone, ImageError with any other reason.
    """
    if find_spec("av") is None:
        raise NeedsLibrary(f"clips need one more library: {distribution.install('video')}")
    if isinstance(content, Path):
        _open(content).close()
    try:
        return Clip(*guard.ask({"kind": "clip", "count": count, "at_least": at_least}, content))
    except ImageError as error:
        if str(error) == NO_PICTURES:  # from another process comes its text
            raise NoPictures(NO_PICTURES) from error
        raise


# ---------------------------------------------------------------- sounds


def windows_of(item: Item, count: int, seconds: float) -> Clip:
    """`windows` of an item that is a sound or a clip. Raises ImageError with the reason."""
    if item.kind == "picture":
        raise ImageError("a picture, and this encoder hears sounds: give one that sees, as --model builtin")
    return windows(file_of(item), count, seconds, item.kind == "clip")


def windows(content: Path | bytes, count: int, seconds: float, is_clip: bool = False) -> Clip:
    """Up to `count` windows of a sound, or of a clip's, from the middles of as many equal parts of it.

    seconds: of a window. Each is a gray picture ("L") of its log-mel spectrogram (sounds/mel.py), low tones below;
    fewer come of a sound that has no room for so many. The fields are sound, seconds, rate, channels. Raises ImageError
    with the reason, also where nothing but silence is heard.
    """
    decoding.require_library(is_clip)
    if isinstance(content, Path):
        _open(content).close()
    found, fields = guard.ask({"kind": "sound", "count": count, "seconds": seconds}, content)
    return Clip(found, fields | {"video": True} if is_clip else fields)
