"""Which columns of a table are meant: those of pictures and captions, by their usual names or as a source says."""

import difflib
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from retrieval.errors import BadRequest, did_you_mean
from retrieval.sources.uri import Uri

# What tables of other hands call them.
_IMAGES = ("image_path", "path", "file", "filepath", "file_path", "filename", "file_name", "img", "picture", "photo")
_CAPTIONS = ("title", "text", "txt", "description", "alt", "sentence")
_SEPARATORS = "|,;\t^~\x01\x1f:"  # the likelier first
_SHOWN = 20  # columns that a message names


class Columns(NamedTuple):
    """Of a table: the column of pictures, whether it holds addresses, and the column of captions, there or not."""

    picture: str
    is_url: bool
    caption: str

    @classmethod
    def of(cls, uri: Uri, names: Iterable[str], usual: Sequence[str]) -> "Columns":
        """Those of a table with columns `names`. usual: what pictures are called, `url` after all others.

        Raises BadRequest where there are no pictures.
        """
        names, asked = list(names), uri.reading
        if "image" in asked or "url" in asked:
            option = "image" if "image" in asked else "url"
            if asked[option] not in names:
                raise BadRequest(_no_such(uri, option, names))
            return cls(asked[option], option == "url", asked.get("caption", "caption"))
        chosen = next((name for name in (*usual, "url") if name in names), None)
        if chosen is None:
            raise BadRequest(_no_pictures(uri, names, usual))
        return cls(chosen, chosen == "url", asked.get("caption", "caption"))


def require(uri: Uri, names: Iterable[str]) -> None:
    """Raise BadRequest unless a table has the column of captions, if one is named, and those that are filtered by."""
    names = list(names)
    if "caption" in uri.reading and uri.reading["caption"] not in names:
        raise BadRequest(_no_such(uri, "caption", names))
    for name in uri.where:
        if name not in names:
            near = did_you_mean(_near(name, names), f"filter by one of them, or leave `{name}` out")
            raise BadRequest(f"{_lacks(uri, name, names)}: {near}")


def _no_such(uri: Uri, option: str, names: Sequence[str]) -> str:
    """That the column which an option names is not there; it may have been meant as a filter."""
    asked = uri.reading[option]
    if option in names:
        way_on = f"write {option}=={asked} to keep the rows whose {option} is that"
    else:
        way_on = did_you_mean(_near(asked, names), f"give one of them with {option}=")
    return f"{_lacks(uri, asked, names)}: {way_on}"


def _no_pictures(uri: Uri, names: Sequence[str], usual: Sequence[str]) -> str:
    """That there is no column of pictures, and what to type that can work."""
    lacks = _lacks(uri, "image", names)
    if uri.scheme == "parquet" and "embedding" in names:
        return f"{lacks}: it holds vectors, so take it in with mmr import parquet {shlex.quote(uri.path)}"
    if separated := _separated(uri, names):
        separator, cells = separated
        options = {} if {*usual, "url"}.intersection(cells) else _options(uri, cells)
        return f"{lacks}: say what stands between cells, as in {uri.with_options(sep=separator, **options)}"
    options = _options(uri, names)
    if "image" not in options:  # the first may be anything: of a parquet, numbers
        return f"{lacks}: say which it is with image="
    return f"{lacks}: say which it is, as in {uri.with_options(**options)}"


def _options(uri: Uri, names: Sequence[str]) -> dict[str, str]:
    """The columns that pictures and captions are likely in, as options that say so."""
    image = _likely("image", _IMAGES, names) or (names[0] if names and uri.scheme == "csv" else None)
    rest = [name for name in names if name != image]
    caption = None if "caption" in [*names, *uri.reading] else _likely("caption", _CAPTIONS, rest)
    return {**({"image": image} if image else {}), **({"caption": caption} if caption else {})}


def _separated(uri: Uri, names: Sequence[str]) -> tuple[str, list[str]] | None:
    """The sign that cuts the one name of a csv's header into several, and those; None where it is one."""
    if uri.scheme not in ("csv", "urls") or len(names) != 1:
        return None
    blank = " " if {"image", "caption"} <= {*names[0].split(" ")} else ""  # else it is part of a name
    sign = next((sign for sign in _SEPARATORS + blank if sign in names[0]), None)
    return (sign, [name.strip(' "') for name in names[0].split(sign)]) if sign else None


def _likely(usual: str, others: Sequence[str], names: Sequence[str]) -> str | None:
    by_lower = {name.lower(): name for name in reversed(names)}
    found = next((by_lower[name] for name in (usual, *others) if name in by_lower), None)
    return found or next(iter(_near(usual, names)), None)


def _near(name: str, names: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, names, 1)


def _lacks(uri: Uri, name: str, names: Sequence[str]) -> str:
    more = f", ... ({len(names)} of them)" if len(names) > _SHOWN else ""
    return f"{uri.path} has no column `{name}`, only {', '.join(names[:_SHOWN])}{more}"
