"""`mmr head train`: one head, or one for each of several labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.commands import classifying
from cli.output import show, target

if TYPE_CHECKING:
    from retrieval.heads.config import HeadConfig
    from retrieval.heads.head import Head


def configured(
    fusion: str, kind: str, label: str, vectors: list[str] | None, settings: list[str] | None
) -> "HeadConfig":
    """The HeadConfig, with everything in it that can be wrong found before a long encoding."""
    from retrieval.heads import several
    from retrieval.heads.config import HeadConfig

    config = HeadConfig(fusion=fusion, head=kind).settings(settings or [])
    check([fusion], vectors, config)
    if len(columns := several.columns_of(label)) > 1:
        several.check(config, columns)
    return config


def check(names: Sequence[str], vectors: list[str] | None, config: "HeadConfig") -> None:
    """Raise BadRequest for a fusion that is not known, and for concepts that cannot be read or are not asked for."""
    from retrieval.errors import BadRequest
    from retrieval.heads import fusions
    from retrieval.heads.fusions import concepts

    own = [text.partition("=")[0] for text in vectors or []]
    for name in names:
        fusions.check(name, ["image", "text", "words", "patches", "sound", *own])
    if config.concepts:
        if list(names) != ["graph"]:
            raise BadRequest("--set concepts= is for --fusion graph: use that, or leave it out")
        concepts.read(Path(config.concepts))


def run(
    encoder: str, source: str, label: str, out: Path, config: "HeadConfig", task: str, vectors: list[str] | None,
    force: bool, device: str,
) -> int:  # fmt: skip
    """Fit, save, and show what was made and how good it is; the exit code."""
    from retrieval.heads import several

    target.check_place(out, "--out")
    columns = several.columns_of(label)
    if len(columns) > 1:
        return _several(encoder, source, columns, out, config, task, vectors, force, device)
    (label,) = columns
    from retrieval.heads.head import check_out
    from retrieval.heads.prepare import train_head

    check_out(out, force)
    loaded = classifying.encoder_of(encoder, device)
    prepared = classifying.prepared(source, label, task, loaded, vectors, True, config.inputs)
    with show.Meter("fitting", "epochs") as meter:
        head, score = train_head(prepared, loaded, config, meter)
    head.save(out, force)
    _say(out, head, score, len(prepared))
    show.note(f"next: mmr head eval {out} SOURCE")
    return classifying.code_of(prepared)


def _several(
    encoder: str, source: str, columns: list[str], out: Path, config: "HeadConfig", task: str,
    vectors: list[str] | None, force: bool, device: str,
) -> int:  # fmt: skip
    """A head for each label, in a folder of its name below `out`."""
    from retrieval.errors import BadRequest
    from retrieval.heads.head import check_out
    from retrieval.heads.several import prepare_several, train_several

    if task != "single":
        raise BadRequest("several labels are names of classes: leave out --multilabel and --regression")
    for column in columns:
        check_out(out / column, force)
    loaded = classifying.encoder_of(encoder, device)
    with show.Meter("encoding", "items") as meter:
        several = prepare_several(source, columns, loaded, classifying.named(vectors), meter, config.inputs)
    classifying.remark(several.prepared)
    with show.Meter("fitting", "epochs") as meter:
        heads = train_several(several, loaded, config, meter)
    for head, score in heads:
        head.save(out / head.column, force)
        known = sum(label is not None for label in several.labels[head.column])
        _say(out / head.column, head, score, known)
    show.note(f"next: mmr head eval {out / columns[0]} SOURCE")
    return classifying.code_of(several.prepared)


def _say(out: Path, head: "Head", score: float | None, rows: int) -> None:
    config = head.config
    what = f"{len(head.names)} classes of {head.column}" if head.names else head.column
    sure = "" if score is None else f"; on rows held out: {_score(head.task, score)}"
    shown = config.fusion if config.head == "fusion" else f"{config.head} on {config.fusion}"
    show.out(f"{out}  {shown} of {', '.join(head.dims)}: {what}, {rows} rows{sure}")


def _score(task: str, score: float) -> str:
    if task == "single":
        return f"accuracy {score:.1%}"
    return f"r2 {1 + score:.3f}" if task == "number" else f"cross-entropy {-score:.3f}"
