"""The words of `mmr search` and `mmr sample`."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.options import AsJson, Device, IndexDir, Model
from cli.output import show


@show.guarded
def search(
    query: options.Query = None,
    queries: options.Queries = None,
    index_dir: IndexDir = None,
    k: options.TopK = 10,
    where: options.Where = None,
    inside: options.Inside = None,
    min_score: options.MinScore = None,
    min_confidence: options.MinConfidence = None,
    diverse: options.Diverse = 0.0,
    captions: options.Captions = False,
    crop: options.Crop = None,
    urls: options.Urls = False,
    exact: options.Exact = False,
    hybrid: options.Hybrid = None,
    words_only: options.WordsOnly = False,
    update: options.Update = False,
    like: options.Like = None,
    unlike: options.Unlike = None,
    session: options.Session = None,
    train_on: options.TrainOn = None,
    with_judged: options.WithJudged = False,
    quiet: options.Quiet = False,
    as_json: AsJson = False,
    as_csv: options.AsCsv = False,
    paths: options.Paths = False,
    null: options.Null = False,
    html: options.Html = None,
    force: options.Force = False,
    open_best: options.OpenBest = False,
    preview: options.Preview = False,
    copy_to: options.CopyTo = None,
    link_to: options.LinkTo = None,
    allow: options.Allow = None,
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Print the K pictures nearest to QUERY. Bare: in the .mmr of this folder or a parent, like git.

    mmr search "a dog running on grass" -k 5
    mmr search ./dog.jpg --captions
    mmr search ./street.jpg --crop 120,80,200,150
    mmr search "2:golden retriever" + ./pool.jpg - people --json
    mmr search shirt --where "year >= 2011 and baseColour == 'Red'"
    mmr search shirt --like a.jpg --unlike b.jpg
    """
    from cli.commands import handing, judging, searching
    from cli.output import hits
    from retrieval.images.regions import Region
    from retrieval.search.answers import Asked

    asked = Asked(
        k=k, where=where, inside=inside, exact=exact, urls=urls, min_score=min_score, min_confidence=min_confidence,
        diversity=diverse, by=searching.way(hybrid, words_only), like=like or (), unlike=unlike or (),
        with_judged=with_judged, crop=Region.parse(crop, "--crop") if crop is not None else None,
    )  # fmt: skip
    judged = judging.Judging(session=session, train_on=train_on)
    place = searching.Place(index_dir=index_dir, model=model, device=device, captions=captions, update=update)
    output = handing.Output(
        form=hits.form_of(as_json, as_csv, paths, null), html=html, force=force, open_best=open_best, preview=preview,
        copy_to=copy_to, link_to=link_to, allow=allow or (), quiet=quiet,
    )  # fmt: skip
    raise typer.Exit(searching.run(query or [], queries, asked, place, output, judged))


@show.guarded
def sample(
    index: Annotated[
        Path | None,
        typer.Argument(help="The index folder, as --index names it.", metavar="INDEX", parser=options.folder),
    ] = None,
    index_dir: IndexDir = None,
    count: Annotated[int, typer.Option("-n", help="How many pictures.")] = 100,
    table: Annotated[
        Path | None,
        typer.Option("--csv", help="Write them into this table, with a column for captions.", metavar="FILE"),
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option("--known", help="Pairs, as for train, that have captions already; repeatable.", metavar="SOURCE"),
    ] = None,
    where: options.Where = None,
    inside: options.Inside = None,
    captioned: Annotated[
        bool, typer.Option("--captioned", help="Choose among pictures with captions in the index too.")
    ] = False,
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a table that is there.")] = False,
) -> None:
    """Choose the pictures whose captions would teach the most: usual ones first, no two alike.

    mmr sample -n 100 --csv captions.csv
    mmr sample -n 100 --csv more.csv --known captions.csv

    Write captions into the table, a row each (a picture may have several), then `mmr train captions.csv --out RUN`.
    """
    from cli.commands import sampling

    place = index or index_dir
    raise typer.Exit(sampling.run(place, count, table, known or [], where, inside, captioned, as_json, force))
