"""`mmr blend`: weights between those before and after a fine-tune, or two encoders as one, and what they find."""

from collections.abc import Callable
from pathlib import Path

from cli.commands.training import KEPT, WAYS, evaluator
from cli.output import show, target
from retrieval.encoders.blend import blend, require_new
from retrieval.encoders.ensemble import ensemble
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)


def run(
    before: str, after: str, out: Path, share: float | None, eval_source: str | None, remember: str | None, device: str,
    as_ensemble: bool = False,
) -> int:  # fmt: skip
    """Blend, measure where asked, save; the exit code."""
    target.check_place(out, "--out")
    require_new(out)
    measure = evaluator(eval_source, remember)
    if as_ensemble:
        return _ask_both(before, after, out, share, measure, device)
    shares = [share] if share is not None else list(STEPS) if measure else [0.5]
    chosen = _best(before, after, shares, measure, device) if measure else shares[0]
    encoder = blend(load_encoder(before), load_encoder(after), chosen)
    encoder.save(out)
    show.out(f"{out}  encoder {encoder.fingerprint}, {chosen:g} of {after} and {1 - chosen:g} of {before}")
    return show.OK


def _best(before: str, after: str, shares: list[float], measure: Callable, device: str) -> float:
    """The share of which the mean recall@10 is greatest; each one's figures are shown."""
    found = {}
    for at in shares:
        metrics = measure(blend(load_encoder(before, device), load_encoder(after, device), at))
        found[at] = _mean(metrics)
        show.note(f"{at:4.2f} of {after}: {_words(metrics)}")
    return max(found, key=lambda at: found[at])


def _ask_both(before: str, after: str, out: Path, share: float | None, measure: Callable | None, device: str) -> int:
    if share is not None:
        raise BadRequest("an ensemble asks both alike: leave out --at, or --ensemble")
    encoder = ensemble([load_encoder(name, device) for name in (before, after)])
    if measure:
        show.note(_words(measure(encoder)))
    encoder.save(out)
    show.out(f"{out}  encoder {encoder.fingerprint}, {before} and {after}")
    return show.OK


def _mean(metrics: dict[str, float]) -> float:
    values = [value for name, value in metrics.items() if name.endswith("recall@10")]
    return sum(values) / len(values)


def _words(metrics: dict[str, float]) -> str:
    parts = []
    for prefix, name in (("", "recall@10"), (KEPT, "of what it knew before")):
        values = [metrics.get(f"{prefix}{way}_recall@10") for way in WAYS]
        if None not in values:
            parts.append(f"{name} text-to-image {values[0]:.1%}, image-to-text {values[1]:.1%}")
    return "; ".join(parts)
