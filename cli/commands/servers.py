"""The words of what answers others: `mmr serve` and `mmr mcp`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Device, IndexDir, Ray
from cli.output import show


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
