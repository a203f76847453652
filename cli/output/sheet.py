"""A contact sheet: one HTML page, with its pictures inside, that shows what was asked and what was answered."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from indexes import durable
from retrieval.datatypes import Hit
from retrieval.errors import ImageError
from retrieval.sources.within import Within

_SIDE = 224  # pixels of a thumbnail's longer side

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; --line: #8884; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .6rem; border-top: 1px solid var(--line); padding-top: 1rem; }}
h2 img {{ height: 72px; border-radius: 6px; vertical-align: middle; margin-left: .5rem; }}
.hits {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 14px; }}
figure {{ margin: 0; }}
figure img {{ width: 100%; aspect-ratio: 1; object-fit: contain; background: #8881; border-radius: 8px; }}
figcaption {{ font-size: 12.5px; overflow-wrap: anywhere; }}
.score {{ opacity: .65; font-variant-numeric: tabular-nums; }}
pre {{ background: #8881; padding: .8rem 1rem; border-radius: 8px; overflow-x: auto; }}
</style></head><body><h1>{title}</h1>{body}</body></html>
"""


@dataclass(frozen=True)
class Section:
    """A question and its answers. note: a line below the heading. pictures: those that were asked with.

    root: the folder that the answers' uris are relative to.
    """

    query: str
    hits: Sequence[Hit]
    note: str = ""
    pictures: Sequence[Path] = ()
    root: str | None = None


def write(path: Path, title: str, sections: Sequence[Section], preformatted: str = "") -> None:
    """Write the page. preformatted: a table in plain text to stand first."""
    body = f"<pre>{html.escape(preformatted)}</pre>" if preformatted else ""
    body += "".join(_section(section) for section in sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, _PAGE.format(title=html.escape(title), body=body).encode("utf-8", "replace"))


def _section(section: Section) -> str:
    pictures = "".join(f'<img alt="the query" src="{_of_query(path)}">' for path in section.pictures)
    note = f"<p>{html.escape(section.note)}</p>" if section.note else ""
    figures = "".join(_figure(hit, section.root) for hit in section.hits)
    return f'<h2>{html.escape(section.query)}{pictures}</h2>{note}<div class="hits">{figures}</div>'


def _figure(hit: Hit, root: str | None) -> str:
    source = _thumbnail(hit.uri, hit.within, root, hit.kind)
    words = html.escape(hit.caption or hit.uri)
    told = "\n".join([hit.uri, *hit.captions[1:]])
    sure = "" if hit.confidence is None else f" · {hit.confidence:.0%}"
    return (
        f'<figure><img loading="lazy" alt="{words}" title="{html.escape(told)}" src="{source}">'
        f'<figcaption><span class="score">{hit.rank} · {hit.score:.3f}{sure}</span> {words}</figcaption></figure>'
    )


def _thumbnail(uri: str, place: Within | None, root: Path | str | None, kind: str = "picture") -> str:
    """The picture of an item as a data URI; an empty one where it cannot be read any more."""
    from retrieval.sources import reopen

    return _as_data(lambda: reopen.open_again(uri, place, root, at_least=_SIDE, kind=kind))


def _of_query(path: Path) -> str:
    from retrieval.images import load

    return _as_data(lambda: load.look(path, 1, _SIDE)[0])


def _as_data(open_it: Callable[[], Image.Image]) -> str:
    try:
        image = open_it()
    except ImageError:
        return ""
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
