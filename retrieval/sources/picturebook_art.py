"""How the things of the picture book are drawn: vector shapes in unit coordinates, so any size shows the same scene.

A thing is drawn by `f(brush, rng, color)` around (0, 0), about two units wide, standing on y = 1 (y points down).
To add one, write such a function and name it in ART.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]

COLORS: dict[str, Color] = {
    "red": (214, 48, 49), "orange": (240, 138, 36), "yellow": (246, 211, 60), "green": (62, 160, 74),
    "blue": (52, 104, 208), "purple": (136, 70, 184), "pink": (244, 143, 188), "brown": (128, 84, 52),
    "white": (244, 244, 240), "gray": (136, 140, 148),
}  # fmt: skip
_DARK: Color = (38, 34, 40)


def shade(color: Color, factor: float) -> Color:
    """Darker (factor below 1) or nearer to white (above 1)."""
    return _between((0, 0, 0), color, factor) if factor <= 1 else _between(color, (255, 255, 255), factor - 1)


def _between(one: Color, other: Color, share: float) -> Color:
    """A color on the way from one to the other, of which it has that share."""
    red, green, blue = (int(a + (z - a) * share) for a, z in zip(one, other, strict=True))
    return red, green, blue


@dataclass
class Brush:
    """Draws unit shapes at a place, size, turn and mirroring of the picture."""

    draw: ImageDraw.ImageDraw
    x: float
    y: float
    size: float
    angle: float = 0.0
    mirrored: bool = False

    def _at(self, points: Sequence[Point]) -> list[Point]:
        cos, sin = math.cos(self.angle) * self.size, math.sin(self.angle) * self.size
        side = -1 if self.mirrored else 1
        return [(self.x + side * px * cos - py * sin, self.y + side * px * sin + py * cos) for px, py in points]

    def polygon(self, points: Sequence[Point], fill: Color, outline: bool = True) -> None:
        """A filled shape with a thin darker edge."""
        placed = self._at(points)
        self.draw.polygon(placed, fill=fill)
        if outline:
            width = max(1, round(self.size * 0.05))
            self.draw.line([*placed, placed[0]], fill=shade(fill, 0.55), width=width, joint="curve")

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Color, turn: float = 0, outline: bool = True
    ) -> None:
        """A filled ellipse around (x, y), turned by `turn` radians."""
        cos, sin = math.cos(turn), math.sin(turn)
        steps = [2 * math.pi * i / 28 for i in range(28)]
        ring = [(rx * math.cos(t), ry * math.sin(t)) for t in steps]
        self.polygon([(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in ring], fill, outline)

    def stroke(self, points: Sequence[Point], width: float, fill: Color) -> None:
        """A line with round ends; `width` in units."""
        placed, pixels = self._at(points), max(1, width * self.size)
        self.draw.line(placed, fill=fill, width=round(pixels), joint="curve")
        for px, py in (placed[0], placed[-1]):
            self.draw.ellipse((px - pixels / 2, py - pixels / 2, px + pixels / 2, py + pixels / 2), fill=fill)

    def eye(self, x: float, y: float, r: float = 0.055) -> None:
        """A dark dot with a light in it."""
        self.ellipse(x, y, r, r, _DARK, outline=False)
        self.ellipse(x + r * 0.3, y - r * 0.3, r * 0.35, r * 0.35, (255, 255, 255), outline=False)


# ---------------------------------------------------------------- animals


def _legs(b: Brush, rng: random.Random, xs: Sequence[float], top: float, width: float, color: Color) -> None:
    swing = rng.choice([0.0, 0.0, 0.12, 0.25])
    for i, x in enumerate(xs):
        step = swing * (1 if i % 2 else -1) + rng.uniform(-0.03, 0.03)
        b.stroke([(x, top), (x + step, 0.97)], width, shade(color, 0.82 if i % 2 else 0.95))


def dog(b: Brush, rng: random.Random, c: Color) -> None:
    """Dark floppy ears, spots, a tongue, a collar, a tail that stands up; standing, running or sitting."""
    sitting, nod = rng.random() < 0.1, rng.uniform(-0.08, 0.1)
    b.stroke([(-0.6, 0.1), (-0.88, -0.12), (-0.9 + rng.uniform(-0.1, 0.15), -0.45)], 0.13, shade(c, 0.9))
    if sitting:
        b.ellipse(-0.32, 0.5, 0.42, 0.46, c)
        b.polygon([(-0.55, 0.3), (0.3, -0.35), (0.52, 0.1), (0.25, 0.7)], c)
        b.stroke([(0.3, 0.2), (0.32, 0.95)], 0.16, shade(c, 0.92))
        spots = [(-0.4, 0.42), (-0.18, 0.72), (0.12, 0.18)]
    else:
        _legs(b, rng, (-0.5, -0.34, 0.3, 0.46), 0.3, 0.15, c)
        b.ellipse(-0.05, 0.15, 0.68, rng.uniform(0.28, 0.36), c)
        b.polygon([(0.25, 0.1), (0.4, -0.4), (0.72, -0.2), (0.58, 0.25)], c, outline=False)
        spots = [(-0.42, 0.08), (-0.1, 0.2), (0.18, 0.02)]
    for x, y in spots:
        b.ellipse(x, y, 0.19, 0.15, shade(c, 0.4), outline=False)
    b.stroke([(0.36, -0.1), (0.68, 0.02)], 0.1, (250, 250, 250) if c[0] > 180 and c[1] < 120 else (200, 40, 44))
    b.ellipse(1.0, -0.1 + nod, 0.08, 0.14, (236, 110, 130), outline=False)
    b.ellipse(0.62, -0.38 + nod, 0.3, 0.27, c)
    b.ellipse(0.9, -0.27 + nod, 0.25, 0.17, (246, 242, 236))
    b.ellipse(1.08, -0.33 + nod, 0.09, 0.075, _DARK, outline=False)
    b.ellipse(0.44, -0.33 + nod, 0.15, rng.uniform(0.32, 0.4), shade(c, 0.4), turn=rng.uniform(0.1, 0.5))
    b.eye(0.7, -0.46 + nod)


def cat(b: Brush, rng: random.Random, c: Color) -> None:
    """Pointed ears, stripes, bright eyes, whiskers, a long curling tail; standing or sitting."""
    nod, curl = rng.uniform(-0.08, 0.06), rng.uniform(-0.2, 0.3)
    if rng.random() < 0.85:
        b.stroke([(-0.3, 0.85), (-0.8, 0.8), (-0.95, 0.45), (-0.75 + curl, 0.2)], 0.12, shade(c, 0.85))
        b.ellipse(0, 0.45, 0.42, 0.55, c)
        b.stroke([(0.16, 0.35), (0.18, 0.95)], 0.15, shade(c, 0.9))
        for y in (0.2, 0.42, 0.64):
            b.stroke([(-0.4, y), (-0.12, y + 0.05)], 0.08, shade(c, 0.5))
        hx, hy = 0.08, -0.28 + nod
    else:
        b.stroke([(-0.6, 0.1), (-0.95, -0.1), (-1.0, -0.5), (-0.75 + curl, -0.72)], 0.1, shade(c, 0.85))
        _legs(b, rng, (-0.5, -0.36, 0.28, 0.42), 0.35, 0.13, c)
        b.ellipse(-0.05, 0.22, 0.62, 0.27, c)
        for x in (-0.45, -0.25, -0.05, 0.15):
            b.stroke([(x, -0.01), (x - 0.03, 0.28)], 0.08, shade(c, 0.5))
        hx, hy = 0.58, -0.14 + nod
    for side in (-1, 1):
        x = hx + side * 0.2
        b.polygon([(x - 0.15, hy - 0.16), (x + side * 0.08, hy - 0.64), (x + 0.15, hy - 0.14)], c)
    b.ellipse(hx, hy, 0.42, 0.34, c)
    b.ellipse(hx + 0.1, hy + 0.1, 0.16, 0.11, shade(c, 1.4), outline=False)
    for dy in (-0.03, 0.05):
        b.stroke([(hx + 0.2, hy + 0.1), (hx + 0.58, hy + 0.08 + dy * 3)], 0.018, _DARK)
        b.stroke([(hx, hy + 0.1), (hx - 0.38, hy + 0.08 + dy * 3)], 0.018, _DARK)
    b.polygon([(hx + 0.05, hy + 0.04), (hx + 0.15, hy + 0.04), (hx + 0.1, hy + 0.1)], (224, 120, 130), outline=False)
    for x in (hx - 0.08, hx + 0.22):
        b.ellipse(x, hy - 0.07, 0.1, 0.085, (236, 226, 90))
        b.ellipse(x, hy - 0.07, 0.03, 0.075, _DARK, outline=False)


def horse(b: Brush, rng: random.Random, c: Color) -> None:
    """Long legs with dark hooves, a long neck with a dark mane, a saddle; grazing or with the head up."""
    mane = shade(c, 0.35)
    b.stroke([(-0.68, -0.15), (-0.92, 0.1), (-0.9 + rng.uniform(-0.08, 0.08), 0.5)], 0.16, mane)
    _legs(b, rng, (-0.55, -0.4, 0.32, 0.48), 0.15, 0.12, c)
    for x in (-0.55, -0.4, 0.32, 0.48):
        b.stroke([(x, 0.9), (x + 0.03, 0.97)], 0.15, _DARK)
    b.ellipse(-0.05, -0.05, 0.68, 0.3, c)
    b.polygon([(-0.25, -0.36), (0.12, -0.36), (0.08, -0.02), (-0.2, -0.02)], (150, 84, 44))
    if rng.random() < 0.75:
        b.polygon([(0.25, -0.05), (0.55, -0.85), (0.85, -0.72), (0.62, 0.1)], c)
        b.stroke([(0.3, -0.18), (0.42, -0.55), (0.58, -0.88)], 0.13, mane)
        b.ellipse(0.85, -0.72, 0.34, 0.15, c, turn=rng.uniform(0.3, 0.6))
        b.polygon([(0.58, -0.82), (0.62, -1.06), (0.72, -0.84)], c)
        b.eye(0.76, -0.79, 0.045)
    else:
        b.polygon([(0.35, -0.2), (0.85, 0.38), (1.05, 0.25), (0.6, -0.22)], c)
        b.stroke([(0.5, -0.22), (0.8, 0.06), (1.0, 0.24)], 0.1, mane)
        b.ellipse(0.98, 0.5, 0.15, 0.32, c, turn=rng.uniform(-0.2, 0.1))
        b.eye(0.98, 0.4, 0.045)


def bird(b: Brush, rng: random.Random, c: Color) -> None:
    """Flying with spread wings, or perched on two legs."""
    beak = (240, 170, 40)
    b.polygon([(-0.45, 0.05), (-0.98, -0.12), (-0.95, 0.2)], shade(c, 0.75))
    if rng.random() < 0.6:
        lift = rng.uniform(0.55, 0.95)
        b.polygon([(-0.15, -0.1), (-0.55, -lift), (0.2, -0.15)], shade(c, 0.7))
        b.ellipse(0, 0.1, 0.58, 0.28, c)
        b.polygon([(-0.2, 0.05), (-0.1, -lift * 1.05), (0.32, 0.0)], shade(c, 1.2))
    else:
        for x in (-0.05, 0.14):
            b.stroke([(x, 0.4), (x, 0.95)], 0.06, beak)
        b.ellipse(0, 0.15, 0.55, 0.38, c)
        b.ellipse(-0.15, 0.12, 0.34, 0.2, shade(c, 0.75), turn=-0.3)
    b.polygon([(0.72, -0.24), (1.05, -0.14), (0.72, -0.06)], beak)
    b.ellipse(0.52, -0.16, 0.27, 0.25, c)
    b.eye(0.6, -0.22)


def fish(b: Brush, rng: random.Random, c: Color) -> None:
    """A body with a light belly, a tail, fins, scales, bubbles."""
    deep = rng.uniform(0.34, 0.52)
    b.polygon([(-0.5, 0.2), (-1.0, -0.2), (-0.88, 0.2), (-1.0, 0.6)], shade(c, 0.75))
    b.polygon([(-0.25, 0.2 - deep * 0.8), (0.1, 0.1 - deep * 1.55), (0.3, 0.2 - deep * 0.8)], shade(c, 0.75))
    b.ellipse(0.1, 0.2, 0.72, deep, c)
    b.ellipse(0.15, 0.2 + deep * 0.55, 0.5, deep * 0.34, shade(c, 1.6), outline=False)
    for x, y, r in ((0.85, -0.3, 0.07), (0.98, -0.52, 0.1), (0.8, -0.75, 0.13)):
        b.ellipse(x, y, r, r, (200, 232, 250))
    for x in (-0.2, 0.0, 0.2):
        b.stroke([(x, 0.2 - deep * 0.5), (x + 0.09, 0.2), (x, 0.2 + deep * 0.5)], 0.035, shade(c, 0.72))
    b.polygon([(0.1, 0.25), (-0.12, 0.5), (0.22, 0.42)], shade(c, 0.7))
    b.eye(0.52, 0.08, 0.075)


def butterfly(b: Brush, rng: random.Random, c: Color) -> None:
    """Four wings and two feelers."""
    spread = rng.uniform(0.75, 1.0)
    for side in (-1, 1):
        b.ellipse(side * 0.5 * spread, -0.25, 0.5 * spread, 0.4, c, turn=side * -0.5)
        b.ellipse(side * 0.4 * spread, 0.4, 0.36 * spread, 0.3, shade(c, 0.8), turn=side * 0.6)
        b.ellipse(side * 0.58 * spread, -0.3, 0.16 * spread, 0.14, shade(c, 1.6), outline=False)
        b.stroke([(0, -0.45), (side * 0.2, -0.85)], 0.04, _DARK)
    b.ellipse(0, 0.05, 0.09, 0.52, _DARK)


# ---------------------------------------------------------------- things that stand


def house(b: Brush, rng: random.Random, c: Color) -> None:
    """Walls in the color, a darker roof, a door, windows, perhaps a chimney."""
    half, roof = rng.uniform(0.62, 0.85), rng.uniform(0.45, 0.7)
    tint = (96, 62, 58) if rng.random() < 0.6 else (84, 88, 104)
    if rng.random() < 0.5:
        b.polygon([(0.3, -0.3), (0.3, -0.85), (0.5, -0.85), (0.5, -0.3)], shade(tint, 0.8))
    b.polygon([(-half, -0.2), (half, -0.2), (half, 1), (-half, 1)], c)
    b.polygon([(-half - 0.15, -0.18), (0, -0.2 - roof), (half + 0.15, -0.18)], tint)
    door = rng.choice([-0.3, 0.0, 0.3])
    b.polygon([(door - 0.14, 0.45), (door + 0.14, 0.45), (door + 0.14, 1), (door - 0.14, 1)], shade(tint, 0.75))
    for x in (-0.42, 0.42):
        if abs(x - door) > 0.2:
            pane = (255, 236, 150) if rng.random() < 0.5 else (170, 214, 240)
            b.polygon([(x - 0.13, 0.05), (x + 0.13, 0.05), (x + 0.13, 0.35), (x - 0.13, 0.35)], pane)


def tree(b: Brush, rng: random.Random, c: Color) -> None:
    """A trunk under a crown in the color: round, or the steps of a fir."""
    b.polygon([(-0.12, 0.1), (0.12, 0.1), (0.16, 1), (-0.16, 1)], (112, 78, 50))
    if rng.random() < 0.4:
        for i, width in enumerate((0.42, 0.56, 0.7)):
            top = -1.0 + i * 0.4
            b.polygon([(0, top), (width, top + 0.62), (-width, top + 0.62)], shade(c, 0.85 + 0.1 * i))
    else:
        for x, y, r in ((-0.36, -0.1, 0.38), (0.36, -0.1, 0.38), (0, -0.5, 0.48)):
            b.ellipse(x + rng.uniform(-0.06, 0.06), y, r, r * rng.uniform(0.85, 1), shade(c, rng.uniform(0.9, 1.1)))


def car(b: Brush, rng: random.Random, c: Color) -> None:
    """A cabin with windows, two wheels, a lamp."""
    roof = rng.uniform(-0.12, 0.05)
    b.polygon([(-0.55, 0.4), (-0.38, roof), (0.3, roof), (0.56, 0.4)], c)
    b.polygon([(-0.42, 0.38), (-0.3, roof + 0.1), (-0.04, roof + 0.1), (-0.04, 0.38)], (186, 220, 238))
    b.polygon([(0.03, 0.38), (0.03, roof + 0.1), (0.24, roof + 0.1), (0.43, 0.38)], (186, 220, 238))
    b.polygon([(-0.98, 0.42), (0.7, 0.38), (1.0, 0.52), (1.0, 0.82), (-0.98, 0.82)], c)
    b.ellipse(0.94, 0.58, 0.07, 0.07, (255, 240, 170))
    for x in (-0.55, 0.55):
        b.ellipse(x, 0.8, 0.2, 0.2, _DARK)
        b.ellipse(x, 0.8, 0.09, 0.09, (190, 190, 196))


def boat(b: Brush, rng: random.Random, c: Color) -> None:
    """A hull in the color under a white sail, on a little water."""
    tall = rng.uniform(0.85, 1.05)
    b.stroke([(0, 0.5), (0, -tall)], 0.06, (120, 86, 56))
    b.polygon([(0.06, -tall * 0.95), (0.7, 0.3), (0.06, 0.3)], (250, 248, 240))
    if rng.random() < 0.6:
        b.polygon([(-0.06, -tall * 0.7), (-0.5, 0.3), (-0.06, 0.3)], (236, 234, 226))
    b.polygon([(-0.95, 0.42), (0.98, 0.42), (0.66, 0.92), (-0.64, 0.92)], c)
    wave = [(-1.1 + 0.22 * i, 0.92 + (0.05 if i % 2 else -0.03)) for i in range(11)]
    b.stroke(wave, 0.07, (90, 160, 220))


def flower(b: Brush, rng: random.Random, c: Color) -> None:
    """Petals in the color on a green stem."""
    lean, petals = rng.uniform(-0.15, 0.15), rng.choice([5, 6, 7])
    b.stroke([(lean, -0.3), (0, 1)], 0.09, (66, 140, 60))
    b.ellipse(0.24, 0.5, 0.26, 0.11, (80, 160, 70), turn=-0.6)
    turn = rng.uniform(0, 1)
    for i in range(petals):
        t = turn + 2 * math.pi * i / petals
        b.ellipse(lean + 0.36 * math.cos(t), -0.35 + 0.36 * math.sin(t), 0.3, 0.2, c, turn=t)
    b.ellipse(lean, -0.35, 0.18, 0.18, (250, 214, 80) if sum(c) < 600 else (196, 130, 40))


def mushroom(b: Brush, rng: random.Random, c: Color) -> None:
    """A cap in the color with light dots, on a pale stem."""
    b.polygon([(-0.2, 0.05), (0.2, 0.05), (0.28, 1), (-0.28, 1)], (238, 226, 204))
    arc = [(0.85 * math.cos(t), 0.15 - rng.uniform(0.72, 0.78) * math.sin(t)) for t in
           (math.pi * i / 16 for i in range(17))]  # fmt: skip
    b.polygon(arc, c)
    for x, y in ((-0.45, -0.12), (0.02, -0.36), (0.44, -0.08), (-0.1, -0.02)):
        b.ellipse(x, y, 0.1, 0.085, shade(c, 1.75), outline=False)


def balloon(b: Brush, rng: random.Random, c: Color) -> None:
    """An oval on a string."""
    sway = rng.uniform(-0.2, 0.2)
    b.stroke([(0, 0.25), (sway, 0.6), (-sway * 0.5, 1)], 0.035, (90, 90, 96))
    b.polygon([(-0.1, 0.32), (0, 0.16), (0.1, 0.32)], shade(c, 0.75))
    b.ellipse(0, -0.35, rng.uniform(0.48, 0.56), 0.62, c)
    b.ellipse(-0.18, -0.56, 0.1, 0.17, shade(c, 1.6), turn=0.4, outline=False)


def umbrella(b: Brush, rng: random.Random, c: Color) -> None:
    """A striped canopy on a stick with a hook."""
    b.stroke([(0, -0.1), (0, 0.8), (0.1, 0.95), (0.24, 0.85)], 0.08, (96, 72, 58))
    for i in range(4):
        a, z = math.pi * (1 - i / 4), math.pi * (1 - (i + 1) / 4)
        wedge = [(0.95 * math.cos(t), 0.05 - 0.85 * math.sin(t)) for t in (a, (a + z) / 2, z)]
        b.polygon([(0, -0.82), *wedge], shade(c, 1.0 if i % 2 else 0.8))


def ball(b: Brush, rng: random.Random, c: Color) -> None:
    """A ball with a light band."""
    turn = rng.uniform(0, math.pi)
    b.ellipse(0, 0.25, 0.72, 0.72, c)
    b.ellipse(0, 0.25, 0.68, 0.2, shade(c, 1.7), turn=turn, outline=False)
    b.ellipse(-0.28, -0.05, 0.13, 0.1, (255, 255, 255), outline=False)


# ---------------------------------------------------------------- in the sky, in one color only


def sun(b: Brush, rng: random.Random, c: Color) -> None:
    """A disc with rays."""
    turn = rng.uniform(0, 0.5)
    for i in range(12):
        t = turn + 2 * math.pi * i / 12
        b.stroke([(0.62 * math.cos(t), 0.62 * math.sin(t)), (0.95 * math.cos(t), 0.95 * math.sin(t))], 0.09, c)
    b.ellipse(0, 0, 0.55, 0.55, shade(c, 1.1))


def moon(b: Brush, rng: random.Random, c: Color) -> None:
    """A crescent, or full with craters."""
    if rng.random() < 0.6:
        outer = [(0.75 * math.cos(t), 0.75 * math.sin(t)) for t in (math.pi * (0.4 + 1.2 * i / 20) for i in range(21))]
        inner = [(0.3 + 0.62 * math.cos(t), 0.62 * math.sin(t)) for t in
                 (math.pi * (1.52 - 1.04 * i / 20) for i in range(21))]  # fmt: skip
        b.polygon(outer + inner, c)
    else:
        b.ellipse(0, 0, 0.7, 0.7, c)
        for x, y, r in ((-0.25, -0.2, 0.14), (0.25, 0.1, 0.18), (-0.1, 0.35, 0.1)):
            b.ellipse(x, y, r, r, shade(c, 0.85), outline=False)


ART: dict[str, Callable[[Brush, random.Random, Color], None]] = {
    f.__name__: f
    for f in (dog, cat, horse, bird, fish, butterfly, house, tree, car, boat, flower, mushroom, balloon, umbrella,
              ball, sun, moon)
}  # fmt: skip


# ---------------------------------------------------------------- places

HORIZON = 0.58  # of the height


def backdrop(place: str, rng: random.Random, size: int) -> Image.Image:
    """Sky and ground of a place: day, night, snow or beach, each in its own light."""
    sky_top, sky_low, ground = {
        "day": ((96, 170, 240), (206, 232, 250), (120, 186, 92)),
        "night": ((10, 14, 44), (44, 48, 100), (30, 52, 48)),
        "snow": ((168, 186, 208), (226, 234, 242), (246, 249, 252)),
        "beach": ((110, 190, 246), (232, 240, 236), (238, 214, 156)),
    }[place]
    light, horizon = rng.uniform(0.85, 1.08), HORIZON + rng.uniform(-0.06, 0.06)
    image = Image.new("RGB", (size, size), shade(ground, min(1.15, light)))
    draw = ImageDraw.Draw(image)
    level = int(horizon * size)
    for y in range(level):
        t = y / level
        draw.line([(0, y), (size, y)], fill=shade(_between(sky_top, sky_low, t), min(1.1, light)))
    _SCENERY[place](draw, rng, size, horizon)
    return image


def _day(draw: ImageDraw.ImageDraw, rng: random.Random, size: int, horizon: float) -> None:
    for _ in range(2):
        x, r = rng.uniform(0, 1), rng.uniform(0.2, 0.45)
        draw.ellipse(_box(x, horizon + r * 0.55, r, size), fill=shade((104, 168, 84), rng.uniform(0.85, 1.05)))
    draw.rectangle((0, int((horizon + 0.02) * size), size, size), fill=shade((120, 186, 92), rng.uniform(0.88, 1.05)))
    for _ in range(rng.randint(0, 3)):
        x, y = rng.uniform(0, 1), rng.uniform(0.05, 0.25)
        for dx, r in ((-0.06, 0.04), (0, 0.06), (0.07, 0.045)):
            draw.ellipse(_box(x + dx, y, r, size), fill=(250, 252, 255))


def _night(draw: ImageDraw.ImageDraw, rng: random.Random, size: int, horizon: float) -> None:
    for _ in range(rng.randint(12, 30)):
        r = rng.uniform(0.002, 0.007)
        draw.ellipse(_box(rng.random(), rng.uniform(0, horizon), r, size), fill=(250, 246, 210))


def _snow(draw: ImageDraw.ImageDraw, rng: random.Random, size: int, horizon: float) -> None:
    for _ in range(rng.randint(1, 3)):
        x, w, h = rng.uniform(0, 1), rng.uniform(0.2, 0.35), rng.uniform(0.15, 0.3)
        foot = horizon * size
        peak = (x * size, foot - h * size)
        draw.polygon([((x - w) * size, foot), peak, ((x + w) * size, foot)], fill=(150, 166, 190))
    for _ in range(rng.randint(15, 40)):
        draw.ellipse(_box(rng.random(), rng.random(), rng.uniform(0.004, 0.01), size), fill=(255, 255, 255))


def _beach(draw: ImageDraw.ImageDraw, rng: random.Random, size: int, horizon: float) -> None:
    top, foot = int((horizon - 0.14) * size), int((horizon + 0.03) * size)
    draw.rectangle((0, top, size, foot), fill=shade((40, 130, 190), rng.uniform(0.9, 1.1)))
    for _ in range(5):
        x, y, w = rng.random(), rng.uniform(horizon - 0.12, horizon), rng.uniform(0.05, 0.15)
        draw.line(
            [((x - w) * size, y * size), ((x + w) * size, y * size)], fill=(190, 226, 240), width=max(1, size // 128)
        )
    for _ in range(rng.randint(3, 10)):
        draw.ellipse(_box(rng.random(), rng.uniform(horizon + 0.08, 1), 0.006, size), fill=(206, 178, 120))


def _box(x: float, y: float, r: float, size: int) -> tuple[float, float, float, float]:
    return (x - r) * size, (y - r) * size, (x + r) * size, (y + r) * size


_SCENERY = {"day": _day, "night": _night, "snow": _snow, "beach": _beach}
