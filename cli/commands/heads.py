"""`mmr head`: fit a head on an encoder's vectors, measure it, ask it, compare fusions."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands import classifying
from cli.options import AsJson, Device, Force, HeadSettings
from cli.output import show, target

heads = typer.Typer(no_args_is_help=True, help="Classify what is seen and said together, on the vectors of an encoder.")

Encoder = Annotated[str, typer.Argument(help="A run folder, a preset, or open_clip:NAME/TAG-or-FILE.")]
Source = Annotated[str, typer.Argument(help="Rows with a label: csv:FILE?split=train, jsonl:FILE, ...")]
HeadDir = Annotated[Path, typer.Argument(help="A head folder, as `mmr head train` made it.", metavar="HEAD")]
Label = Annotated[str, typer.Option(help="The column that holds the answer.", metavar="COLUMN")]
Multilabel = Annotated[bool, typer.Option("--multilabel", help="A row has several labels: a|b|c.")]
Regression = Annotated[bool, typer.Option("--regression", help="The label is a number.")]
Vectors = Annotated[
    list[str] | None,
    typer.Option(help="A modality of your own: a .npy with a row for each row of SOURCE; repeatable.",
                 metavar="NAME=FILE"),
]  # fmt: skip
Settings = Annotated[list[str] | None, typer.Option("--set", help="field=value, any field of HeadConfig; repeatable.")]
Moved = Annotated[str | None, typer.Option("--model", "-m", help="Where the head's encoder is now, if it was moved.")]


@heads.command("train")
@show.guarded
def train(
    encoder: Encoder,
    source: Source,
    label: Label,
    out: Annotated[Path, typer.Option(help="The head folder to make.", metavar="HEAD")],
    fusion: Annotated[str, typer.Option(help="image, text, concat, attention, ...: see mmr head compare.")] = "concat",
    kind: Annotated[
        str, typer.Option("--head", help="On one vector: zero_shot, knn, ridge, logistic, prototypes, tip, tip_f, ...")
    ] = "fusion",
    multilabel: Multilabel = False,
    regression: Regression = False,
    vectors: Vectors = None,
    settings: Settings = None,
    show_settings: HeadSettings = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the head that is in --out.")] = False,
    device: Device = "auto",
) -> None:
    """Fit a head on pictures, their texts, or both. Several labels share one body, a head each: --label a,b.

    mmr head train runs/mine "csv:products.csv?split=train" --label articleType --fusion attention --out heads/article
    """
    from retrieval.encoders import presets

    presets.require(encoder)
    from cli.commands import fitting

    config = fitting.configured(fusion, kind, label, vectors, settings)
    task = classifying.task_of(multilabel, regression)
    raise typer.Exit(fitting.run(encoder, source, label, out, config, task, vectors, force, device))


@heads.command("eval")
@show.guarded
def evaluate(
    folder: HeadDir,
    source: Source,
    vectors: Vectors = None,
    confusion: Annotated[Path | None, typer.Option(help="Also draw the confusion matrix.", metavar="FILE.png")] = None,
    force: Force = False,
    model: Moved = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Accuracy, macro-F1, each class, calibration; of numbers R2 and mean errors.

    A label that training never saw counts as wrong; rows without a label are left out.

    mmr head eval heads/article "csv:products.csv?split=test" --confusion matrix.png
    """
    from eval import confusion as matrix
    from eval.classification import evaluate_head

    if confusion:
        matrix.require(confusion)
        target.check(confusion, "--confusion", force)
    head, loaded = classifying.head_of(folder, model, device)
    if confusion:
        matrix.require_classes(head.task)
    prepared = classifying.prepared(source, head.column, head.task, loaded, vectors, inputs=list(head.dims))
    report = evaluate_head(head, prepared)
    if confusion:
        matrix.save(report, confusion, target.MARK)
        if names := matrix.unwritten(report):
            told = ", ".join(f"{number} is {name}" for number, name in names.items())
            show.note(f"{confusion}: no font here can write some names: {told}; install, say, Noto Sans CJK SC")
    show.out(report.to_json() if as_json else str(report))
    raise typer.Exit(classifying.code_of(prepared))


@heads.command("predict")
@show.guarded
def predict(
    folder: HeadDir,
    pictures: Annotated[
        list[Path] | None, typer.Argument(help="A picture or a clip, several, or folders of them.", metavar="PICTURE")
    ] = None,
    text: Annotated[str, typer.Option(help="What is said of it.")] = "",
    vectors: Vectors = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many classes.")] = 1,
    model: Moved = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Say what a picture, a text, or both are: the K most likely classes, or the number. Of several, a line each.

    mmr head predict heads/article shirt.jpg --text "Men Navy Blue Shirt" -k 3
    """
    from cli.commands import predicting

    raise typer.Exit(predicting.predict(folder, pictures or [], text, vectors, k, model, as_json, device))


@heads.command("propagate")
@show.guarded
def propagate(
    index_dir: Annotated[Path, typer.Argument(help="The index folder.", metavar="INDEX")],
    column: Annotated[str, typer.Argument(help="The column that some items have a label in.")],
    field: Annotated[str, typer.Option(help="Bare: predicted_COLUMN.", metavar="NAME")] = "",
    neighbors: Annotated[int, typer.Option(min=1, help="Items that a label reaches at a time.")] = 10,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Where the index's encoder is now, if it was moved.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Label all of an index by the few items that have a label, without a head: labels reach what is like them.

    mmr head propagate photos.mmr event; mmr search cake --index photos.mmr --where "predicted_event == 'wedding'"
    """
    raise typer.Exit(classifying.propagate(index_dir, column, field, neighbors, model, device))


@heads.command("compare")
@show.guarded
def compare(
    encoder: Encoder,
    source: Source,
    label: Label,
    test: Annotated[
        str | None, typer.Option(help="Rows to measure on; else a share is held out, another one each seed.",
                                 metavar="SOURCE"),
    ] = None,
    fusions: Annotated[
        str, typer.Option("--fusions", help="Some of them: image,text,concat. Bare: all.", metavar="NAMES")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="How often each is fitted.")] = 3,
    multilabel: Multilabel = False,
    regression: Regression = False,
    vectors: Vectors = None,
    test_vectors: Annotated[
        list[str] | None, typer.Option(help="As --vectors, of the rows of --test.", metavar="NAME=FILE")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Every fusion beside each modality alone: one table, with seeds and confidence intervals.

    mmr head compare runs/mine "csv:products.csv?split=train" --test "csv:products.csv?split=test" --label usage
    """
    from retrieval.encoders import presets

    presets.require(encoder)
    from cli.commands import fitting
    from eval import fusion as comparison
    from retrieval.heads.config import HeadConfig

    config = HeadConfig().settings(settings or [])
    names = [name.strip() for name in fusions.split(",") if name.strip()]
    fitting.check(names or ["concat"], vectors, config)
    loaded = classifying.encoder_of(encoder, device)
    task = classifying.task_of(multilabel, regression)
    prepared = classifying.prepared(source, label, task, loaded, vectors, True, config.inputs)
    held = (
        classifying.prepared(test, label, task, loaded, test_vectors, inputs=list(prepared.inputs.dims))
        if test
        else None
    )
    with show.Meter("fitting", "heads") as meter:
        result = comparison.compare(prepared, held, loaded, names, config, seeds,
                                lambda done, total, name: meter(done, total, f" {name}"))  # fmt: skip
    show.out(result.to_json() if as_json else str(result))
    raise typer.Exit(max(map(classifying.code_of, [prepared, held] if held else [prepared])))
