"""The Typer app: which commands there are. torch is imported by those that need it."""

import os
import sys
from typing import Annotated

import typer

from cli import usage
from cli.commands import (
    answering,
    configuring,
    evaluations,
    exchange,
    heads,
    hearing,
    indexes,
    locating,
    searches,
    servers,
    sharding,
    trainings,
)
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


app.command()(trainings.demo)
app.command()(trainings.train)
app.command()(trainings.blend)
app.command(name="eval")(evaluations.evaluate)
app.command()(hearing.ears)
app.command()(indexes.index)
app.command()(indexes.watch)
app.command()(servers.serve)
app.command()(searches.search)
app.command()(locating.locate)
app.command()(indexes.ls)
app.command()(indexes.fields)
app.command()(indexes.rm)
app.command()(indexes.dups)
app.command()(searches.sample)
app.command()(indexes.info)
app.command()(indexes.verify)
app.command()(indexes.compact)
app.command()(indexes.snapshot)
app.command()(trainings.models)
app.command()(answering.classify)
app.command()(answering.label)
app.command()(servers.mcp)
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
