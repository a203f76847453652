"""`mmr head`: fit a head on an encoder's vectors, measure it, ask it, compare fusions."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cli import show
from cli.options import AsJson, Device

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
    force: Annotated[bool, typer.Option("--force", help="Replace the head that is in --out.")] = False,
    device: Device = "auto",
) -> None:
    """Fit a head on pictures, their texts, or both.

    mmr head train runs/mine "csv:products.csv?split=train" --label articleType --fusion attention --out heads/article
    """
    from retrieval.heads import fusions
    from retrieval.heads.config import HeadConfig
    from retrieval.heads.head import check_out
    from retrieval.heads.training import train_head

    config = HeadConfig(fusion=fusion, head=kind).settings(settings or [])
    named = [text.partition("=")[0] for text in vectors or []]
    fusions.check(config.fusion, ["image", "text", "words", "patches", *named])  # before a long encoding
    check_out(out, force)
    loaded = _encoder(encoder, device)
    prepared = _prepare(source, label, _task(multilabel, regression), loaded, vectors, True, config.inputs)
    with show.Meter("fitting", "epochs") as meter:
        head, score = train_head(prepared, loaded, config, meter)
    head.save(out, force)
    what = f"{len(head.names)} classes of {label}" if head.names else label
    sure = "" if score is None else f"; on rows held out: {_score(head.task, score)}"
    shown = config.fusion if config.head == "fusion" else f"{config.head} on {config.fusion}"
    show.out(f"{out}  {shown} of {', '.join(head.dims)}: {what}, {len(prepared)} rows{sure}")
    show.note(f"next: mmr head eval {out} SOURCE")
    raise typer.Exit(_code(prepared))


def _score(task: str, score: float) -> str:
    if task == "single":
        return f"accuracy {score:.1%}"
    return f"r2 {1 + score:.3f}" if task == "number" else f"cross-entropy {-score:.3f}"


@heads.command("eval")
@show.guarded
def evaluate(
    folder: HeadDir,
    source: Source,
    vectors: Vectors = None,
    confusion: Annotated[Path | None, typer.Option(help="Also draw the confusion matrix.", metavar="FILE.png")] = None,
    model: Moved = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Accuracy, macro-F1, each class, calibration; of numbers R2 and mean errors.

    A label that training never saw counts as wrong; rows without a label are left out.
    """
    from eval import confusion as matrix
    from eval.classification import evaluate_head

    head, loaded = _head(folder, model, device)
    prepared = _prepare(source, head.column, head.task, loaded, vectors, inputs=list(head.dims))
    report = evaluate_head(head, prepared)
    if confusion:
        matrix.save(report, confusion)
    show.out(report.to_json() if as_json else str(report))
    raise typer.Exit(_code(prepared))


@heads.command("predict")
@show.guarded
def predict(
    folder: HeadDir,
    picture: Annotated[Path | None, typer.Argument(help="A picture or a clip.")] = None,
    text: Annotated[str, typer.Option(help="What is said of it.")] = "",
    vectors: Vectors = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many classes.")] = 1,
    model: Moved = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Say what a picture, a text, or both are: the K most likely classes, or the number.

    mmr head predict heads/article shirt.jpg --text "Men Navy Blue Shirt" -k 3
    """
    from retrieval.heads.training import one_row

    head, loaded = _head(folder, model, device)
    for rank, (name, score) in enumerate(
        head.answers(one_row(picture, text, loaded, head.dims, _named(vectors)), k)[0], 1
    ):
        if head.task == "number":
            show.out(json.dumps({head.column: score}) if as_json else f"{score:g}")
        else:
            _answer(rank, name, score, as_json)


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
    from eval import fusion
    from retrieval.heads.config import HeadConfig

    config = HeadConfig().settings(settings or [])
    loaded = _encoder(encoder, device)
    task = _task(multilabel, regression)
    prepared = _prepare(source, label, task, loaded, vectors, True, config.inputs)
    held = _prepare(test, label, task, loaded, test_vectors, inputs=list(prepared.inputs.dims)) if test else None
    names = [name.strip() for name in fusions.split(",") if name.strip()]
    with show.Meter("fitting", "heads") as meter:
        result = fusion.compare(prepared, held, loaded, names, config, seeds,
                                lambda done, total, name: meter(done, total, f" {name}"))  # fmt: skip
    show.out(result.to_json() if as_json else str(result))
    raise typer.Exit(_code(prepared))


# ---------------------------------------------------------------- mmr classify, mmr label


def classify(
    picture: Path, labels: str, templates: list[str] | None, model: str | None, as_json: bool, device: str
) -> None:
    """Zero-shot: each name with its probability, best first."""
    from retrieval.errors import BadRequest
    from retrieval.heads import zero_shot
    from retrieval.heads.training import one_row
    from retrieval.presets import DEFAULT

    names = list(dict.fromkeys(name.strip() for name in labels.split(",") if name.strip()))
    if len(names) < 2:
        raise BadRequest('classify chooses between names: give two or more, as in --labels "a dog,a cat"')
    loaded = _encoder(model or DEFAULT, device)
    seen = one_row(picture, "", loaded, {"image": loaded.dim}).vectors["image"]
    words = zero_shot.class_vectors(loaded, names, templates or zero_shot.TEMPLATES)
    shares = zero_shot.classify(seen, words, float(loaded.log_logit_scale.detach().exp()))[0]
    for rank, place in enumerate((-shares).argsort(kind="stable"), 1):
        _answer(rank, names[place], float(shares[place]), as_json)


def label(index: Path, folder: Path, field: str, model: str | None, device: str) -> None:
    """Fields into an index; the exit code says whether any item had nothing to go by."""
    from indexes import Store
    from retrieval import approximate
    from retrieval.heads.labelling import label as write

    head, loaded = _head(folder, model, device)
    with Store.open(index, write=True) as store, show.Meter("labelling", "items") as meter:
        name, done, left = write(store, head, loaded, field, meter)
        approximate.keep(store, loaded, None, None, meter.say)
        if store.needs_compaction():
            store.compact()
    show.out(f"{index}: {name} of {done} items")
    if left:
        show.note(f"{left} items have nothing of {', '.join(head.dims)}: left out")
    raise typer.Exit(show.SKIPPED if left else show.OK)


def _answer(rank: int, name: str, share: float, as_json: bool) -> None:
    if as_json:
        show.out(json.dumps({"rank": rank, "label": name, "probability": round(share, 6)}))
    else:
        show.out(f"{rank:>4}  {share:6.1%}  {name}")


# ---------------------------------------------------------------- what they share


def _task(multilabel: bool, regression: bool) -> str:
    from retrieval.errors import BadRequest

    if multilabel and regression:
        raise BadRequest("--multilabel and --regression are two kinds of label: give one of them")
    return "multiple" if multilabel else "number" if regression else "single"


def _encoder(name: str, device: str):  # noqa: ANN202 - DualEncoder, imported late
    from retrieval import load_encoder

    return load_encoder(name, device).to_fast_precision()


def _head(folder: Path, model: str | None, device: str) -> tuple:
    from retrieval.heads.head import load_head

    head = load_head(folder)
    loaded = _encoder(model or head.encoder, device)
    head.require(loaded.fingerprint, model or head.encoder)
    return head, loaded


def _named(vectors: list[str] | None) -> dict[str, Path]:
    from retrieval.errors import BadRequest

    pairs = [text.partition("=") for text in vectors or []]
    for name, equals, file in pairs:
        if not (name.isidentifier() and equals and file):
            raise BadRequest(f"--vectors {name}{equals}{file} is no NAME=FILE: write, say, --vectors audio=audio.npy")
    return {name: Path(file) for name, _, file in pairs}


def _prepare(source: str, label: str, task: str, loaded, vectors: list[str] | None, learn: bool = False, inputs=""):  # noqa: ANN001, ANN202
    from retrieval.heads.training import prepare, remarks

    with show.Meter("encoding", "pictures") as meter:
        prepared = prepare(source, label, task, loaded, _named(vectors), meter, learn, inputs)
    show.skipped(prepared.inputs.skipped)
    for line in remarks(prepared):
        show.note(line)
    return prepared


def _code(prepared) -> int:  # noqa: ANN001
    return show.SKIPPED if prepared.inputs.skipped else show.OK
