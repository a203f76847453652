"""The words of what makes an index, shows it and looks after it: `mmr index`, `ls`, `info`, `verify`, ..."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options, usage
from cli.options import AsJson, Device, Engine, IndexDir, Model, Ocr, Ray
from cli.output import show


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


@show.guarded
def fields(index_dir: IndexDir = None, as_json: AsJson = False) -> None:
    """List the fields that --where may ask for: how many items have each, its types, some of its values.

    mmr fields --index photos.mmr
    """
    from cli.commands import listing

    raise typer.Exit(listing.fields(index_dir, as_json))


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


@show.guarded
def compact(index_dir: IndexDir = None) -> None:
    """Rewrite an index as one segment, without what was deleted. Those who read it meanwhile are not disturbed.

    mmr compact --index photos.mmr
    """
    from cli.commands import upkeep

    raise typer.Exit(upkeep.compact(index_dir))


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
