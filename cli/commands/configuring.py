"""`mmr config`: what was said once for every command, and where each value comes from."""

import json
from typing import Annotated

import typer

from cli import config
from cli.output import show
from retrieval.encoders.default import HOW

configuration = typer.Typer(help="What holds where an option is not given: the encoder, the index, the device.")

Name = Annotated[str, typer.Argument(help="model, index or device.", metavar="NAME")]
_FOUND = {"model": HOW, "index": "the .mmr of this folder, or of one above it"}  # where nothing is set


@configuration.callback(invoke_without_command=True)
@show.guarded
def _bare(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        _table(as_json=False)


@configuration.command("show")
@show.guarded
def display(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")] = False) -> None:
    """Each value, and where it comes from: a variable (MMR_MODEL, ...), the file, or built in. So does `mmr config`."""
    _table(as_json)


@configuration.command()
@show.guarded
def get(name: Name) -> None:
    """Print one value, which may be none."""
    show.out(config.value(name))


@configuration.command("set")
@show.guarded
def change(name: Name, value: Annotated[str, typer.Argument(help="A path is written whole.", metavar="VALUE")]) -> None:
    """Write a value into the file, for every command from now on.

    mmr config set model runs/mine
    mmr config set index ~/photos.mmr
    mmr config set device cpu
    """
    written = config.change(name, value)
    now = next(one for one in config.settings() if one.name == name)
    show.out(f"{name} = {written}  ({config.file()})")
    if now.origin.startswith("MMR_"):
        show.note(f"{now.origin} is set to {now.value} and goes before it: `unset {now.origin}`")


@configuration.command()
@show.guarded
def unset(name: Name) -> None:
    """Take a value out of the file."""
    config.forget(name)


@configuration.command()
@show.guarded
def path() -> None:
    """Print where the file is, or would be: $MMR_CONFIG, else the platform's folder for such files."""
    show.out(str(config.file()))


def _table(as_json: bool) -> None:
    for one in config.settings():
        if as_json:
            show.out(json.dumps({"name": one.name, "value": one.value or None, "from": one.origin}))
        else:
            show.out(f"{one.name:<7} {one.value or _FOUND[one.name]}  ({one.origin})")
