"""The words of `mmr locate`."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.options import AsJson, Device, IndexDir, Model
from cli.output import show


@show.guarded
def locate(
    picture: Annotated[Path, typer.Argument(help="A picture; of a clip its middle.", metavar="PICTURE")],
    query: options.Query = None,
    box: Annotated[
        str | None,
        typer.Option(
            help="What is in this region? Left, top, width, height in pixels, or in percent with a %.",
            metavar="X,Y,W,H",
        ),
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Also which word of QUERY mattered, by leaving each out.")
    ] = False,
    k: Annotated[int, typer.Option("-k", min=1, help="How many boxes, or texts of --box.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Write the map over the picture, with the boxes.", metavar="FILE.png")
    ] = None,
    force: options.Force = False,
    as_json: AsJson = False,
    index_dir: IndexDir = None,
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Where in PICTURE is QUERY? A map of its places, and boxes in pixels, the best first.

    It is asked with --model, else with the encoder of the index, else as `mmr index` would choose.

    mmr locate beach.jpg "a red ball" --out map.png
    mmr locate beach.jpg "a red ball" --words --json
    mmr locate beach.jpg --box 120,80,200,150
    """
    from cli.commands import located

    raise typer.Exit(
        located.run(
            located.Located(
                picture=picture, query=query or (), box=box, words=words, k=k, out=out, force=force, as_json=as_json,
                index_dir=index_dir, model=model, device=device,
            )
        )
    )  # fmt: skip
