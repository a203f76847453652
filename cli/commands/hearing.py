"""`mmr ears`: an encoder that sees pictures learns to hear, by a map in closed form."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Device, IndexDir, Model
from cli.output import show, target

if TYPE_CHECKING:
    import numpy as np


@show.guarded
def ears(
    source: Annotated[str, typer.Argument(help="Sounds with captions, or clips, whose pictures count.")],
    hear: Annotated[str, typer.Option(help="The run that hears, of mmr train.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="The folder to make.", metavar="RUN")],
    model: Model = None,
    index: IndexDir = None,
    device: Device = "auto",
) -> None:
    """An encoder that sees pictures hears too: a map from a run that hears into its space, in closed form.

    mmr ears sounds.csv --hear runs/sounds --index photos/.mmr --out runs/both, then mmr index sounds --model runs/both.
    With --index sounds stand among its pictures; with --model NAME the encoder is named without an index.
    """
    raise typer.Exit(_run(source, hear, out, model, index, device))


def _run(source: str, hear: str, out: Path, model: str | None, index: Path | None, device: str) -> int:
    from retrieval import load_encoder, open_pairs
    from retrieval.encoders.blend import require_new
    from retrieval.training.hearing import with_ears

    target.check_place(out, "--out")
    require_new(out)
    pairs = open_pairs(source, show.note, bare=True)
    name, among = _of_index(index, model)
    eyes, listening = load_encoder(name, device), load_encoder(hear, device)
    with show.Meter("listening", "sounds") as meter:
        encoder = with_ears(eyes, listening, pairs, among, meter)
    encoder.save(out)
    show.out(f"{out}  encoder {encoder.fingerprint}, {name} with the ears of {hear}")
    show.note(f"next: mmr index FOLDER{f' --index {index}' if index else ''} --model {out}")
    return show.OK


def _of_index(index: Path | None, model: str | None) -> "tuple[str, np.ndarray | None]":
    """The encoder that is meant, and vectors of its index. Raises BadRequest."""
    from indexes import Store
    from retrieval.errors import BadRequest
    from retrieval.indexing.catalog import Identity
    from retrieval.indexing.stored import some_of

    if index is None:
        if model is None:
            raise BadRequest(
                "which encoder that sees is to hear as well? add --index of its pictures, or --model builtin"
            )
        return model, None
    with Store.open(index) as store:
        return model or Identity.required(store).where(store.path), some_of(store)
