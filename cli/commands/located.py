"""`mmr locate`: where words are in a picture, which of them mattered, and what is in a region of it."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cli import config
from cli.output import plain, show
from indexes import NotAnIndex
from indexes.sharded.opening import open_reader
from retrieval.errors import BadRequest, ImageError, NoCaptions
from retrieval.images import kinds
from retrieval.images.regions import Region

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from retrieval.encoders.encoder import DualEncoder
    from retrieval.search.heat import Box, Heat
    from retrieval.search.leaving_out import Word
    from retrieval.search.query import Part

_ADDRESS = re.compile(r"(https?):/+(.*)", re.IGNORECASE | re.DOTALL)  # as a path it has one slash left
_DIGITS = 4  # of a cosine
_UNLIKELY = 0.9  # of a confidence (docs/log.md)


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """What is asked, as the options of `mmr locate` say."""

    picture: Path
    query: Sequence[str] = ()
    box: str | None = None
    words: bool = False
    k: int = 5
    out: Path | None = None
    force: bool = False
    as_json: bool = False
    index_dir: Path | None = None
    model: str | None = None
    device: str = "auto"


def run(asked: Located) -> int:
    """Look and show; the exit code."""
    _check(asked)
    if asked.box is not None:
        return _captions(asked)
    from retrieval.search import query

    if not any(word.strip() for word in asked.query):
        named = shlex.quote(str(asked.picture)) if asked.picture.suffix else "photo.jpg"  # it may be the words alone
        raise BadRequest(
            f'say in which picture to look and what for, as in mmr locate {named} "a dog", or ask what a region '
            "shows with --box 10%,20%,50%,50%"
        )
    parts = query.parse(asked.query)
    if address := next((part.text for part in parts if part.kind == "url"), None):
        raise _not_fetched(address)
    text = _only_words(parts) if asked.words else ""
    if asked.out:
        from cli.output import heat

        heat.check(asked.out, "--out", asked.force)
    return _where(asked, parts, text)


def _check(asked: Located) -> None:
    """Raise BadRequest for a picture that is none by its name, NotAnIndex for an index that is not where it is said."""
    from retrieval.search.heat import require_seen

    if address := _ADDRESS.match(str(asked.picture)):
        raise _not_fetched(f"{address[1]}://{address[2]}")
    require_seen(kinds.kind(asked.picture), str(asked.picture))
    if asked.index_dir:
        open_reader(asked.index_dir, None).close()


def _not_fetched(address: str) -> BadRequest:
    return BadRequest(f"{address} is an address, and mmr locate fetches none: save the picture, and give its file")


def _only_words(parts: "Sequence[Part]") -> str:
    """The words of a query of words alone."""
    from retrieval.search import leaving_out

    if len(parts) != 1 or parts[0].kind != "words":
        raise BadRequest("--words is of words alone: leave out pictures, items, + and -, or leave out --words")
    if not leaving_out.without_each(parts[0].text):
        raise BadRequest(
            f"of the one word {plain.line(parts[0].text)} none can be left out: ask with several, or leave out --words"
        )
    return parts[0].text


# ---------------------------------------------------------------- where


def _where(asked: Located, parts: "Sequence[Part]", text: str) -> int:
    image, encoder = _image(asked.picture), _encoder(asked)
    from retrieval.search import heat as maps
    from retrieval.search import languages, leaving_out, query

    languages.say_of([part.text for part in parts if part.kind == "words"], encoder, show.note)
    seen = maps.Places.of(image, encoder)
    (vector,) = query.encode([parts], encoder, lambda uri: _item(asked, encoder, uri))
    heat = seen.heat(vector)
    boxes = heat.boxes(most=asked.k)
    sure = maps.confidence(seen, heat, encoder) if all(part.kind == "words" for part in parts) else None
    words = leaving_out.words(text, encoder, encoder.encode_images([image])[0]) if text else []
    _tell(asked, heat, boxes, sure, words)
    if asked.out:
        from cli.output import heat as png

        png.write(asked.out, image, heat, boxes)
        show.note(f"map: {asked.out}")
    return show.OK if boxes else show.NONE


def _tell(asked: Located, heat: "Heat", boxes: "list[Box]", sure: float | None, words: "list[Word]") -> None:
    if asked.as_json:
        show.out(json.dumps(_json(asked, heat, boxes, sure, words)))
        return
    for rank, box in enumerate(boxes, 1):
        show.out(f"{rank:>4}  {box.score:.3f}  {box.left},{box.top},{box.width},{box.height}")
    for word in words:
        show.out(f"      {word.matters:+.3f}  {plain.line(word.text)}")
    if not boxes:
        show.note("all places are equally near to it")
    elif sure is not None and sure < _UNLIKELY:
        show.note(
            f"it may not be there: of other things that people look for, {1 - sure:.0%} have a place as near "
            f"(confidence {sure:.2f})"
        )


def _json(
    asked: Located, heat: "Heat", boxes: "list[Box]", sure: float | None, words: "list[Word]"
) -> dict[str, Any]:  # fmt: skip
    from retrieval.search.heat import as_json

    said = {"picture": str(asked.picture), "query": list(asked.query)} | as_json(heat, boxes)
    said |= {"confidence": None if sure is None else round(sure, _DIGITS)}
    told = [{"word": word.text, "matters": round(word.matters, _DIGITS)} for word in words]
    return said | ({"words": told} if asked.words else {})


def _image(path: Path, at_least: int | None = None) -> "Image.Image":
    """A picture as it is upright, or the middle of a clip. Raises BadRequest."""
    from retrieval.images import load

    try:
        return load.look(path, 1, at_least)[0]
    except ImageError as error:
        raise BadRequest(f"{path}: {error}: give another picture") from error


# ---------------------------------------------------------------- who is asked


def _encoder(asked: Located) -> "DualEncoder":
    """The encoder itself, with its weights: what is exported for queries knows no places."""
    from cli.commands.classifying import encoder_of
    from retrieval.search.heat import require_places

    encoder = encoder_of(asked.model or _of_index(asked) or _chosen(), asked.device)
    require_places(encoder)
    return encoder


def _place(asked: Located) -> Path | None:
    """The index that is named, or the one of this folder; None where there is none."""
    from retrieval import find_index

    try:
        return asked.index_dir or find_index()
    except NotAnIndex:
        return None


def _of_index(asked: Located) -> str | None:
    from retrieval.indexing.catalog import Identity

    if (place := _place(asked)) is None:
        return None
    with open_reader(place, None) as store:
        return Identity.required(store).where(store.path)


def _chosen() -> str:
    from retrieval.encoders import default

    return config.value("model") or default.choose(show.note)


def _item(asked: Located, encoder: "DualEncoder", uri: str) -> "np.ndarray":
    """The vector of an item of the index."""
    from retrieval import Retriever
    from retrieval.indexing import stored

    if (place := _place(asked)) is None:
        raise BadRequest(f"id:{uri} is an item of an index: name the index with --index DIR")
    with Retriever.open(place, encoder) as retriever:
        return stored.vector_of(retriever.store, uri)


# ---------------------------------------------------------------- what is in a region


def _captions(asked: Located) -> int:
    """The captions of the index that are nearest to a region, or else words of the bank of prompts."""
    if asked.query:
        raise BadRequest("--box asks what a region shows, words ask where something is: give one of them")
    if asked.words or asked.out:
        raise BadRequest(
            "--box tells what a region shows, without words to leave out and without a map: leave out --words and --out"
        )
    assert asked.box is not None, "asked so"
    region = Region.parse(asked.box, "--box")
    image = _image(asked.picture)
    left, top, right, bottom = region.box(*image.size)
    texts = _told(asked, region, image.crop((left, top, right, bottom)))
    if asked.as_json:
        box = {"left": left, "top": top, "width": right - left, "height": bottom - top}
        found = [{"text": text, "score": round(score, _DIGITS)} for text, score in texts.found]
        show.out(json.dumps({"picture": str(asked.picture), "box": box, "from": texts.source, "texts": found}))
        return show.OK
    if texts.source == "prompts":
        show.note(f"{texts.why}: these are things that people look for")
    for rank, (text, score) in enumerate(texts.found, 1):
        show.out(f"{rank:>4}  {score:.3f}  {plain.line(text)}")
    return show.OK


class _Texts(NamedTuple):
    """Texts with their scores, the best first. why: they are no captions."""

    found: list[tuple[str, float]]
    source: str
    why: str = ""


def _told(asked: Located, region: Region, shown: "Image.Image") -> _Texts:
    """By the captions of the index, where it has some and is of the encoder that is asked; else by the bank."""
    from cli.commands.classifying import encoder_of

    encoder = encoder_of(asked.model, asked.device) if asked.model else None
    place, why = _place(asked), "no captions are indexed here"
    if place and encoder and not _is_of(place, encoder):
        why = f"{asked.model} is not the encoder of {place}, whose captions are left aside"
    elif place and (captions := _of_captions(asked, place, encoder, region)):
        return _Texts(captions, "captions")
    found = _of_bank(encoder or encoder_of(_of_index(asked) or _chosen(), asked.device), shown, asked.k)
    return _Texts(found, "prompts", why)


def _is_of(place: Path, encoder: "DualEncoder") -> bool:
    from retrieval.indexing.catalog import Identity

    with open_reader(place, None) as store:
        return Identity.required(store).is_of(encoder)


def _of_captions(
    asked: Located, place: Path, encoder: "DualEncoder | None", region: Region
) -> list[tuple[str, float]]:  # fmt: skip
    """By the encoder of the index; none where no item has a caption."""
    from retrieval import Retriever
    from retrieval.search.answers import Asked

    with Retriever.open(place, encoder, device=asked.device) as retriever:
        if "picture" not in retriever.encoder.preprocess.kinds:
            raise BadRequest(
                f"{place} is an index of sounds, and a region is seen: name one of pictures, as --index photos.mmr, or "
                "another encoder, as --model builtin"
            )
        try:
            hits = retriever.captions([str(asked.picture.absolute())], Asked(k=asked.k, crop=region))
        except NoCaptions:
            return []
    return [(hit.caption or "", hit.score) for hit in hits]


def _of_bank(encoder: "DualEncoder", shown: "Image.Image", k: int) -> list[tuple[str, float]]:
    from retrieval.encoders import prompts

    bank = prompts.things()
    scores = encoder.encode_texts(bank) @ encoder.encode_images([shown])[0]
    return [(bank[place], float(scores[place])) for place in (-scores).argsort(kind="stable")[:k]]
