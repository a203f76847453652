"""What a file is by its name's ending: a picture, a camera's raw file, a clip, or none of them."""

from pathlib import Path

RAW = frozenset(
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .orf .rw2 .raf .pef .srw .rwl .3fr .iiq .erf .mrw .x3f".split()
)
PICTURES = RAW | frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .webp .bmp .dib .tif .tiff .avif .heic .heif .hif .jp2 .j2k .jpx "
    ".ppm .pgm .pbm .pnm .tga .ico .qoi".split()
)
CLIPS = frozenset(".mp4 .m4v .mov .mkv .webm .avi .wmv .flv .mpg .mpeg .3gp .mts .m2ts .ogv".split())


def kind(path: Path) -> str:
    """What `Item.kind` is for a file of this name: "clip" or "picture"."""
    return "clip" if path.suffix.lower() in CLIPS else "picture"
