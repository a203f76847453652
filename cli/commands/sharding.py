"""`mmr shards`: an index split into several that are searched as one, and what becomes of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import AsJson, Device
from cli.output import show

if TYPE_CHECKING:
    from indexes import Store
    from indexes.sharded.manifest import Part
    from retrieval.encoders.protocol import Encoder

shards = typer.Typer(no_args_is_help=True, help="Search several indexes as one: past one file, past one machine.")

Folder = Annotated[Path, typer.Argument(help="The folder of the shards.", metavar="FOLDER")]


@shards.command("split")
@show.guarded
def split(
    index: Annotated[Path, typer.Argument(help="The index folder. It stays as it is.", metavar="INDEX")],
    into: Annotated[int, typer.Option("--into", help="How many shards.", metavar="N")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Their folder; bare: INDEX.shards beside it.", metavar="FOLDER")
    ] = None,
    device: Device = "auto",
) -> None:
    """Make N indexes of an index, which are searched as one; by meaning they answer as it does.

    mmr shards split photos.mmr --into 4; mmr search "a dog" --index photos.mmr.shards
    Split again when the index has changed: what is searched changes in one step, and those who search go on.
    """
    from cli.output import target
    from retrieval import Retriever
    from retrieval.cluster import splitting

    place = out or index.absolute().with_name(index.absolute().name + splitting.SUFFIX)
    target.check_place(place, "--out")

    def encoder(store: "Store") -> "Encoder":
        with Retriever.open(store.path, device=device) as retriever:
            return retriever.encoder

    with show.Meter("splitting", "rows") as meter:
        made = splitting.split(index, into, place, splitting.Said(encoder, meter, meter.say))
    show.out(f"{place}: {len(made)} rows in {len(made.shards)} shards; search them with --index {place}")


@shards.command("join")
@show.guarded
def join(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="FOLDER")],
    indexes: Annotated[
        list[Path], typer.Argument(help="Their folders, which stay where they are.", metavar="INDEX...")
    ],
) -> None:
    """Search indexes as one that are there already, each of its part of the pictures, all by one encoder.

    mmr shards join photos.shards first.mmr second.mmr; mmr search "a dog" --index photos.shards
    """
    from cli.output import target
    from retrieval.cluster import joining

    target.check_place(folder, "FOLDER")
    made = joining.join(folder, indexes)
    show.out(f"{folder}: {len(made)} rows in {len(made.shards)} shards; search them with --index {folder}")


@shards.command("pin")
@show.guarded
def pin(folder: Folder) -> None:
    """Take over the shards as they are now, after one of them was indexed again.

    mmr index --index photos.shards/first.mmr; mmr shards pin photos.shards
    """
    from retrieval.cluster import joining

    made = joining.pin(folder)
    show.out(f"{folder}: {len(made)} rows in {len(made.shards)} shards")


@shards.command("show")
@show.guarded
def list_(folder: Folder, as_json: AsJson = False) -> None:
    """List the shards, and what is wrong with one: it is missing, of another encoder, or was changed.

    mmr shards show photos.mmr.shards
    """
    from retrieval.cluster import joining

    found = joining.look(folder)
    for part, problem in found:
        show.out(_line(folder, part, problem, as_json))
    raise typer.Exit(show.MISSING if any(problem for _, problem in found) else show.OK)


def _line(folder: Path, part: "Part", problem: str, as_json: bool) -> str:
    said = {"shard": str(folder / part.folder), "rows": part.rows, "first": part.first, "commit": part.generation}
    if as_json:
        return json.dumps(said | ({"problem": problem} if problem else {}))
    return f"{said['shard']}  {part.rows:,} rows from {part.first:,}  {problem or f'commit {part.generation}'}"
