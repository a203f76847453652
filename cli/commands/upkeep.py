"""`mmr info`, `verify`, `compact`, `snapshot`: what an index holds, is it whole, making it small again, copying it."""

import json
from dataclasses import asdict
from pathlib import Path

from cli import config
from cli.output import show, target
from indexes import Store
from indexes.sharded.opening import open_reader
from indexes.verify import WORDS, of_words
from retrieval import find_index
from retrieval.errors import BadRequest
from retrieval.indexing import catalog, changes, field_table, fields, hybrid, roots, snapshot, stored
from retrieval.indexing.catalog import Identity, Imported, Origin
from retrieval.indexing.removed import Removed

_LOOKED_AT, _SHOWN = 200, 8  # items that the fields are taken of, and fields that are shown


def info(index_dir: Path | None, as_json: bool, check: bool = False) -> int:
    """Show what is in an index; the exit code. check: also what its folders hold beside it."""
    path = index_dir or find_index()
    with open_reader(path) as store:
        encoder = Identity.recorded(store)
        held = {
            "index": str(path), **store.describe(), "dim": store.dim, "encoder": encoder and encoder.name,
            "fingerprint": encoder and encoder.fingerprint, **_source(store), **_read(store),
            "generation": store.generation, **_imported(store), **_approximate(store), **_hybrid(store, as_json),
            "fields": {one.name: one.examples for one in field_table.table(store, _LOOKED_AT)},
        }  # fmt: skip
        beside = _beside(store) if check else changes.Changes()
        counted = ("new", "changed", "renewed", "gone") if check else ()
        held |= {name: getattr(beside, name) for name in counted}
        held |= {"removed": count} if (count := len(Removed(path))) else {}
        held |= {"unseen": beside.unseen} if beside.unseen else {}
    if as_json:
        show.out(json.dumps(held))
    else:
        for name, value in held.items():
            shown = "unknown: as imported" if name == "fingerprint" and value is None else value
            if name == "fields":
                shown = f"{_in_words(value)} (all: mmr fields)"
            show.out(f"{name:<14}{shown:,}" if isinstance(shown, int) else f"{name:<14}{shown}")
    show.skipped(beside.skipped)
    return show.SKIPPED if beside.skipped else show.OK


def _in_words(fields: dict[str, list]) -> str:
    parts = [f"{name} ({examples[0]!r})" if examples else name for name, examples in fields.items()]
    return ", ".join(parts[:_SHOWN]) + (", ..." if len(parts) > _SHOWN else "") if parts else "none"


def _source(store: Store) -> dict:
    uri, origin = roots.recorded(store), Origin.recorded(store)
    if origin.asked is not None and (asked := origin.source(store.path)):
        return {"source": asked.text} | ({"urls": "fetched"} if asked.options.urls else {})
    if uri is None or not (uri.roots or uri.files or uri.options.exclude):
        return {"source": origin.root or origin.scheme}
    left_out = {"left out": ", ".join(uri.options.exclude)} if uri.options.exclude else {}
    return {"source": uri.text if uri.roots or uri.files else origin.root, **left_out}


def _read(store: Store) -> dict:
    """Is the text in its pictures read?"""
    return {"text": "read in pictures (--ocr)"} if catalog.reads_text(store) else {}


def _beside(store: Store) -> changes.Changes:
    uri = roots.source(store)
    if uri is None:
        raise BadRequest(f"{store.path} does not say what it is of: `mmr index SOURCE` says what is new")
    return changes.count(store, uri)


def _imported(store: Store) -> dict:
    """Where an index was imported from, and whether its encoder has been compared with its vectors yet."""
    imported = Imported.recorded(store)
    if imported is None:
        return {}
    if Identity.required(store).fingerprint is None:
        compared = "not yet: it is when the encoder is first loaded"
    elif imported.cosine is None:
        compared = "no: it was an index of mmr" if imported.compared is None else "no: no picture was at hand"
    else:
        compared = f"cosine {imported.cosine:.3f}, of {imported.compared} pictures"
    return {"imported from": imported.kind, "compared": compared}


def _approximate(store: Store) -> dict:
    recorded = store.approximate
    if recorded is None:
        return {"search": "exact"}
    points = ", ".join(f"{point.asked:g}: {point.recall:.3f}" for point in recorded.points)
    return {"search": recorded.spec, "recall asked": recorded.asked, "on text": points or "not reached"}


def _hybrid(store: Store, as_json: bool) -> dict:
    measured = hybrid.Measured.recorded(store)
    if measured is None:
        return {}
    return {"hybrid": asdict(measured) if as_json else str(measured)}


def repair(index_dir: Path | None, model: str | None, device: str, urls: bool) -> int:
    """Encode again what is damaged and can be, then verify; the exit code. model: where the encoder is now."""
    path = index_dir or find_index()
    with Store.open(path, write=True) as store:
        if damaged := len(store.damaged()):
            from retrieval.encoders import bulk
            from retrieval.indexing import repair

            name, engine = model or Identity.required(store).where(path), config.value("engine")
            encoder = bulk.load_for_bulk(name, device, show.note, engine, lambda: damaged < bulk.FEW)
            with show.Meter("repairing", "pictures") as meter:
                report = repair.repair(store, encoder, meter, urls)
            show.skipped(report.left)
            show.note(f"{path}: {report.repaired} of {damaged} damaged vectors were encoded again")
        elif any(_is_of_deleted(problem) for problem in store.verify()):
            store.compact()
        if of_words(path):
            store.renew_words()
            show.note(f"{path}: the words of all items were made again from their records")
    return verify(path)


def verify(index_dir: Path | None) -> int:
    """Read everything and compare it with its checksums; the exit code."""
    path = index_dir or find_index()
    with open_reader(path) as store:
        problems = store.verify()
        count, numbers = len(store), {} if problems else stored.numbers(store)
    for problem in problems:
        show.note(f"mmr: {path}: {problem}{_way_on(problem, path)}")
    if not problems:
        show.out(f"{path}: {count} rows, all as they were written")
        if not numbers.keys() <= {fields.USUAL}:
            show.out(f"{path}: {', '.join(f'{many} computed in {kind}' for kind, many in numbers.items())}")
    return show.MISSING if problems else show.OK


def _way_on(problem: str, path: Path) -> str:
    if problem.startswith(WORDS):
        return f": `mmr verify --repair --index {path}` makes them again from the records"
    if problem.startswith("derived/"):
        return ""
    if _is_of_deleted(problem):
        return f": `mmr compact --index {path}` drops them"
    repair = "`mmr verify --repair` encodes it again from its picture, or " if problem.startswith("segments/") else ""
    return f": {repair}restore it, or remove {path} and index again"


def _is_of_deleted(problem: str) -> bool:
    return problem.endswith("where only deleted rows lie")


def compact(index_dir: Path | None) -> int:
    """Rewrite what is alive as one segment; the exit code."""
    path = index_dir or find_index()
    with Store.open(path, write=True) as store:
        before = store.describe()
        store.compact()
        after = store.describe()
    show.out(
        f"{path}: {after['rows']} rows in {after['segments']} segment(s), before {before['segments']}; "
        f"{before['deleted']} deleted rows dropped"
    )
    return show.OK


def copy(index_dir: Path | None, place: Path) -> int:
    """Copy an index into a new folder; the exit code."""
    target.check_place(place, "DIR")
    path = index_dir or find_index()
    with Store.open(path, write=True) as store:
        snapshot.snapshot(store, place)
        show.out(f"{place}: {len(store)} rows, as {path} holds them; search them with --index {place}")
    return show.OK
