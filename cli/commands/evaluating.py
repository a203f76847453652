"""`mmr eval`: how well an encoder finds the captions of pictures and the pictures of captions."""

from cli.output import show
from retrieval.encoders import bulk, presets


def run(encoder: str, source: str, as_json: bool, device: str, engine: str) -> int:
    """Measure and show the report; the exit code."""
    presets.require(encoder)
    from eval import evaluate
    from retrieval import open_pairs

    pairs = open_pairs(source)
    loaded = bulk.load_for_bulk(encoder, device, show.note, engine, lambda: len(pairs) < bulk.FEW)
    with show.Meter("encoding", "pictures") as meter:
        report = evaluate(loaded, pairs, meter)
    show.skipped(report.skipped)
    show.out(report.to_json() if as_json else str(report))
    return show.SKIPPED if report.skipped else show.OK
