"""`mmr sample`: the pictures whose captions would teach the most, as a list or a table to fill."""

import json
import shlex
from pathlib import Path

from cli.output import plain, show, spreadsheet
from cli.output.hits import nearby
from indexes import Store
from indexes.sharded.opening import open_reader
from retrieval import find_index, open_pairs
from retrieval.search import filters
from retrieval.search.sample import Sample, Wanted, sample


def run(
    index_dir: Path | None, count: int, table: Path | None, known: list[str], where: str | None, inside: str | None,
    captioned: bool, as_json: bool, force: bool,
) -> int:  # fmt: skip
    """Choose and show, or write; the exit code."""
    if table:
        spreadsheet.check(table, "--csv", force)
    wanted = Wanted(where=where, inside=inside, captioned=captioned, beside=_files(known))
    with open_reader(index_dir or find_index()) as store, show.Meter("reading", "pictures") as meter:
        found = sample(store, count, wanted, meter)
        if not found.chosen and not found.skipped:
            show.note(filters.nothing(store, where, inside) or _why_none(found, store))
            return show.NONE
    if table:
        spreadsheet.write(table, found.chosen)
    else:
        _list(found, as_json)
    show.skipped(found.skipped)
    _say(found, count, table)
    return show.SKIPPED if found.skipped else show.OK


def _files(known: list[str]) -> list[Path]:
    """The pictures of sources of pairs that are files."""
    return [pair.item.content for one in known for pair in open_pairs(one) if isinstance(pair.item.content, Path)]


def _why_none(found: Sample, store: Store) -> str:
    if found.known:
        return f"all {found.known} pictures have captions: add --captioned to choose among them too"
    return f"no picture of {store.path} is a file of its own: caption them where they come from"


def _list(found: Sample, as_json: bool) -> None:
    for one in found.chosen:
        if as_json:
            told = {"uri": one.uri, "path": one.path, "captions": one.captions}
            show.out(json.dumps(told))
        else:
            show.out(nearby(one.path, one.uri))


def _say(found: Sample, count: int, table: Path | None) -> None:
    fewer = f", all there are of the {count} asked for" if len(found.chosen) < count else ""
    beside = f" beside {found.known} that have captions" if found.known else ""
    into = f" in {plain.line(str(table))}" if table else ""
    show.note(f"{len(found.chosen)} of {found.asked} pictures{beside}{into}{fewer}")
    if table and found.chosen:
        name = shlex.quote(str(table))
        show.note(f"next: write captions into it (rows without one are left out), then mmr train {name} --out RUN")
