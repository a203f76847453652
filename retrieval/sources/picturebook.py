"""Drawn scenes with captions, made by code: data for the demo and the tests, of any size, with no download.

    scene = Scene.make(7, "train")      # the same scene on every machine
    scene.draw(192)                     # at any size
    scene.captions()                    # terse ... full; the last one singles the scene out

A scene is one to three groups of things (what, color, size, how many) at a place, with a relation between the first
two. Some pairs of thing and color are held out: "train" scenes never show them, every "test" scene does.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from PIL import Image, ImageDraw

from retrieval.datatypes import Item
from retrieval.errors import BadRequest
from retrieval.sources.picturebook_art import ART, COLORS, Brush, Color, backdrop, shade

SPLITS = ("train", "test")
PLACES = {
    "day": ("by day", "on a bright day", "on green grass"),
    "night": ("at night", "in the dark", "under the stars"),
    "snow": ("in the snow", "on a snowy day", "in winter"),
    "beach": ("on the beach", "by the sea", "on the sand"),
}
FIXED_COLOR: dict[str, Color] = {"sun": (252, 206, 60), "moon": (244, 238, 206)}
FLYING = ("bird", "butterfly", "balloon", "sun", "moon")
THINGS = tuple(ART)
NUMBERS = ("a", "two", "three", "four")
SIZES = {"large": True, "big": True, "small": False, "little": False}
RELATIONS = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above", "over"),
}  # fmt: skip
_SUPERSAMPLE = 2  # drawn larger and shrunk, for smooth edges
_LARGEST = 0.25  # half the width of a large thing, as a share of the picture's
_SMALLEST = 0.165


def is_held_out(thing: str, color: str) -> bool:
    """True for one color of each thing that comes in colors: the pair occurs in "test" scenes alone."""
    return thing not in FIXED_COLOR and tuple(COLORS)[THINGS.index(thing) * 7 % len(COLORS)] == color


@dataclass(frozen=True, slots=True)
class Things:
    """Things of one kind. places: their centers (x, y) in the unit square, seed: of their poses."""

    thing: str
    color: str
    large: bool
    places: tuple[tuple[float, float], ...]
    seed: int

    def middle(self) -> tuple[float, float]:
        """The mean of its places."""
        across, down = zip(*self.places, strict=True)
        return sum(across) / len(across), sum(down) / len(down)

    @property
    def half(self) -> float:
        """Half the width of each of them, as a share of the picture's."""
        return _LARGEST if self.large else _SMALLEST

    def side(self) -> str:
        """Which third of the picture its middle is in."""
        middle, _ = self.middle()
        return "on the left" if middle < 0.42 else "on the right" if middle > 0.58 else "in the middle"

    def words(self, rng: random.Random, detail: int) -> str:
        """The noun phrase. detail 0: "a dog"; 1: "a red dog"; 2: "a large red dog"."""
        many = len(self.places)
        adjectives = []
        if detail >= 2 and self.thing not in FIXED_COLOR:
            adjectives.append(rng.choice([word for word, large in SIZES.items() if large == self.large]))
        if detail >= 1 and self.thing not in FIXED_COLOR:
            adjectives.append(self.color)
        if self.thing in FIXED_COLOR:
            return f"the {self.thing}"
        words = " ".join([*adjectives, self.thing if many == 1 else plural(self.thing)])
        article = "an" if words[0] in "aeiou" else "a"
        return f"{article if many == 1 else NUMBERS[many - 1]} {words}"


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be seen, before it is drawn. seed: of the words and the light."""

    seed: int
    place: str
    groups: tuple[Things, ...]
    relation: str | None  # of the first group to the second

    @classmethod
    def make(cls, number: int, split: str = "train", seed: int = 0) -> "Scene":
        """Scene `number` of a split. split: "train" or "test"; seed: another book."""
        rng = random.Random(f"{seed}/{split}/{number}")
        place = rng.choice(tuple(PLACES))
        kinds = _choose_kinds(rng, place, split)
        relation = rng.choice(tuple(RELATIONS)) if len(kinds) > 1 else None
        if relation == "above":
            kinds[:2] = sorted(kinds[:2], key=lambda kind: kind[0] not in FLYING)  # a bird over a house
            if kinds[0][0] not in FLYING or kinds[1][0] in FLYING:
                relation = rng.choice(("left", "right"))
        groups = _arrange(rng, kinds, relation)
        return cls(rng.getrandbits(32), place, groups, relation)

    def draw(self, size: int = 96) -> Image.Image:
        """The picture, RGB, size x size. The same scene at every size."""
        rng = random.Random(self.seed)
        big = size * _SUPERSAMPLE
        image = backdrop(self.place, rng, big)
        placed = sorted(((y, x, g) for g in self.groups for x, y in g.places), key=lambda p: p[0])
        for y, x, group in placed:  # what stands nearer is drawn over what stands behind
            _draw_thing(image, random.Random(f"{group.seed}/{x}/{y}"), group, (x * big, y * big), big, self.place)
        return image.resize((size, size), Image.Resampling.BOX)

    def captions(self) -> list[str]:
        """Four to seven captions from terse to full. The last names everything.

        Each group is named alone, most with its color, because words of color and number are learned where they stand
        beside few others.
        """
        rng = random.Random(self.seed + 1)
        captions = [group.words(rng, rng.choice((0, 1, 1))) for group in self.groups]
        captions.append(f"{rng.choice(self.groups).words(rng, rng.choice((0, 0, 1)))} {self._where()}")
        detail = rng.choice((0, 0, 1))
        captions.append(self._arranged([group.words(rng, detail) for group in self.groups], rng))
        if len(self.groups) > 1:
            captions.append(" and ".join(group.words(rng, rng.choice((0, 1))) for group in self.groups))
        return [*captions, self.full_caption()]

    def full_caption(self) -> str:
        """Everything there is to say: things, colors, sizes, counts, where they are to each other, and the place."""
        rng = random.Random(self.seed + 2)
        return f"{self._arranged([group.words(rng, 2) for group in self.groups], rng)} {self._where()}"

    def _arranged(self, phrases: list[str], rng: random.Random) -> str:
        """The phrases of the groups with how they stand to each other, or where a single one stands."""
        if len(phrases) == 1:
            return f"{phrases[0]} {self.groups[0].side()}"
        if self.relation:
            phrases = [f"{phrases[0]} {rng.choice(RELATIONS[self.relation])} {phrases[1]}", *phrases[2:]]
        return " with ".join(phrases)

    def _where(self) -> str:
        names = PLACES[self.place]
        return names[self.seed % len(names)]


def scenes(count: int, split: str = "train", seed: int = 0) -> Iterator[Scene]:
    """The first `count` scenes of a split."""
    return (Scene.make(number, split, seed) for number in range(count))


def rows(path: str, where: dict[str, str]) -> Iterator[tuple[Item, str]]:
    """`picturebook:COUNT?split=train&seed=0&size=96&captions=all`: (item, caption), for registry.py.

    captions=full keeps only the caption that singles a scene out.
    """
    options = {"split": "train", "seed": "0", "size": "96", "captions": "all"} | where
    try:
        count, seed, size = int(path), int(options["seed"]), int(options["size"])
        if options["split"] not in SPLITS or options["captions"] not in ("all", "full") or len(options) > 4 or size < 8:
            raise ValueError
    except ValueError:
        raise BadRequest(
            f"picturebook:{path}: write `picturebook:COUNT?split=train|test&seed=0&size=96&captions=all|full`"
        ) from None
    for number, scene in enumerate(scenes(count, options["split"], seed)):
        name = f"{options['split']}-{seed}-{number:05d}.png"
        item = Item(name, name, partial(scene.draw, size), stamp=f"{scene.seed}:{size}")
        texts = scene.captions() if options["captions"] == "all" else [scene.full_caption()]
        yield from ((item, text) for text in texts)


# ---------------------------------------------------------------- making


def _choose_kinds(rng: random.Random, place: str, split: str) -> list[tuple[str, str]]:
    """One to three (thing, color), all things different; held-out pairs as the split has them."""
    absent = {"moon"} if place in ("day", "beach") else {"sun"} if place == "night" else {"moon"}
    # A picture of one thing teaches its name; a picture of several can be asked for in many ways.
    count = rng.choice((1, 1, 2, 2, 2, 3))
    things = rng.sample([thing for thing in THINGS if thing not in absent], count)
    if set(things) <= set(FIXED_COLOR):  # the sky alone is no scene
        things[0] = rng.choice([thing for thing in THINGS if thing not in FIXED_COLOR])
    kinds = [(thing, rng.choice([c for c in COLORS if not is_held_out(thing, c)])) for thing in things]
    if split == "test":
        chosen = rng.choice([i for i, (thing, _) in enumerate(kinds) if thing not in FIXED_COLOR])
        thing = kinds[chosen][0]
        kinds[chosen] = (thing, next(color for color in COLORS if is_held_out(thing, color)))
    return kinds


def _arrange(rng: random.Random, kinds: list[tuple[str, str]], relation: str | None) -> tuple[Things, ...]:
    """Give every group a column of its own, wide enough for its things, so that relations hold."""
    columns = list(range(len(kinds)))
    if relation in ("left", "right"):
        order = [0, 1] if relation == "left" else [1, 0]
        columns = [*order, 2][: len(kinds)] if rng.random() < 0.5 else [*(i + 1 for i in order), 0]
        columns = columns if len(kinds) == 3 else order
    else:
        rng.shuffle(columns)
    width = 1 / len(kinds)
    return tuple(
        _group(rng, thing, color, (column * width, width))
        for (thing, color), column in zip(kinds, columns, strict=True)
    )


def _group(rng: random.Random, thing: str, color: str, column: tuple[float, float]) -> Things:
    left, width = column
    single = thing in FIXED_COLOR
    count = 1 if single else rng.choice((1, 1, 1, 2, 2, 3, 4) if width > 0.4 else (1, 1, 1, 2))
    large = count <= 2 and rng.random() < 0.5
    half = _LARGEST if large else _SMALLEST
    low, high = (0.14, 0.34) if thing in FLYING else (0.6, 0.84)
    places: list[tuple[float, float]] = []
    for _ in range(200):
        x = rng.uniform(left + min(half, width / 2), left + max(width - half, width / 2))
        x = min(1 - half, max(half, x))
        y = min(1 - half, max(half, rng.uniform(low, high)))
        # As the search goes on, less room is asked for, so that it always ends.
        gap = half * 2.0 * (1 - len(places) * 0.08)
        if all((x - px) ** 2 + (y - py) ** 2 > gap**2 for px, py in places):
            places.append((x, y))
            if len(places) == count:
                break
    return Things(thing, color, large, tuple(places), rng.getrandbits(32))


def _draw_thing(
    image: Image.Image, rng: random.Random, group: Things, center: tuple[float, float], size: int, place: str
) -> None:
    draw = ImageDraw.Draw(image)
    half = group.half * size * rng.uniform(0.9, 1.05)
    color = FIXED_COLOR.get(group.thing) or COLORS[group.color]
    jitter = rng.uniform(0.9, 1.12) * (0.85 if place == "night" and group.thing not in FIXED_COLOR else 1)
    if group.thing not in FLYING:  # a soft shadow to stand on
        x, y = center[0], center[1] + half * 0.97
        under = image.getpixel((min(size - 1, max(0, int(x))), min(size - 1, max(0, int(y)))))
        assert isinstance(under, tuple), "the picture is RGB"
        red, green, blue = under
        draw.ellipse(
            (x - half * 0.85, y - half * 0.1, x + half * 0.85, y + half * 0.12), fill=shade((red, green, blue), 0.75)
        )
    brush = Brush(draw, *center, half, angle=rng.uniform(-0.1, 0.1), mirrored=rng.random() < 0.5)
    ART[group.thing](brush, rng, shade(color, jitter))


def plural(thing: str) -> str:
    """The word for several of them."""
    return {"fish": "fish", "butterfly": "butterflies"}.get(thing, f"{thing}s")
