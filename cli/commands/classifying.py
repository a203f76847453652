"""What the commands of heads share; `mmr label` and `mmr head propagate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import show

if TYPE_CHECKING:
    from indexes import Store
    from retrieval.encoders.encoder import DualEncoder
    from retrieval.encoders.protocol import Encoder
    from retrieval.heads.head import Head
    from retrieval.heads.prepare import PreparedRows


def label(
    index: Path, folder: Path | None, field: str, remove: str | None, model: str | None, device: str
) -> int:  # fmt: skip
    """What a head says into a label of all; the exit code says whether any item had nothing to go by.

    remove: a label that is taken away, in place of that.
    """
    from indexes import Store
    from retrieval.errors import BadRequest
    from retrieval.heads import labeling

    if (folder is None) == (remove is None) or (remove is not None and field):
        raise BadRequest(f"say which head, or which label to take away: mmr label {index} HEAD, or --remove NAME")
    if remove is not None:
        return _remove(index, remove, model, device)
    assert folder is not None
    head, loaded = head_of(folder, model, device)
    with Store.open(index, write=True) as store, show.Meter("labelling", "items") as meter:
        written = labeling.label(store, head, loaded, field, meter)
        _settle(store, loaded, meter)
    return _told(index, *written, f"have nothing of {', '.join(head.dims)}")


def _remove(index: Path, name: str, model: str | None, device: str) -> int:
    from indexes import Store
    from retrieval.heads import labels
    from retrieval.indexing.catalog import Identity

    with Store.open(index, write=True) as store, show.Meter("labelling", "items") as meter:
        done = labels.remove(store, name)
        if store.derived.recorded:
            _settle(store, encoder_of(model or Identity.required(store).where(store.path), device), meter)
        elif store.needs_compaction():
            store.compact()
    show.out(f"{index}: {name} removed from {done} items")
    return show.OK


def propagate(index: Path, column: str, field: str, neighbors: int, model: str | None, device: str) -> int:
    """The column of some items into a field of all; the exit code says whether any was out of reach."""
    from indexes import Store
    from retrieval.heads import propagation
    from retrieval.indexing import adoption
    from retrieval.indexing.catalog import Identity

    with Store.open(index, write=True) as store, show.Meter("labelling", "items") as meter:
        loaded = encoder_of(model or Identity.required(store).where(store.path), device)
        adoption.remember_place(store, loaded)
        written = propagation.fill(store, column, field, neighbors, on_progress=meter)
        _settle(store, loaded, meter)
    return _told(index, *written, f"hang together with none that has a {column}")


def _settle(store: "Store", encoder: "Encoder", meter: show.Meter) -> None:
    """After every record was written anew: approximate search goes on, and what the old rows took is collected."""
    from retrieval.indexing import approximate

    approximate.keep(store, encoder, None, None, meter.say)
    if store.needs_compaction():
        store.compact()


def _told(index: Path, name: str, done: int, left: int, why: str) -> int:
    """Say how many items have the field now, and why others do not; the exit code."""
    show.out(f"{index}: {name} of {done} items")
    if left:
        show.note(f"{left} items {why}: left out")
    return show.SKIPPED if left else show.OK


# ---------------------------------------------------------------- shared with `mmr head`


def task_of(multilabel: bool, regression: bool) -> str:
    """The task that these options ask for, one of examples.TASKS."""
    from retrieval.errors import BadRequest

    if multilabel and regression:
        raise BadRequest("--multilabel and --regression are two kinds of label: give one of them")
    return "multiple" if multilabel else "number" if regression else "single"


def encoder_of(name: str, device: str) -> "DualEncoder":
    """Load the encoder of a name, in fast precision: heads never train it."""
    from retrieval.encoders import presets

    presets.require(name)
    from retrieval import load_encoder

    return load_encoder(name, device).to_fast_precision()


def head_of(folder: Path, model: str | None, device: str) -> tuple["Head", "DualEncoder"]:
    """Load a head, and the encoder it was fitted on, which is at `model` now. Raises MissingModel for a wrong one."""
    from retrieval.heads.head import load_head, remember_place

    head = load_head(folder)
    loaded = encoder_of(model or head.where(folder), device)
    head.require(loaded.fingerprint, model or head.encoder)
    if model:
        head = remember_place(folder, head, model)
    return head, loaded


def named(vectors: list[str] | None) -> dict[str, Path]:
    """The files of --vectors NAME=FILE, by name. Raises BadRequest for a text of another form."""
    from retrieval.errors import BadRequest

    pairs = [text.partition("=") for text in vectors or []]
    for name, equals, file in pairs:
        if not (name.isidentifier() and equals and file):
            raise BadRequest(f"--vectors {name}{equals}{file} is no NAME=FILE: write, say, --vectors audio=audio.npy")
    return {name: Path(file) for name, _, file in pairs}


def prepared(
    source: str, label: str, task: str, loaded: "DualEncoder", vectors: list[str] | None, learn: bool = False,
    inputs: str | Sequence[str] = "",
) -> "PreparedRows":  # fmt: skip
    """Labelled rows with their vectors; shows which were left out, and why."""
    from retrieval.heads.prepare import prepare

    with show.Meter("encoding", "items") as meter:
        made = prepare(source, label, task, loaded, named(vectors), meter, learn, inputs)
    remark(made)
    return made


def remark(prepared: "PreparedRows") -> None:
    """Print what a person should know of the rows: skipped inputs and remarks."""
    from retrieval.heads.prepare import remarks

    show.skipped(prepared.inputs.skipped)
    for line in remarks(prepared):
        show.note(line)


def code_of(prepared: "PreparedRows") -> int:
    """The exit code: SKIPPED where inputs were left out, else OK."""
    return show.SKIPPED if prepared.inputs.skipped else show.OK
