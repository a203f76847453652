"""What a file is by its name's ending: a picture, a camera's raw file, a clip, a sound, or none of them."""

from collections.abc import Iterable
from pathlib import Path

RAW = frozenset(
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .orf .rw2 .raf .pef .srw .rwl .3fr .iiq .erf .mrw .x3f".split()
)
PICTURES = RAW | frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .webp .bmp .dib .tif .tiff .avif .heic .heif .hif .jp2 .j2k .jpx "
    ".ppm .pgm .pbm .pnm .tga .ico .qoi".split()
)
CLIPS = frozenset(".mp4 .m4v .mov .mkv .webm .avi .wmv .flv .mpg .mpeg .3gp .mts .m2ts .ogv".split())
SOUNDS = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .m4a .m4b .aac .wma .aif .aiff .aifc .au .caf .w64 .amr".split()
)
ALL = PICTURES | CLIPS | SOUNDS
_BY_KIND = {"picture": PICTURES, "clip": CLIPS, "sound": SOUNDS}
SEEN = frozenset(("picture", "clip"))  # what an encoder takes that hears nothing


def endings(wanted: Iterable[str] | None) -> frozenset[str]:
    """The endings of files of these kinds; None: of all."""
    return ALL if wanted is None else frozenset().union(*(_BY_KIND[kind] for kind in wanted))


def counted(taken: Iterable[str]) -> str:
    """What items of these kinds are called where they are counted: "pictures", "sounds", or "items" of both.

    A clip is counted as what is taken beside it: by its pictures or by its sound.
    """
    kinds = {"picture", "sound"}.intersection(taken)
    return "items" if len(kinds) > 1 else "sounds" if "sound" in kinds else "pictures"


def kind(path: Path) -> str:
    """What `Item.kind` is for a file of this name: "clip", "sound" or "picture"."""
    ending = path.suffix.lower()
    return "clip" if ending in CLIPS else "sound" if ending in SOUNDS else "picture"
