"""A contact sheet: one HTML page, with its pictures inside, that shows what was asked and what was answered."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cli.output import target
from cli.output.hits import why
from indexes import durable
from retrieval.datatypes import Hit
from retrieval.errors import ImageError
from retrieval.sources.allowed import Allowed

_SIDE = 224  # pixels of a thumbnail's longer side

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="{mark}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; --line: #8884; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .6rem; border-top: 1px solid var(--line); padding-top: 1rem; }}
h2, .note {{ overflow-wrap: anywhere; }}
.asked {{ height: 72px; border-radius: 6px; vertical-align: middle; margin-right: .5rem; }}
.hits {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 14px; }}
figure {{ margin: 0; }}
figure img, .none {{ width: 100%; aspect-ratio: 1; background: #8881; border-radius: 8px; }}
figure img {{ object-fit: contain; display: block; }}
.none {{ display: grid; place-items: center; text-align: center; font-size: 12.5px; opacity: .7; }}
figcaption {{ font-size: 12.5px; overflow-wrap: anywhere; margin-top: .2rem; }}
.score, .path {{ opacity: .65; font-variant-numeric: tabular-nums; }}
.path {{ display: block; font-size: 11.5px; }}
pre {{ background: #8881; padding: .8rem 1rem; border-radius: 8px; overflow-x: auto; }}
</style></head><body><h1>{title}</h1>{body}</body></html>
"""


@dataclass(frozen=True)
class Section:
    """A question and its answers. note: a line below the heading. pictures: those that were asked with.

    allowed: which files of the index the page may show.
    """

    query: str
    hits: Sequence[Hit]
    allowed: Allowed
    note: str = ""
    pictures: Sequence[Path] = ()


def write(path: Path, title: str, sections: Sequence[Section], preformatted: str = "") -> list[tuple[str, str]]:
    """Write the page; (uri, reason) of the answers whose picture is not on it.

    preformatted: a table in plain text to stand first. A single question that is the title is not said twice.
    """
    left: list[tuple[str, str]] = []
    body = f"<pre>{html.escape(preformatted)}</pre>" if preformatted else ""
    body += "".join(_section(section, title, left) for section in sections)
    page = _PAGE.format(mark=target.MARK, title=html.escape(title), body=body)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, page.encode("utf-8", "backslashreplace"))
    return left


def _section(section: Section, title: str, left: list[tuple[str, str]]) -> str:
    asked = "".join(map(_asked_with, section.pictures))
    heading = f"<p>{asked}</p>" if section.query == title else f"<h2>{html.escape(section.query)}{asked}</h2>"
    note = f'<p class="note">{html.escape(section.note)}</p>' if section.note else ""
    figures = "".join(_figure(hit, section.allowed, left) for hit in section.hits)
    return f'{heading}{note}<div class="hits">{figures}</div>'


def _asked_with(picture: Path) -> str:
    """A picture of the query: the person named it."""
    from retrieval.images import load

    try:
        return f'<img class="asked" alt="the query" src="{_data(lambda: load.look(picture, 1, _SIDE)[0])}">'
    except ImageError:  # it was there when it was asked with
        return ""


def _figure(hit: Hit, allowed: Allowed, left: list[tuple[str, str]]) -> str:
    uri = html.escape(hit.uri)
    try:
        source = _data(lambda: allowed.picture(hit, _SIDE))
        alt = html.escape(hit.caption or hit.uri)
        told = html.escape("\n".join([hit.path or hit.uri, *hit.captions[1:]]))
        picture = f'<img loading="lazy" alt="{alt}" title="{told}" src="{source}">'
        if hit.path is not None:
            picture = f'<a href="{html.escape(Path(hit.path).as_uri())}">{picture}</a>'
    except ImageError as error:
        left.append((hit.uri, str(error)))
        picture = f'<div class="none">{html.escape(str(error))}</div>'
    sure = "" if hit.confidence is None else f" · {hit.confidence:.0%}"
    caption = f" {html.escape(hit.caption)}" if hit.caption else ""
    by = f'<span class="path">by: {html.escape(why(hit.by))}</span>' if hit.by else ""
    return (
        f'<figure>{picture}<figcaption><span class="score">{hit.rank} · {hit.score:.3f}{sure}</span>{caption}'
        f'<span class="path">{uri}</span>{by}</figcaption></figure>'
    )


def _data(decode: Callable[[], Image.Image]) -> str:
    """A picture as a data URI. Raises ImageError where it cannot be read any more."""
    image = decode()
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
