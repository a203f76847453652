"""Texts and tables as HTML: whatever a caption or a file's name says, it is text, of a bounded length."""

import html
import re
from collections.abc import Sequence

from eval.tables import Table

_MOST = 600  # letters of a text
_LONG = 30  # rows of a table that scrolls by itself
_FEW = 3  # columns, whose cells may be broken into lines where the window is narrow
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def words(text: str) -> str:
    """A text of anybody, to stand between tags: it runs in its own direction and is no longer than a paragraph."""
    return f"<bdi>{plain(text)}</bdi>"


def plain(text: str) -> str:
    """The same without tags, for an attribute."""
    said = _CONTROL.sub(" ", text).strip()
    return html.escape(said if len(said) <= _MOST else f"{said[: _MOST - 1]}\N{HORIZONTAL ELLIPSIS}")


def table(one: Table) -> str:
    """A table that scrolls within itself where the window is narrow."""
    head = "".join(f'<th scope="col">{words(name)}</th>' for name in one.header)
    body = "".join(
        f'<tr><th scope="row">{words(row[0])}</th>{"".join(f"<td>{words(cell)}</td>" for cell in row[1:])}</tr>'
        for row in one.rows
    )
    notes = "".join(f'<p class="quiet">{words(note)}</p>' for note in one.notes)
    kind = f"scroll{' long' if len(one.rows) > _LONG else ''}{' few' if len(one.header) <= _FEW else ''}"
    return (
        f'<div class="{kind}" role="region" tabindex="0" aria-label="{plain(one.title)}"><table>'
        f'<caption class="hidden">{words(one.title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{notes}"
    )


def listed(notes: Sequence[str], kind: str = "") -> str:
    """Lines as a list; nothing where there are none."""
    if not notes:
        return ""
    return f'<ul class="{kind}">{"".join(f"<li>{words(note)}</li>" for note in notes)}</ul>'


def folded(summary: str, inside: str, is_open: bool = False) -> str:
    """What is seen once it is asked for. inside: HTML."""
    return f"<details{' open' if is_open else ''}><summary>{words(summary)}</summary>{inside}</details>"
