"""`mmr index`: from parsed words to one call of Retriever.build, and what is shown meanwhile."""

from pathlib import Path

from cli import show
from indexes import NotAnIndex, Store, durable
from retrieval import Retriever, load_encoder
from retrieval.presets import DEFAULT
from retrieval.retriever import FOLDER, encoder_of
from retrieval.sources import parse_uri

SKIPPED_FILE = "skipped.txt"


def run(source: str, index_dir: Path | None, model: str | None, device: str) -> int:
    """Index and say what was done; the exit code."""
    uri = parse_uri(source)
    path = index_dir or (uri.root or Path()) / FOLDER
    encoder = load_encoder(model or _recorded(path) or DEFAULT, device)
    encoder.to_fast_precision()
    with show.Meter("indexing", "pictures") as meter:
        retriever, report = Retriever.build(source, path, encoder, device, meter)
    with retriever:
        listed = path / SKIPPED_FILE
        lines = "".join(f"{uri}\t{reason}\n" for uri, reason in report.skipped)
        if lines or listed.exists():
            durable.write_bytes(listed, lines.encode("utf-8", "backslashreplace"))
        show.skipped(report.skipped, listed)
        show.out(
            f"{path}: {len(retriever.store)} pictures ({report.added} new, {report.changed} changed, "
            f"{report.removed} removed, {report.unchanged} as before, {len(report.skipped)} skipped)"
        )
    return show.SKIPPED if report.skipped else show.OK


def _recorded(path: Path) -> str | None:
    """The encoder of an index that is there already."""
    if not (path / "mmr.db").exists():
        return None
    try:
        with Store.open(path) as store:
            return encoder_of(store)
    except NotAnIndex:
        return None  # Retriever.build says what is wrong
