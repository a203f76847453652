"""The Typer app: each command parses, makes one call, shows. torch is imported by the commands that need it."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import options, usage
from cli.commands import configuring, evaluations, exchange, heads, hearing, locating, sharding
from cli.options import AsJson, Device, Engine, IndexDir, Model, Ocr, Ray
from cli.output import show, streams

app = typer.Typer(
    name="mmr", cls=usage.Commands, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find pictures by words and words by pictures.",
    epilog="Exit codes: 0 answers, 1 none, 2 wrong usage, 3 index or model missing or unfit, 4 inputs skipped, "
    "5 the machine failed, 130 interrupted. MMR_DEBUG=1 shows tracebacks.",
)  # fmt: skip


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=usage.version, help="Say which version this is.")
    ] = False,
) -> None:
    pass


@app.command()
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


@app.command()
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
        typer.Option(help="bridge, from_scratch, long, finetune or smoke; chosen by the pairs if not given."),
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


@app.command()
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


app.command(name="eval")(evaluations.evaluate)
app.command()(hearing.ears)


@app.command()
@show.guarded
def index(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of pictures, pictures, or any other source; bare: what the index is of, or this folder.",
            metavar="SOURCE",
        ),
    ] = None,
    index_dir: IndexDir = None,
    model: Model = None,
    recall: Annotated[
        float | None,
        typer.Option(min=0.5, max=0.999, callback=usage.finite, help="Of approximate search, measured on text."),
    ] = None,
    memory: Annotated[str | None, typer.Option(help="That it may take: 500M, 4G.", metavar="SIZE")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Left out of a folder, as in a .gitignore; repeatable.", metavar="GLOB")
    ] = None,
    include_hidden: Annotated[
        bool | None, typer.Option("--include-hidden/--no-hidden", help="Also names that start with a dot.")
    ] = None,
    follow: Annotated[
        bool | None, typer.Option("--follow/--no-follow", help="Also what lies behind links to folders, each once.")
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Let go of the folders of the index that are not named.")
    ] = False,
    let_go: Annotated[
        bool, typer.Option("--gone", help="Let go of what cannot be looked at: gone disks, unreadable folders.")
    ] = False,
    readmit: Annotated[bool, typer.Option("--readmit", help="Take again what mmr rm took out.")] = False,
    urls: Annotated[bool, typer.Option("--urls", help="Pictures may be fetched from the URLs of SOURCE.")] = False,
    local_urls: Annotated[
        bool, typer.Option("--local-urls", help="Also from this machine and private networks.")
    ] = False,
    ocr: Ocr = None,
    ray: Ray = None,
    device: Device = "auto",
    engine: Engine = "auto",
) -> None:
    """Index pictures: new and changed ones only; those that are gone disappear. Bare: this folder into ./.mmr.

    mmr index ~/Pictures ~/Camera --index photos.mmr
    --exclude, --include-hidden, --follow, --ocr are remembered. Another --model than before encodes everything again.
    From 100,000 pictures on, an approximate index is made beside the exact one and tuned on text; --recall asks for it.
    A file .mmrignore in a folder leaves out what its globs name, as a .gitignore does.
    """
    from cli.commands import indexing

    asked = indexing.IndexRequest(
        sources=tuple(sources or ()), only=only, exclude=exclude, include_hidden=include_hidden, follow=follow,
        let_go=let_go, readmit=readmit, urls=urls or local_urls, local_urls=local_urls, ocr=ocr,
    )  # fmt: skip
    how = indexing.How(device=device, engine=engine, ray=ray, recall=recall, memory=memory)
    raise typer.Exit(indexing.run(asked, index_dir, model, how))


@app.command()
@show.guarded
def watch(
    folders: Annotated[
        list[str] | None,
        typer.Argument(help="Folders of pictures; bare: those of the index, or this folder.", metavar="FOLDER"),
    ] = None,
    index_dir: IndexDir = None,
    model: Model = None,
    poll: Annotated[
        float | None,
        typer.Option(
            help="Look at every file so often, where no system tells of changes: network shares.", metavar="SECONDS"
        ),
    ] = None,
    sweep: Annotated[
        float, typer.Option(help="Look through everything so often, for what was not told.", metavar="MINUTES")
    ] = 15,
    device: Device = "auto",
    engine: Engine = "auto",
) -> None:
    """Keep an index of folders up to date while it runs: what changes in them is indexed within 2 seconds.

    mmr watch ~/Pictures
    mmr watch --index photos.mmr --poll 30
    What is left out is as `mmr index` was told. A folder that is gone, as its disk is, loses nothing in the index.
    """  # fmt: skip
    from cli.commands import watching

    how = watching.Watched(poll=poll, sweep=sweep, device=device, engine=engine)
    raise typer.Exit(watching.run(folders or (), index_dir, model, how))


@app.command()
@show.guarded
def serve(
    indexes: Annotated[
        list[Path] | None,
        typer.Argument(help="Indexes; bare: the .mmr of this folder or a parent.", metavar="[INDEX]..."),
    ] = None,
    host: Annotated[str, typer.Option(help="Where it listens; elsewhere than here only with a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 8750,
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="A folder whose pictures may be shown; again for more.")
    ] = None,
    host_name: Annotated[
        list[str] | None, typer.Option("--host-name", help="A name that it is reached by, beside its address.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option("--allow-origin", help="A site whose pages may ask, as https://example.org.")
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", help="A training whose curves are shown, while it goes on; again for more."),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option("--report", help="What `eval --json` or `head eval --json` wrote, to be shown; again for more."),
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="MMR_TOKEN", help="Who reads must send it.", show_envvar=False)
    ] = None,
    write_key: Annotated[
        str | None,
        typer.Option("--write-key", envvar="MMR_WRITE_KEY", help="Who labels must send it; without, nobody can."),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="A line of JSON on stderr for each request.")] = False,
    log_queries: Annotated[bool, typer.Option("--log-queries", help="The same with what was asked.")] = False,
    ray: Ray = None,
    replicas: Annotated[int, typer.Option(help="Of each shard, with --ray.", metavar="N")] = 1,
    watch: Annotated[bool, typer.Option("--watch", help="Index what changes in their folders, as mmr watch.")] = False,
    device: Device = "auto",
) -> None:
    """Open a page in the browser to search INDEX, and an API for programs. It listens on this machine alone.

    mmr serve
    mmr serve ~/photos/.mmr ~/scans/.mmr --port 8751
    """
    from cli.commands import serving

    serving.run(
        serving.Served(
            indexes=indexes or (), host=host, port=port, roots=root or (), host_names=host_name or (),
            origins=allow_origin or (), runs=run or (), reports=report or (), token=token or None,
            write_key=write_key or None, device=device, log=log, log_queries=log_queries, ray=ray, replicas=replicas,
            watch=watch,
        )
    )  # fmt: skip


@app.command()
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


app.command()(locating.locate)


@app.command()
@show.guarded
def ls(
    index_dir: IndexDir = None,
    where: options.Where = None,
    inside: options.Inside = None,
    details: Annotated[bool, typer.Option("-l", help="With captions and fields.")] = False,
    as_json: AsJson = False,
    null: Annotated[bool, typer.Option("--null", "-0", help="Names end in a NUL each.")] = False,
) -> None:
    """List what is indexed, by the names that `mmr rm` and id: take.

    mmr ls --in holidays -l
    """
    from cli.commands import listing

    raise typer.Exit(listing.ls(index_dir, where, inside, details, as_json, null))


@app.command()
@show.guarded
def fields(index_dir: IndexDir = None, as_json: AsJson = False) -> None:
    """List the fields that --where may ask for: how many items have each, its types, some of its values.

    mmr fields --index photos.mmr
    """
    from cli.commands import listing

    raise typer.Exit(listing.fields(index_dir, as_json))


@app.command()
@show.guarded
def rm(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Items, as mmr ls or mmr search names them; - for names at standard input.", metavar="ID"),
    ] = None,
    index_dir: IndexDir = None,
    where: options.Where = None,
    inside: options.Inside = None,
    null: Annotated[bool, typer.Option("--null", "-0", help="Names at standard input end in a NUL each.")] = False,
    sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove items from the index. Their files stay, and `mmr index` leaves them out until they change.

    mmr search "a screenshot" -k 50 -0 | mmr rm -0 --yes
    `mmr index --readmit` takes them again.
    """
    from cli.commands import removing

    raise typer.Exit(removing.rm(index_dir, names or [], where, inside, sure, null))


@app.command()
@show.guarded
def dups(
    index_dir: IndexDir = None,
    threshold: Annotated[float, typer.Option(help="The least cosine of two near-duplicates.")] = 0.97,
    where: options.Where = None,
    inside: options.Inside = None,
    as_json: AsJson = False,
) -> None:
    """Show pictures that are nearly the same, in groups. The work grows with the square of the pictures.

    Each is as near to the first of its group as --threshold asks: its score is that cosine.

    mmr dups --threshold 0.9
    """
    from cli.commands import listing

    raise typer.Exit(listing.dups(index_dir, threshold, where, inside, as_json))


@app.command()
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


@app.command()
@show.guarded
def info(
    index_dir: IndexDir = None,
    as_json: AsJson = False,
    check: Annotated[
        bool, typer.Option("--check", help="Count what is new, changed or gone: reads all its folders.")
    ] = False,
    this_machine: Annotated[
        bool, typer.Option("--machine", help="In place of that: this processor, and how fast encoders are on it.")
    ] = False,
) -> None:
    """What an index holds: rows, encoder, segments, bytes.

    mmr info --index photos.mmr --check
    mmr info --machine
    """
    from cli.commands import machine, upkeep

    raise typer.Exit(machine.run(as_json) if this_machine else upkeep.info(index_dir, as_json, check))


@app.command()
@show.guarded
def verify(
    index_dir: IndexDir = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Encode pictures again whose vectors are damaged. Nothing is removed.")
    ] = False,
    model: Model = None,
    urls: Annotated[bool, typer.Option("--urls", help="For --repair, pictures may be fetched from the web.")] = False,
    device: Device = "auto",
) -> None:
    """Read the whole index and compare it with its checksums.

    mmr verify --index photos.mmr --repair
    """
    from cli.commands import upkeep

    raise typer.Exit(upkeep.repair(index_dir, model, device, urls) if repair else upkeep.verify(index_dir))


@app.command()
@show.guarded
def compact(index_dir: IndexDir = None) -> None:
    """Rewrite an index as one segment, without what was deleted. Those who read it meanwhile are not disturbed.

    mmr compact --index photos.mmr
    """
    from cli.commands import upkeep

    raise typer.Exit(upkeep.compact(index_dir))


@app.command()
@show.guarded
def snapshot(
    target: Annotated[Path, typer.Argument(help="The folder to make.", metavar="DIR")],
    index_dir: IndexDir = None,
) -> None:
    """Copy an index into a new folder, whole or not at all. Those who search it meanwhile are not disturbed.

    mmr snapshot /backup/monday.mmr
    The pictures are not copied: the copy finds them where they are. To bring it back, take a snapshot of the copy.
    """
    from cli.commands import upkeep

    raise typer.Exit(upkeep.copy(index_dir, target))


@app.command()
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


@app.command()
@show.guarded
def classify(
    pictures: Annotated[
        list[Path], typer.Argument(help="A picture or a clip, several, or folders of them.", metavar="PICTURE...")
    ],
    labels: Annotated[
        list[str],
        typer.Option(
            help='What it may be: "a dog,a cat,a car". A name with a comma stands in quotes: \'"red, white",blue\'; '
            "repeatable.",
            metavar="NAMES",
        ),
    ],
    template: Annotated[
        list[str] | None, typer.Option(help="A sentence with {} for the name; repeatable.", metavar="TEXT")
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Say which of some names fits a picture best, with no training (zero-shot). Of several pictures, a line each.

    mmr classify dog.jpg --labels "a dog,a cat,a car"
    """
    from cli.commands import predicting

    raise typer.Exit(predicting.classify(pictures, labels, template, model, as_json, device))


@app.command()
@show.guarded
def label(
    index_dir: Annotated[Path, typer.Argument(help="The index folder.", metavar="INDEX")],
    head: Annotated[
        Path | None, typer.Argument(help="A head folder, as `mmr head train` made it.", metavar="HEAD")
    ] = None,
    field: Annotated[str, typer.Option(help="Bare: predicted_COLUMN.", metavar="NAME")] = "",
    remove: Annotated[
        str | None, typer.Option(help="Take this label away, in place of writing one.", metavar="NAME")
    ] = None,
    model: heads.Moved = None,
    device: Device = "auto",
) -> None:
    """Write what a head says of every item into the index, as a label that --where understands as a field.

    An item keeps its labels until its picture changes. A label never has the name of a field of the source.

    mmr label photos.mmr heads/article; mmr search shoe --index photos.mmr --where "predicted_articleType == 'Heels'"

    mmr label photos.mmr --remove predicted_articleType
    """
    from cli.commands import classifying

    raise typer.Exit(classifying.label(index_dir, head, field, remove, model, device))


@app.command()
@show.guarded
def mcp(
    indexes: Annotated[
        list[Path] | None,
        typer.Argument(help="Indexes, in place of --index; the first is asked by default.", metavar="[INDEX]..."),
    ] = None,
    index_dir: IndexDir = None,
    allow: Annotated[
        list[Path] | None,
        typer.Option(
            help="Pictures below this folder may be shown too, as those beside the index are; repeatable.",
            metavar="FOLDER",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Let agents ask INDEX, through the Model Context Protocol over stdin and stdout: read-only, no network.

    A client starts it (how-to/agents.md); bare, it is about the .mmr of this folder or a parent.

    mmr mcp ~/Pictures/.mmr
    mmr mcp ~/Pictures/.mmr ~/Scans/.mmr
    """
    from cli.commands import agents

    agents.run(indexes or ([index_dir] if index_dir else ()), device, allow or ())


app.add_typer(configuring.configuration, name="config")
app.add_typer(heads.heads, name="head")
app.add_typer(sharding.shards, name="shards")
app.add_typer(exchange.importing, name="import")
app.add_typer(exchange.exporting, name="export")


def main() -> None:
    """The `mmr` of the command line."""
    streams.in_utf8()
    streams.make_ready()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # its exporter warns of packed lines, which it can do
    try:
        app()
        code: int | str | None = show.OK
    except SystemExit as left:
        code = left.code
    except KeyboardInterrupt:
        code = show.INTERRUPTED
    except OSError as error:  # of a help that cannot be written
        code = show.unwritten(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = show.unwritten(error, said=code == show.MACHINE)
    sys.exit(code)


if __name__ == "__main__":
    main()
