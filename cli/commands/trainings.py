"""The words of what makes an encoder: `mmr train`, `demo`, `blend`, and `mmr models`, which says what there is."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options, usage
from cli.options import AsJson, Device, Model, Ray
from cli.output import show


@show.guarded
def demo(
    out: Annotated[Path, typer.Option(help="The folder to make.")] = Path("mmr-demo"),
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Of the scenes and of the training.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Remove an earlier demo in that folder first.")] = False,
    minutes: Annotated[
        float,
        typer.Option(
            min=0,
            max=600,
            callback=usage.finite,
            help="About how long at most, on two cores: with more it learns from more scenes.",
        ),
    ] = 2,
) -> None:
    """Draw scenes, train on them, index others, answer "a dog": the main job in minutes, with no download.

    mmr demo --out first
    """
    from cli.commands import demo as story

    story.run(out, device, seed, force, minutes)


@show.guarded
def train(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Pairs: a csv, jsonl, parquet file, a folder with .txt captions, hf:NAME, ... Of several, "
            "3:SOURCE is drawn three times as often.",
            metavar="SOURCE...",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The run folder to make.", metavar="RUN")],
    eval_source: Annotated[
        str | None, typer.Option("--eval", help="Pairs to evaluate on during the run.", metavar="SOURCE")
    ] = None,
    remember: Annotated[
        str | None,
        typer.Option(help="Other pairs, measured like --eval's: what a fine-tune forgot.", metavar="SOURCE"),
    ] = None,
    model: Model = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="bridge, from_scratch, long, finetune, sound or smoke; chosen by the pairs if not given."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="field=value, any field of --settings; repeatable.")
    ] = None,
    show_settings: options.TrainSettings = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    device: Device = "auto",
    ray: Ray = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of --ray; one a GPU, or else one a machine, if not given.", metavar="N"),
    ] = None,
) -> None:
    """Train an encoder on pairs of pictures and captions.

    mmr train pairs.csv --out runs/mine --eval "csv:pairs.csv?split=dev"
    """
    from retrieval.encoders import presets

    if model:
        presets.require(model)
    from cli.commands import training
    from cli.signals import StopOnSignal

    stop = StopOnSignal()
    settings = [*(settings or []), *([f"device={device}"] if device != "auto" else [])]
    code = training.run(sources, out, eval_source, remember, model, recipe, settings, resume, stop, ray, workers)
    raise typer.Exit(code)


@show.guarded
def blend(
    before: Annotated[str, typer.Argument(help="The encoder that a fine-tune began with: its --model.")],
    after: Annotated[str, typer.Argument(help="The run of the fine-tune.")],
    out: Annotated[Path, typer.Option(help="The folder to make.", metavar="RUN")],
    share: Annotated[
        float | None, typer.Option("--at", help="How much of AFTER: 0.5, or measured with --eval.")
    ] = None,
    eval_source: Annotated[
        str | None, typer.Option("--eval", help="Pairs of what was learned.", metavar="SOURCE")
    ] = None,
    remember: Annotated[str | None, typer.Option(help="Pairs of what was known before.", metavar="SOURCE")] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="No weights between: two runs asked as one, at the price of both.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Weights between those before and after a fine-tune: most of what it learned, less of what it forgot.

    mmr blend small runs/mine --out runs/both --eval mine.csv --remember other.csv
    """
    from cli.commands import blending

    raise typer.Exit(blending.run(before, after, out, share, eval_source, remember, device, ensemble))


@show.guarded
def models(
    as_json: AsJson = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove exported encoders that were not used for --days.")
    ] = False,
    days: Annotated[
        float | None,
        typer.Option(min=0, callback=usage.finite, help="With --prune: 30 if not given; 0 removes all of them."),
    ] = None,
) -> None:
    """List pretrained encoders and towers with licence, size, languages and recall, and what the cache holds.

    mmr models --prune --days 60
    """
    from cli.commands import cache

    raise typer.Exit(cache.prune(30 if days is None else days) if prune else cache.models(as_json, days))
