"""`mmr train`: from parsed words to one call of train(), and what is shown meanwhile."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import show, target
from eval import evaluate
from eval.measuring import require_readable
from retrieval import TrainConfig, open_pairs
from retrieval.datatypes import Pair
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest
from retrieval.images import kinds
from retrieval.sources.registry import open_mixture
from retrieval.training import choice
from retrieval.training.distributed.ranks import is_first, processes
from retrieval.training.loop import Progress, TrainResult, config_of, train
from retrieval.training.recipes import RECIPES

if TYPE_CHECKING:
    from retrieval.cluster.trainee import Outcome

WAYS = ("text_to_image", "image_to_text")
# What a run's log says of each direction: papers on such encoders say recall@k for eval's hit@k.
LOGGED = {"recall@1": "hit@1", "recall@5": "hit@5", "recall@10": "hit@10", "mrr": "mrr", "median_rank": "median_rank"}
KEPT = "remembered_"  # before the names of what is measured on --remember
FORGOT = 0.01  # a loss of recall that is worth a word


def run(
    sources: Sequence[str], out: Path, eval_source: str | None, remember: str | None, model: str | None,
    recipe: str | None, settings: Sequence[str], resume: bool, should_stop: Callable[[], bool], ray: str | None = None,
    workers: int | None = None,
) -> int:  # fmt: skip
    """Train and say how it goes; the exit code. ray: the address of a cluster; workers: how many of it."""
    _check_workers(ray, workers)
    if not is_first():
        show.silence()  # one of several processes of torchrun
    if not resume:
        target.check_place(out, "--out")
    pairs = open_mixture(sources, show.note, bare=any(one.startswith("seen_by=") for one in settings))
    measure = evaluator(eval_source, remember)
    config = _resumed(out, model, settings) if resume else _config(pairs, model, recipe, settings)
    items = {pair.item.id: pair.item.kind for pair in pairs}
    unit = kinds.counted(items.values())
    show.note(f"{len(items)} {unit}, {len(pairs)} captions")
    begin = (
        partial(train, pairs, on_eval=measure) if ray is None else _over(sources, eval_source, remember, ray, workers)
    )
    with show.Meter("reading", unit) as reading, show.Meter("training") as meter:
        result = begin(
            out=out, config=config, resume=resume, should_stop=should_stop, on_decode=reading, on_message=meter.say,
            on_step=lambda progress: _show_step(meter, progress),
        )  # fmt: skip
    show.skipped(result.skipped)
    if not result.finished:
        show.note(f"stopped at step {result.steps}: go on with the same command and --resume")
        return show.INTERRUPTED
    _show_change(result, out, config)
    show.out(f"{out}  encoder {result.fingerprint}")
    show.note(f"next: mmr index FOLDER --model {out}")
    return show.SKIPPED if result.skipped else show.OK


def _check_workers(ray: str | None, workers: int | None) -> None:
    if workers is not None and ray is None:
        raise BadRequest("--workers are those of a cluster: add --ray local, or --ray HOST:PORT")
    if ray is not None and processes() > 1:
        raise BadRequest("torchrun and --ray both start processes: use one of them, as in mmr train ... --ray auto")


def _over(
    sources: Sequence[str], eval_source: str | None, remember: str | None, ray: str, workers: int | None
) -> Callable[..., "TrainResult | Outcome"]:
    """The same training in the workers of a cluster, each of which opens the sources."""
    from retrieval.cluster import training

    measures = partial(evaluator, eval_source, remember)
    return partial(training.train, sources, address=ray, workers=workers, measures=measures)


def _resumed(out: Path, model: str | None, settings: Sequence[str]) -> TrainConfig:
    """The settings of a run that is gone on with. model: where the encoder that it began with is now."""
    config = config_of(out)
    return dataclasses.replace(config, encoder=model or config.encoder).settings(settings)


def _config(pairs: Sequence[Pair], model: str | None, recipe: str | None, settings: Sequence[str]) -> TrainConfig:
    name = recipe or ("finetune" if model else _chosen(pairs, settings))
    if name not in RECIPES:
        raise BadRequest(f"no recipe `{name}`: use one of {', '.join(RECIPES)}")
    config = RECIPES[name](len({pair.item.id for pair in pairs}))
    return dataclasses.replace(config, encoder=model or config.encoder).settings(settings)


def _chosen(pairs: Sequence[Pair], settings: Sequence[str]) -> str:
    """The recipe where nobody names one, which is said."""
    chosen = choice.choose(pairs, settings)
    other = choice.FROM_SCRATCH if chosen.recipe == choice.BRIDGE else choice.BRIDGE
    way = "" if chosen.recipe == choice.SOUND else f" (--recipe {other} is the other way)"
    show.note(f"recipe {chosen.recipe}: {chosen.why}{way}")
    return chosen.recipe


def evaluator(eval_source: str | None, remember: str | None) -> Callable[[Encoder], dict[str, float]] | None:
    """Measures an encoder on the pairs of --eval, and of --remember under names of their own. Raises BadRequest."""
    sources = []
    for prefix, option, source in (("", "--eval", eval_source), (KEPT, "--remember", remember)):
        if source:
            sources.append((prefix, open_pairs(source)))
            require_readable(option, source, sources[-1][1])

    def measure(encoder: Encoder) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for prefix, pairs in sources:
            report = evaluate(encoder, pairs)
            for way in WAYS:
                found = getattr(report, way)
                metrics |= {f"{prefix}{way}_{name}": found[metric] for name, metric in LOGGED.items()}
        return metrics

    return measure if sources else None


def _show_step(meter: show.Meter, progress: Progress) -> None:
    if progress.loss is not None:
        meter(
            progress.step, progress.steps,
            f", loss {progress.loss:.3f} (chance {progress.chance:.2f}), {progress.pairs_per_second:.0f} pairs/s",
            progress.share,
        )  # fmt: skip
    for prefix, name in (("", ""), (KEPT, "of what it knew before: ")):
        values = [(progress.metrics or {}).get(f"{prefix}{way}_recall@10", math.nan) for way in WAYS]
        if all(map(math.isfinite, values)):
            when = f"step {progress.step}" if progress.step else "before"
            meter.say(f"{when}: {name}recall@10 text-to-image {values[0]:.1%}, image-to-text {values[1]:.1%}")


def _show_change(result: "TrainResult | Outcome", out: Path, config: TrainConfig) -> None:
    """What a fine-tune gained and forgot, and the remedy."""
    lost = 0.0
    for prefix, name in (("", "learned"), (KEPT, "remembered")):
        for way in WAYS:
            metric = f"{prefix}{way}_recall@10"
            before, after = (metrics.get(metric) for metrics in (result.before or {}, result.metrics or {}))
            if before is not None and after is not None:
                lost = max(lost, before - after)
                change = f"{before:.1%} before, {after:.1%} after ({100 * (after - before):+.1f} points)"
                show.note(f"{name}: recall@10 {way.replace('_', '-')} {change}")
    if lost >= FORGOT:
        show.note(f"some was forgotten: mmr blend {config.encoder} {out} --out {out}-blend --at 0.5 keeps more of it")
