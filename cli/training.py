"""`mmr train`: from parsed words to one call of train(), and what is shown meanwhile."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from cli import show
from eval import evaluate
from retrieval import TrainConfig, open_pairs
from retrieval.datatypes import Pair
from retrieval.errors import BadRequest
from retrieval.recipes import RECIPES
from retrieval.train import Progress, config_of, train


def run(
    source: str, out: Path, eval_source: str | None, model: str | None, recipe: str | None, settings: Sequence[str],
    resume: bool, should_stop: Callable[[], bool],
) -> int:  # fmt: skip
    """Train and say how it goes; the exit code."""
    pairs = open_pairs(source)
    dev = open_pairs(eval_source) if eval_source else None
    config = config_of(out).settings(settings) if resume else _config(pairs, model, recipe, settings)
    pictures = len({pair.item.id for pair in pairs})
    show.note(f"{pictures} pictures, {len(pairs)} captions")
    with show.Meter("decoding", "pictures") as decoding, show.Meter("training") as meter:
        result = train(
            pairs, out, config, resume=resume, should_stop=should_stop, on_decode=decoding, on_message=meter.say,
            on_step=lambda progress: _show_step(meter, progress), on_eval=_evaluator(dev) if dev else None,
        )  # fmt: skip
    show.skipped(result.skipped)
    if not result.finished:
        show.note(f"stopped at step {result.steps}: go on with the same command and --resume")
        return show.INTERRUPTED
    show.out(f"{out}  encoder {result.encoder.fingerprint}")
    show.note(f"next: mmr index FOLDER --model {out}")
    return show.SKIPPED if result.skipped else show.OK


def _config(pairs: Sequence[Pair], model: str | None, recipe: str | None, settings: Sequence[str]) -> TrainConfig:
    name = recipe or ("finetune" if model else "from_scratch")
    if name not in RECIPES:
        raise BadRequest(f"no recipe `{name}`: use one of {', '.join(RECIPES)}")
    config = RECIPES[name](len({pair.item.id for pair in pairs}))
    return dataclasses.replace(config, encoder=model or config.encoder).settings(settings)


def _evaluator(pairs: Sequence[Pair]) -> Callable:
    def measure(encoder) -> dict[str, float]:  # noqa: ANN001
        report = evaluate(encoder, pairs)
        return {
            f"{direction}_{name}": value
            for direction in ("text_to_image", "image_to_text")
            for name, value in getattr(report, direction).items()
        }

    return measure


def _show_step(meter: show.Meter, progress: Progress) -> None:
    meter(
        progress.step, progress.steps,
        f", loss {progress.loss:.3f} (chance {progress.chance:.2f}), {progress.pairs_per_second:.0f} pairs/s",
    )  # fmt: skip
    if progress.metrics:
        t2i, i2t = (progress.metrics[f"{way}_recall@10"] for way in ("text_to_image", "image_to_text"))
        if math.isfinite(t2i):
            meter.say(f"step {progress.step}: recall@10 text-to-image {t2i:.1%}, image-to-text {i2t:.1%}")
