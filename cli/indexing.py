"""`mmr index`: from parsed words to one call of Retriever.build, and what is shown meanwhile."""

import re
from pathlib import Path

from cli import show
from indexes import NotAnIndex, Store, durable
from retrieval import Retriever, ahead, pipeline
from retrieval.errors import BadRequest
from retrieval.presets import DEFAULT
from retrieval.retriever import FOLDER, encoder_of
from retrieval.sources import Options, parse_uri

SKIPPED_FILE = "skipped.txt"


def run(
    source: str, index_dir: Path | None, model: str | None, device: str, recall: float | None, memory: str | None,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:  # fmt: skip
    """Index and say what was done; the exit code."""
    budget = None if memory is None else _bytes(memory)
    uri = parse_uri(source, options)
    path = index_dir or (uri.root or Path()) / FOLDER
    name = model or _recorded(path) or DEFAULT
    with ahead.of_index(uri, path, name, pipeline.prepare) as prepared:
        from retrieval import load_encoder  # torch takes seconds, in which the first pictures are decoded

        encoder = load_encoder(name, device).to_fast_precision()
        prepared.expect(encoder.preprocess)
    with show.Meter("indexing", "pictures") as meter:
        retriever, report = Retriever.build(
            uri, path, encoder, device, meter, recall=recall, memory=budget, on_message=meter.say, ahead=prepared
        )
    with retriever:
        listed = path / SKIPPED_FILE
        lines = "".join(f"{uri}\t{reason}\n" for uri, reason in report.skipped)
        if lines or listed.exists():
            durable.write_bytes(listed, lines.encode("utf-8", "backslashreplace"))
        show.skipped(report.skipped, listed)
        show.out(
            f"{path}: {len(retriever.store)} pictures ({report.added} new, {report.changed} changed, "
            f"{report.moved} moved, {report.removed} removed, {report.unchanged} as before, "
            f"{len(report.skipped)} skipped)"
        )
    return show.SKIPPED if report.skipped else show.OK


def _bytes(size: str) -> float:
    """ "500M" or "4G" as bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)i?B?", size.strip(), re.IGNORECASE)
    if not match:
        raise BadRequest(f"--memory {size} is no size: write --memory 500M or --memory 4G")
    return float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")


def _recorded(path: Path) -> str | None:
    """The encoder of an index that is there already."""
    if not (path / "mmr.db").exists():
        return None
    try:
        with Store.open(path) as store:
            return encoder_of(store)
    except NotAnIndex:
        return None  # Retriever.build says what is wrong
