"""Which way a run learns where no recipe is named: `bridge` or `from_scratch`, and of sounds `sound`.

Heads between the pretrained towers that come with the installation found more than a run from scratch on six thousand
photos and on two thousand products, in minutes rather than half an hour, and on drawn scenes as much as one that saw
sixteen times as many (docs/log.md); few sources were compared. So they are taken wherever they can be: not where the
settings ask for another encoder, a package of theirs is gone, or the text tower does not read the captions.
"""

from collections.abc import Sequence
from typing import NamedTuple

from retrieval.datatypes import Pair
from retrieval.encoders import bridging, builtin
from retrieval.encoders.config import HEARING, parts_of, split
from retrieval.errors import BadRequest, MissingModel
from retrieval.packages import PACKAGES
from retrieval.training import fitness

BRIDGE, FROM_SCRATCH, SOUND = "bridge", "from_scratch", "sound"
_OF_BRIDGE = {"closed_form", "prior"}
_OF_FROM_SCRATCH = {
    "image_size", "image_width", "image_layers", "image_patch", "image_channels", "image_activation", "pretrained",
    "text_width", "text_layers", "text_activation", "bidirectional", "pooling", "vocabulary", "context",
    "frame_pooling", "frames", "train_size", "small_size", "small_share", "crop", "color_jitter", "word_dropout",
    "patch_dropout",
}  # fmt: skip
_TOWERS = {"image_tower": bridging.IMAGES, "text_tower": bridging.TEXTS}  # what the bridge stands on
_MOST_UNREAD = 0.5  # share of the captions


class Choice(NamedTuple):
    """The name of a recipe, and why it was taken: the rest of a sentence."""

    recipe: str
    why: str


def choose(pairs: Sequence[Pair], settings: Sequence[str] = ()) -> Choice:
    """The way that is better for these pairs. settings: as typed behind --set.

    Costs no more than to look at a thousand captions. Raises BadRequest where the settings belong to both ways.
    """
    return _of_sounds(pairs, settings) or _by_settings(settings) or _lacking() or _by_captions(pairs) or Choice(
        BRIDGE, "heads between the pretrained towers that came with the installation, which from few pairs and many "
        "found more than a run from scratch, and in minutes",
    )  # fmt: skip


def _of_sounds(pairs: Sequence[Pair], settings: Sequence[str]) -> Choice | None:
    """The one that hears, where a tower that does is named, or all that is learned from is sounds."""
    tower = next((one.partition("=")[2].strip() for one in settings if _name(one) == "image_tower"), "")
    if tower in HEARING:
        return Choice(SOUND, f"{tower} hears")
    if not tower and all(pair.item.kind == "sound" for pair in pairs):
        return Choice(SOUND, "all of it is sounds")
    return None


def _by_settings(settings: Sequence[str]) -> Choice | None:
    bridge = [one for one in settings if _name(one) in _OF_BRIDGE]
    scratch = [one for one in settings if _name(one) in _OF_FROM_SCRATCH or _is_other_tower(one)]
    if bridge and scratch:
        raise BadRequest(
            f"{bridge[0]} is of --recipe {BRIDGE}, {scratch[0]} of --recipe {FROM_SCRATCH}: name the one that is meant"
        )
    if bridge:
        return Choice(BRIDGE, f"{bridge[0]} is of it")
    return Choice(FROM_SCRATCH, f"{scratch[0]} is of it") if scratch else None


def _name(assignment: str) -> str:
    return assignment.partition("=")[0].strip()


def _is_other_tower(assignment: str) -> bool:
    """Is a tower named that the bridge does not stand on? A text tower may have others beside it."""
    name, _, tower = assignment.partition("=")
    if name.strip() not in _TOWERS:
        return False
    kind, own = split(parts_of(tower.strip())[0])
    package = PACKAGES[_TOWERS[name.strip()]]
    return kind != "package" or own not in (package.name, package.distribution)


def _lacking() -> Choice | None:
    try:
        builtin.require()
    except MissingModel as error:
        return Choice(FROM_SCRATCH, f"{BRIDGE} is better, but {error}")
    return None


def _by_captions(pairs: Sequence[Pair]) -> Choice | None:
    languages = PACKAGES[bridging.TEXTS].languages
    some = fitness.unread_of(pairs, languages)
    if some.share < _MOST_UNREAD:
        return None
    like = f"`{some.text[: fitness.SHOWN]}`, which looks like {some.language}"
    return Choice(FROM_SCRATCH, f"most captions are like {like}, and the text tower of {BRIDGE} does not read that")
