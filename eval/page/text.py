"""Texts and tables as HTML: whatever a caption or a file's name says, it is text, of a bounded length."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

_MOST = 600  # letters of a text
_LONG = 30  # rows of a table that scrolls by itself
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: What it tells.
        header: What stands above each column. The first one names the rows.
        rows: As many cells each. A whole number has its thousands apart, another one three digits behind its
            point. None is an empty cell. A column of nothing but numbers stands at the right.
        note: A line below it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def words(text: str) -> str:
    """A text of anybody, to stand between tags: it runs in its own direction and is no longer than a paragraph."""
    return f"<bdi>{plain(text)}</bdi>"


def plain(text: str) -> str:
    """The same without tags, for an attribute."""
    said = _CONTROL.sub(" ", text).strip()
    return html.escape(said if len(said) <= _MOST else f"{said[: _MOST - 1]}\N{HORIZONTAL ELLIPSIS}")


def table(one: Table) -> str:
    """A table that scrolls within itself where the window is narrow."""
    looks = [_look([row[at] for row in one.rows if at < len(row)]) for at in range(len(one.header))]
    head = "".join(f'<th scope="col"{look}>{words(name)}</th>' for name, look in zip(one.header, looks, strict=True))
    body = "".join(f"<tr>{''.join(map(_cell, row, looks, range(len(row))))}</tr>" for row in one.rows)
    note = f'<p class="quiet">{words(one.note)}</p>' if one.note else ""
    kind = "scroll long" if len(one.rows) > _LONG else "scroll"
    return (
        f'<div class="{kind}" role="region" tabindex="0" aria-label="{plain(one.title)}"><table>'
        f'<caption class="hidden">{words(one.title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def listed(notes: Sequence[str], kind: str = "") -> str:
    """Lines as a list; nothing where there are none."""
    if not notes:
        return ""
    return f'<ul class="{kind}">{"".join(f"<li>{words(note)}</li>" for note in notes)}</ul>'


def folded(summary: str, inside: str, is_open: bool = False) -> str:
    """What is seen once it is asked for. inside: HTML."""
    return f"<details{' open' if is_open else ''}><summary>{words(summary)}</summary>{inside}</details>"


def _look(values: Sequence[Cell]) -> str:
    """The class of a column: numbers stand at the right, where there is nothing else."""
    return "" if any(isinstance(value, str) for value in values) else ' class="number"'


def _cell(value: Cell, look: str, at: int) -> str:
    shown = {int: "{:,}", float: "{:,.3f}"}.get(type(value), "{}").format("" if value is None else value)
    return f'<th scope="row"{look}>{words(shown)}</th>' if at == 0 else f"<td{look}>{words(shown)}</td>"
