"""A rectangle of a picture, as a person gives it: in pixels, in percent or in shares of the upright picture's sides.

120,80,200,150        left, top, width and height in pixels
10%,20%,50%,50%       in percent of the picture's sides
0.1,0.2,0.5,0.5       in shares of them: a point says so
"""

import math
import re
from dataclasses import dataclass

from PIL import Image

from retrieval.errors import BadRequest

LEAST_SIDE = 8  # pixels: less shows nothing
_NUMBER = re.compile(r"\d{1,7}(?:\.\d{0,12})?|\.\d{1,12}", re.ASCII)
_SLACK = 1e-6  # shares that were divided and rounded may end a little behind the edge


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle. shares: its numbers are shares of the picture's sides, else pixels."""

    left: float
    top: float
    width: float
    height: float
    shares: bool

    @classmethod
    def parse(cls, text: str, option: str) -> "Region":
        """LEFT,TOP,WIDTH,HEIGHT as a person types it. Raises BadRequest, which names the option."""
        parts = [part.strip() for part in text.split(",")]
        percent = [part.endswith("%") for part in parts]
        numbers = [part.removesuffix("%").rstrip() for part in parts]
        if len(parts) != 4 or any(percent) != all(percent) or not all(map(_NUMBER.fullmatch, numbers)):
            raise _no_region(text, option)
        if any(percent):
            return cls.of_shares(*(float(number) / 100 for number in numbers), text=text, option=option)
        if "." in text:
            return cls.of_shares(*map(float, numbers), text=text, option=option)
        left, top, width, height = map(float, numbers)
        return cls(left, top, width, height, shares=False)

    @classmethod
    def of_shares(
        cls, left: float, top: float, width: float, height: float, *, text: str, option: str
    ) -> "Region":  # fmt: skip
        """A rectangle in shares of the sides. Raises BadRequest where it is empty or not all in the picture."""
        if not all(map(math.isfinite, (left, top, width, height))):
            raise _no_region(text, option)
        inside = 0 <= left < 1 and 0 <= top < 1 and left + width <= 1 + _SLACK and top + height <= 1 + _SLACK
        if not (inside and width > 0 and height > 0):
            raise BadRequest(
                f"{_short(text)} is not inside the picture: left and width, and top and height, add up to at most 100% "
                f"or 1.0, as in {option} 10%,20%,50%,50%"
            )
        return cls(left, top, width, height, shares=True)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels of a picture of that size.

        Raises BadRequest where it is not all inside, or too small to show anything.
        """
        across, down = (width, height) if self.shares else (1, 1)
        left, top = round(self.left * across), round(self.top * down)
        right, bottom = round((self.left + self.width) * across), round((self.top + self.height) * down)
        if right > width or bottom > height or left >= width or top >= height:
            raise BadRequest(
                f"a region from {left},{top} to {right},{bottom} is not inside a picture of {width} x {height} pixels: "
                "give a smaller one, or percent, as in 10%,20%,50%,50%"
            )
        if right - left < LEAST_SIDE or bottom - top < LEAST_SIDE:
            raise BadRequest(
                f"a region of {right - left} x {bottom - top} pixels shows nothing: give a larger one, of at least "
                f"{LEAST_SIDE} pixels a side"
            )
        return left, top, right, bottom

    def of(self, image: Image.Image) -> Image.Image:
        """What it shows of a picture. Raises BadRequest as `box` does."""
        return image.crop(self.box(*image.size))


def _no_region(text: str, option: str) -> BadRequest:
    return BadRequest(
        f"{_short(text)} is no region: give left, top, width and height in pixels or percent, as in "
        f"{option} 120,80,200,150 or {option} 10%,20%,50%,50%"
    )


def _short(text: str) -> str:
    return repr(text if len(text) < 60 else f"{text[:60]}...")
