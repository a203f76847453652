"""Is a question in the picture book's own words true of a scene? By the scene's description: no picture is looked at.

    is_true("a boat to the left of a tree", scene)
    is_near("a boat to the left of a tree", scene)    # a boat and a tree, but not so

A color, a size, a place or a side that is named must be so. "two" is two, not three; "a" is one or more.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from retrieval.errors import BadRequest
from retrieval.sources.picturebook import (
    COLORS,
    NUMBERS,
    PLACES,
    RELATIONS,
    SIZES,
    THINGS,
    Scene,
    Things,
    plural,
    scenes,
)

_SIDES = ("on the left", "on the right", "in the middle")
_LIMIT = 60_000  # scenes that are looked through for answers
_RELATION_OF = {words: relation for relation, several in RELATIONS.items() for words in several}
_JOINTS = "|".join((*sorted(_RELATION_OF, key=len, reverse=True), "and", "with"))
_BETWEEN = re.compile(rf" (?:{_JOINTS}) (?=(?:an|the|{'|'.join(NUMBERS)}) )")
_PLACE_OF = {words: place for place, several in PLACES.items() for words in several}
_THING_OF = {name: thing for thing in THINGS for name in (thing, plural(thing))}


@dataclass(frozen=True, slots=True)
class _Group:
    """Things that are asked for. None: whatever."""

    thing: str
    count: int | None
    color: str | None
    large: bool | None

    def is_one_of(self, group: Things) -> bool:
        return group.thing == self.thing and all(
            asked is None or asked == is_there
            for asked, is_there in (
                (self.count, len(group.places)), (self.color, group.color), (self.large, group.large),
            )
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """What a question asks for. joints: what stands between one group and the next, None for "and"."""

    groups: tuple[_Group, ...]
    joints: tuple[str | None, ...]
    side: str | None
    place: str | None

    @classmethod
    def parse(cls, text: str) -> "Question":
        """Raises BadRequest for words that are not the book's."""
        rest, place = _without_end(text, tuple(_PLACE_OF))
        rest, side = _without_end(rest, _SIDES)
        joints = tuple(_RELATION_OF.get(joint.strip()) for joint in _BETWEEN.findall(rest))
        groups = tuple(_group(part, text) for part in _BETWEEN.split(rest))
        return cls(groups, joints, side, _PLACE_OF[place] if place else None)

    def is_true(self, scene: Scene) -> bool:
        """Is there such a place, and are there such groups, each another one, that stand so?"""
        if self.place not in (None, scene.place):
            return False
        return any(self._fits(chosen) for chosen in permutations(scene.groups, len(self.groups)))

    def is_near(self, scene: Scene) -> bool:
        """Are all the things there that it names, and yet it is not true?"""
        there = {group.thing for group in scene.groups}
        return there.issuperset(group.thing for group in self.groups) and not self.is_true(scene)

    def _fits(self, chosen: Sequence[Things]) -> bool:
        beside = zip(chosen, chosen[1:], self.joints, strict=False)
        return (
            all(asked.is_one_of(group) for asked, group in zip(self.groups, chosen, strict=True))
            and all(joint is None or stands(one, joint, other) for one, other, joint in beside)
            and (self.side is None or chosen[0].side() == self.side)
        )


def is_true(question: str, scene: Scene) -> bool:
    """Is it true of the scene? Raises BadRequest for words that are not the book's."""
    return Question.parse(question).is_true(scene)


def is_near(question: str, scene: Scene) -> bool:
    """Does the scene have the things that are named, but another color, number, place or order?"""
    return Question.parse(question).is_near(scene)


def stands(one: Things, relation: str, other: Things) -> bool:
    """Is the middle of one "left" or "right" of the other's, or "above" it?"""
    (x, y), (other_x, other_y) = one.middle(), other.middle()
    return {"left": x < other_x, "right": x > other_x, "above": y < other_y}[relation]


def shelf(questions: Sequence[str], count: int, least: int, split: str, seed: int) -> Iterator[tuple[int, Scene]]:
    """Scenes that can be asked for: (number, scene).

    The first `count` of a split, and those behind them that bring the answers to each question to `least`, and its near
    misses too, if it has any: where few of the right and many of the wrong are there, or none of either, ten answers
    say nothing.
    """
    asked = [Question.parse(question) for question in questions]
    lacking = [[least, least] for _ in asked]
    for number, scene in enumerate(scenes(_LIMIT, split, seed)):
        of = [(lack, 0 if q.is_true(scene) else 1) for q, lack in zip(asked, lacking, strict=True)
              if q.is_true(scene) or q.is_near(scene)]  # fmt: skip
        if number < count or any(lack[kind] > 0 for lack, kind in of):
            for lack, kind in of:
                lack[kind] -= 1
            yield number, scene
        elif not any(lack[0] > 0 or (lack[1] > 0 and _can_miss(q)) for q, lack in zip(asked, lacking, strict=True)):
            return


def _can_miss(question: Question) -> bool:
    """Can the things of a question be there without its being true? Not where it names nothing but one thing."""
    (first, *others) = question.groups
    plain = first.count is None and first.color is None and first.large is None
    return bool(others or not plain or question.place or question.side)


def _without_end(text: str, ends: Sequence[str]) -> tuple[str, str | None]:
    for end in ends:
        if text.endswith(f" {end}"):
            return text.removesuffix(f" {end}"), end
    return text, None


def _group(phrase: str, question: str) -> _Group:
    """ "two large red dogs" as a group."""
    number, *adjectives, thing = phrase.split() if " " in phrase else ("", phrase)
    sizes = [SIZES[word] for word in adjectives if word in SIZES]
    colors = [word for word in adjectives if word in COLORS]
    known = number in (*NUMBERS, "an", "the") and len(sizes) + len(colors) == len(adjectives) and thing in _THING_OF
    if not known:
        raise BadRequest(f"`{phrase}` of `{question}` is not in the words of the picture book: ask as its captions do")
    count = NUMBERS.index(number) + 1 if number in NUMBERS[1:] else None
    return _Group(_THING_OF[thing], count, colors[0] if colors else None, sizes[0] if sizes else None)
