"""Which files of an index may be handed out: copied, linked to, opened, shown on a page, served.

A record may name any file of the machine, and an index may come from anybody. What is handed out therefore lies below a
folder that a person named on this machine, once `..` and links are followed, and is a picture, a clip or a sound by
its bytes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval import cache
from retrieval.datatypes import Hit
from retrieval.errors import BadRequest, ImageError
from retrieval.sources.within import InTable, InTar

if TYPE_CHECKING:
    from PIL import Image

OUTSIDE = "lies outside the folder of its index"  # the reason of an ImageError
_SMALL = 64  # pixels of a picture that is only looked at to see whether it is one


@dataclass(frozen=True, slots=True)
class Allowed:
    """What of an index may be handed out.

    root: the folder that its uris are relative to; None for items that are no files. folders: those below which files
    may be handed out, without links.
    """

    root: str | None
    folders: tuple[Path, ...]

    @classmethod
    def of(
        cls, root: str | None, index: Path, named: Sequence[Path] = (), roots: Sequence[str] = ()
    ) -> "Allowed":  # fmt: skip
        """What of the index at that path may be handed out.

        Args:
            root: The one that the index records.
            index: The folder of the index.
            named: More folders, which the person named.
            roots: The folders below the root that it is of, where it records several.

        Returns:
            The root counts as named, as whoever indexes names it, or its several folders. But an index that came from
            elsewhere may record any: one that is all of the disk, or of a home, counts only where the index itself lies
            in it.
        """
        recorded = [] if root is None else [Path(root, folder) for folder in roots or ("",)]
        own = [folder for folder in recorded if not _is_wide(_real(folder), index)]
        return cls(root, tuple(_real(folder) for folder in (*own, *named)))

    def content(self, hit: Hit) -> Path | bytes:
        """The file of an answer, without links, or its bytes where it lies in another one.

        It is not looked at yet. Raises ImageError where it is gone or OUTSIDE.
        """
        from retrieval.sources import reopen  # a search that hands nothing out does without

        if self.root is not None and isinstance(hit.within, InTar | InTable):
            self._require(Path(self.root, hit.within.file))
        found = reopen.content_again(hit.uri, hit.within, self.root)
        return self._require(found) if isinstance(found, Path) else found

    def picture(self, hit: Hit, at_least: int | None = None) -> "Image.Image":
        """The picture of an answer, as `images.load.shown` gives it. Raises ImageError."""
        return _decoded(self.content(hit), hit, at_least)

    def file(self, hit: Hit) -> Path:
        """The file of an answer, without links, once it was seen to be what it says. Raises ImageError."""
        found = self.content(hit)
        if not isinstance(found, Path):
            raise ImageError("lies within another file")
        _decoded(found, hit, _SMALL)
        return found

    def _require(self, path: Path) -> Path:
        try:
            real = _real(path)
        except (OSError, ValueError) as error:  # links in a circle, a name that no file can have
            raise ImageError("no such file") from error
        if not any(real.is_relative_to(folder) for folder in self.folders):
            raise ImageError(OUTSIDE)
        if not real.is_file():
            raise ImageError("no such file")
        return real


def _decoded(content: Path | bytes, hit: Hit, at_least: int | None) -> "Image.Image":
    from retrieval.images import load

    return load.shown(content, hit.kind, at_least, hit.uri)


def _real(path: Path | str) -> Path:
    return Path(os.path.realpath(path))


def _is_wide(root: Path, index: Path) -> bool:
    """Is a root all of a disk, or of a person's home, though the index does not lie in it itself?"""
    try:
        wide = root == Path(root.anchor) or _real(cache.home()).is_relative_to(root)
    except BadRequest:  # who has no home
        wide = False
    return wide and _real(index).parent != root
