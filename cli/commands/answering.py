"""The words of `mmr classify` and `mmr label`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.heads import Moved
from cli.options import AsJson, Device, Model
from cli.output import show


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
    model: Moved = None,
    device: Device = "auto",
) -> None:
    """Write what a head says of every item into the index, as a label that --where understands as a field.

    An item keeps its labels until its picture changes. A label never has the name of a field of the source.

    mmr label photos.mmr heads/article; mmr search shoe --index photos.mmr --where "predicted_articleType == 'Heels'"

    mmr label photos.mmr --remove predicted_articleType
    """
    from cli.commands import classifying

    raise typer.Exit(classifying.label(index_dir, head, field, remove, model, device))
