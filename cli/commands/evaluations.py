"""The words of `mmr eval`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import AsJson, Device, Engine, Force
from cli.output import show

SPEED = "speed"


@show.guarded
def evaluate(
    encoders: Annotated[
        list[str],
        typer.Argument(help="Run folders, presets, open_clip:NAME/TAG-or-FILE; or speed.", metavar="ENCODER..."),
    ],
    source: Annotated[str, typer.Argument(help="Pairs, as for train.")],
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Also by parts: words, letters, captions (of a picture), or a field; repeatable.",
            metavar="WHAT",
        ),
    ] = None,
    robust: Annotated[
        bool, typer.Option("--robust", help="Also with typos, capitals, shuffled words, blur, rotation, ...")
    ] = False,
    through: Annotated[
        Path | None, typer.Option(help="Also asked of an index: what it costs beyond the encoder.", metavar="INDEX")
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Relevance in TREC's form: `caption's number 0 picture grade`.", metavar="FILE")
    ] = None,
    judgements: Annotated[
        str | None,
        typer.Option(help="Cosines beside people's scores, or choices of caption or caption_b.", metavar="COLUMN"),
    ] = None,
    scale: Annotated[str | None, typer.Option(help="Of --judgements, as 1:4.", metavar="LOW:HIGH")] = None,
    trained_on: Annotated[
        str | None, typer.Option(help="Pairs of the training: pictures of it are named.", metavar="SOURCE")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="flickr8k, flickr30k, coco-5k or coco-1k: counts checked, published figures beside.", metavar="NAME"
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="One page with curves, galleries, all tables.", metavar="FILE.html")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="A row a query.", metavar="FILE.csv")] = None,
    clip_benchmark: Annotated[
        Path | None, typer.Option(help="What `clip_benchmark build` reads, of one encoder.", metavar="FILE.json")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Its name in that file; the source's by default.", metavar="NAME")
    ] = None,
    language: Annotated[str, typer.Option(help="Of the captions, in that file.", metavar="CODE")] = "en",
    force: Force = False,
    as_json: AsJson = False,
    device: Device = "auto",
    engine: Engine = "auto",
) -> None:
    """How well words find pictures and pictures words; of several encoders, which is surely the better.

    hit@k is what papers on CLIP call recall@k: any right answer among the first k. Ties count against the encoder.

    `mmr eval speed ENCODER [INDEX]` measures how fast they are on this machine.

    mmr eval runs/mine "csv:pairs.csv?split=test"

    mmr eval builtin runs/mine "csv:pairs.csv?split=test" --by words --robust
    """  # fmt: skip
    from retrieval.encoders import presets

    if encoders[0] == SPEED:
        words = [*encoders[1:], source]
        presets.require(words[0])
        from cli.commands import timing

        raise typer.Exit(timing.run(words, as_json, device, engine))
    for name in encoders:
        presets.require(name)
    from cli.commands import evaluating

    asked = evaluating.Asked(
        encoders=encoders, source=source, by=by or (), robust=robust, index=through, qrels=qrels, judged=judgements,
        scale=evaluating.scale_of(scale), trained_on=trained_on, protocol=protocol, html=html, csv=csv,
        benchmark=clip_benchmark, dataset=dataset, language=language, as_json=as_json, force=force, device=device,
        engine=engine,
    )  # fmt: skip
    raise typer.Exit(evaluating.run(asked))
