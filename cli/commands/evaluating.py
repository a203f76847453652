"""`mmr eval`: how well encoders find the captions of pictures and the pictures of captions, and which is the better."""

from collections.abc import Sequence
from dataclasses import replace

from cli.commands.evaluated import Asked, Found, tell
from cli.output import show, target
from eval import audit, comparing, judgements, measuring, protocols, qrels, robustness, slices, through
from eval.measuring import Measured
from retrieval import open_pairs
from retrieval.datatypes import Pair
from retrieval.encoders import bulk
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest


def run(asked: Asked) -> int:
    """Measure and show; the exit code."""
    _require_fit(asked)
    pairs = open_pairs(asked.source, show.note)
    for by in asked.by:
        slices.require(pairs, by)
    if asked.qrels:
        qrels.read(asked.qrels, pairs, measuring.each_once(pairs))
    if asked.judged is not None:
        judgements.require(pairs, asked.judged)
    found = Found(asked)
    found.note(audit.of_pairs(pairs))
    if asked.trained_on:
        _note_seen(found, pairs, asked.trained_on)
    for name in asked.encoders:
        _measure(found, name, pairs)
    comparing.require_same(found.measured)
    show.skipped(found.measured[0].skipped)
    tell(found)
    left_out = found.measured[0].skipped or any(one.left_out for one in found.agreements)
    return show.SKIPPED if left_out else show.OK


def _require_fit(asked: Asked) -> None:
    """Raise BadRequest for what does not go together: nothing that is asked for is left out in silence."""
    files = {"--html": asked.html, "--csv": asked.csv, "--clip-benchmark": asked.benchmark}
    named = {option: path.resolve() for option, path in files.items() if path}
    for option, path in files.items():
        if path:
            target.check(path, option, asked.force)
    if asked.benchmark and len(asked.encoders) > 1:
        raise BadRequest("--clip-benchmark is of one encoder, as that package has it: give one, and a file for each")
    if asked.protocol:
        protocols.named(asked.protocol)
    if len(set(named.values())) < len(named):
        raise BadRequest(f"{' and '.join(named)} name one file: give each its own")
    if asked.judged is None:
        if asked.scale:
            raise BadRequest("--scale is of --judgements: add --judgements COLUMN, or leave it out")
        return
    others = {
        "--by": asked.by, "--robust": asked.robust, "--through": asked.index, "--qrels": asked.qrels,
        "--protocol": asked.protocol, **named,
    }  # fmt: skip
    if more := [option for option, value in others.items() if value]:
        raise BadRequest(f"--judgements is told alone: leave out {', '.join(more)}, and ask for them without it")


def _note_seen(found: Found, pairs: Sequence[Pair], trained_on: str) -> None:
    line, names = audit.seen_before(pairs, open_pairs(trained_on))
    found.note([line] if names else [])
    for name in names:
        show.note(f"trained on: {name}")


def _measure(found: Found, name: str, pairs: Sequence[Pair]) -> None:
    """Everything that needs this encoder, while it is in memory."""
    asked = found.asked
    encoder = bulk.load_for_bulk(name, asked.device, show.note, asked.engine, lambda: len(pairs) < bulk.FEW)
    what = name if len(asked.encoders) > 1 else ""
    with show.Meter(f"encoding {what}".strip(), "items") as meter:
        one = measuring.measure(encoder, pairs, meter)
    if asked.qrels:
        right, notes = qrels.read(asked.qrels, one.pairs, one.items, pairs)
        one = replace(one, judged=right)
        found.note([*notes, *_unjudged(one)])
    if asked.protocol:
        found.note(protocols.check(asked.protocol, one))
        if protocols.named(asked.protocol).folds:
            found.folds.append(protocols.folds(one))
    found.measured.append(one)
    if asked.judged is not None:
        found.agreements.append(judgements.agreement(one, encoder, asked.judged, asked.scale))
    if asked.index:
        found.costs.append(through.search(one, asked.index))
    if asked.robust:
        found.harms.append(_harms(one, encoder, what))


def _unjudged(one: Measured) -> list[str]:
    left = len(one.texts) - len(one.asked["text_to_image"])
    return [f"{left} captions have no relevant picture in --qrels, and are not asked"] if left else []


def _harms(one: Measured, encoder: Encoder, what: str) -> list[robustness.Harm]:
    with show.Meter(f"harming {what}".strip(), "pictures") as meter:
        return robustness.harms(one, encoder, meter)


def scale_of(text: str | None) -> tuple[float, float] | None:
    """The bounds of --scale 1:4. Raises BadRequest."""
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        bounds = float(low), float(high)
    except ValueError:
        bounds = (0.0, 0.0)
    if not colon or not bounds[0] < bounds[1]:
        raise BadRequest(f"--scale {text} is no scale: give the least and the greatest score, as --scale 1:4")
    return bounds
