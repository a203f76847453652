"""`mmr classify` and `mmr head predict`: what a picture is, or what each of several is."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli import config
from cli.commands.classifying import encoder_of, head_of, named
from cli.output import plain, show

if TYPE_CHECKING:
    from retrieval.encoders.encoder import DualEncoder
    from retrieval.heads.inputs import Inputs


def classify(
    pictures: Sequence[Path], labels: Sequence[str], templates: list[str] | None, model: str | None, as_json: bool,
    device: str,
) -> int:  # fmt: skip
    """Zero-shot: of one picture each name with its probability, best first; of several, a line each. The exit code."""
    from retrieval.encoders import default, presets

    chosen = model or config.value("model") or default.choose(show.note)
    presets.require(chosen)  # no is said before torch is imported
    from retrieval.errors import BadRequest
    from retrieval.heads import zero_shot
    from retrieval.search import languages
    from retrieval.settings import listed
    from retrieval.sources.captions import whole

    names = list(dict.fromkeys(name for text in labels for name in listed(whole(text))))
    if len(names) < 2:
        raise BadRequest('classify chooses between names: give two or more, as in --labels "a dog,a cat"')
    loaded = encoder_of(chosen, device)
    languages.say_of(names, loaded, show.note)
    uris, seen = rows_of(pictures, loaded, {"image": loaded.dim})
    words = zero_shot.class_vectors(loaded, names, templates or zero_shot.TEMPLATES)
    shares = zero_shot.classify(seen.vectors["image"], words, float(loaded.log_logit_scale.detach().exp()))
    ranked = [[(names[place], float(row[place])) for place in (-row).argsort(kind="stable")] for row in shares]
    if is_one(pictures):
        for rank, (name, share) in enumerate(ranked[0], 1):
            answer(rank, name, share, as_json)
    else:
        for uri, answers in zip(uris, ranked, strict=True):
            answer_of(uri, answers, as_json, shown=1)
    return show.SKIPPED if seen.skipped else show.OK


def predict(
    folder: Path, pictures: Sequence[Path], text: str, vectors: list[str] | None, k: int, model: str | None,
    as_json: bool, device: str,
) -> int:  # fmt: skip
    """What a head says of a picture, a text or both, or of several pictures; the exit code."""
    from retrieval.errors import BadRequest
    from retrieval.heads.prepare import one_row

    several = bool(pictures) and not is_one(pictures)
    if several and (text or vectors):
        raise BadRequest("--text and --vectors are of one picture: give one, or leave them out")
    head, loaded = head_of(folder, model, device)
    if not several:
        seen = one_row(pictures[0] if pictures else None, text, loaded, head.dims, named(vectors))
        for rank, (name, score) in enumerate(head.answers(seen, k)[0], 1):
            if head.task == "number":
                show.out(json.dumps({head.column: score}) if as_json else f"{score:g}")
            else:
                answer(rank, name, score, as_json)
        return show.OK
    uris, seen = rows_of(pictures, loaded, head.dims)
    for uri, answers in zip(uris, head.answers(seen, k), strict=True):
        if head.task == "number":
            (_, score) = answers[0]
            show.out(json.dumps({"picture": uri, head.column: score}) if as_json else f"{plain.line(uri)}  {score:g}")
        else:
            answer_of(uri, answers, as_json, shown=k)
    return show.SKIPPED if seen.skipped else show.OK


def is_one(pictures: Sequence[Path]) -> bool:
    """Is it one picture that is asked about? Of several, and of a folder, each has one line."""
    return len(pictures) == 1 and not pictures[0].is_dir()


def rows_of(pictures: Sequence[Path], loaded: "DualEncoder", dims: dict[str, int]) -> tuple[list[str], "Inputs"]:
    """Pictures as rows, by their uris; shows which do not decode."""
    from retrieval.heads import prepare

    if is_one(pictures):
        return [str(pictures[0])], prepare.one_row(pictures[0], "", loaded, dims)
    with show.Meter("encoding", "items") as meter:
        uris, seen = prepare.picture_rows(pictures, loaded, dims, meter)
    show.skipped(seen.skipped)
    return uris, seen


def answer(rank: int, name: str, share: float, as_json: bool) -> None:
    """Print one class and how likely it is, as JSON or as a line."""
    if as_json:
        show.out(json.dumps({"rank": rank, "label": name, "probability": round(share, 6)}))
    else:
        show.out(f"{rank:>4}  {share:6.1%}  {plain.line(name)}")


def answer_of(uri: str, answers: Sequence[tuple[str, float]], as_json: bool, shown: int) -> None:
    """Print what one of several pictures is, best first: all of it as JSON, the first few on a line."""
    if as_json:
        told = [{"label": name, "probability": round(share, 6)} for name, share in answers]
        show.out(json.dumps({"picture": uri, "answers": told}))
    else:
        names = "  ".join(f"{share:6.1%}  {plain.line(name)}" for name, share in answers[:shown])
        show.out(f"{plain.line(uri)}  {names}")
