"""Where things are in photographs, and whether they are there: photographs whose names say what they show.

    python -m eval.bench.places PHOTOS           # `builtin`, files called n01443537_goldfish.JPEG: three minutes

`4 to 1` and the like: the middle of each photo, 150 pixels a side, is pasted at one of three places on another photo,
stretched to a height of 400 and so many times its width, and asked for by its name. `ours` is the share of peaks on it,
`whole` the same in one look at all of the picture. `no note at 0.9`: each photo is asked for what it shows and for ten
names of others; of both the share whose confidence is not below, of photos of even and of odd places.
"""

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from eval.bench import say
from retrieval.search.heat import Places, confidence

if TYPE_CHECKING:
    from retrieval.encoders.encoder import DualEncoder

SIDE, HEIGHT, RATIOS, OTHERS = 150, 400, (1.0, 1.5, 2.0, 4.0, 8.0), 10
NOTES = (0.5, 0.7, 0.9, 0.95)
_NAME = re.compile(r"(?:n\d+_)?(.+)")


def read(folder: Path) -> tuple[list[Image.Image], list[str]]:
    """The photos of a folder, and what each shows."""
    files = sorted(folder.glob("*.JPEG"))
    names = [match[1].replace("_", " ") for file in files if (match := _NAME.fullmatch(file.stem))]
    return [Image.open(file).convert("RGB") for file in files], [f"a {name}" for name in names]


def pasted(thing: Image.Image, ground: Image.Image, ratio: float, place: int) -> tuple[Image.Image, int, int]:
    """The middle of a photo on another one, and where its upper left is. place: 0 to 2 from the left."""
    side = min(thing.size)
    left, top = (thing.width - side) // 2, (thing.height - side) // 2
    whole = ground.resize((round(HEIGHT * ratio), HEIGHT))
    x, y = (whole.width - SIDE) * place // 2, (HEIGHT - SIDE) // 2
    whole.paste(thing.crop((left, top, left + side, top + side)).resize((SIDE, SIDE)), (x, y))
    return whole, x, y


def right(encoder: "DualEncoder", photos: Sequence[Image.Image], asked: np.ndarray, ratio: float) -> dict[str, float]:
    """The shares of peaks that lie on the thing."""
    found: dict[str, list[bool]] = {"ours": [], "whole": []}
    for number, (thing, vector) in enumerate(zip(photos, asked, strict=True)):
        image, x, y = pasted(thing, photos[number - len(photos) // 2], ratio, number % 3)
        whole = Places(encoder.encode_places([image])[0], *image.size)
        for name, seen in (("ours", Places.of(image, encoder)), ("whole", whole)):
            across, down = seen.heat(vector).boxes()[0].peak
            found[name].append(x <= across <= x + SIDE and y <= down <= y + SIDE)
    return {name: round(float(np.mean(one)), 3) for name, one in found.items()}


def sure(
    encoder: "DualEncoder", photos: Sequence[Image.Image], words: Sequence[str], asked: np.ndarray
) -> Iterator[tuple[int, bool, float]]:
    """(photo, is it there, confidence) of what each photo shows and of ten others."""
    draw = random.Random(0)
    for number, photo in enumerate(photos):
        seen = Places.of(photo, encoder)
        others = draw.sample([other for other, word in enumerate(words) if word != words[number]], OTHERS)
        for one in (number, *others):
            yield number, one == number, confidence(seen, seen.heat(asked[one]), encoder)


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="builtin")
    given = parser.parse_args()
    from retrieval import load_encoder

    encoder = load_encoder(given.model)
    photos, words = read(given.photos)
    asked = encoder.encode_texts(words)
    for ratio in RATIOS:
        say(json.dumps({"name": f"places, {ratio:g} to 1"} | right(encoder, photos, asked, ratio)))
    told = list(sure(encoder, photos, words, asked))
    for half, name in enumerate(("even", "odd")):
        for least in NOTES:
            silent = [
                [value >= least for at, there, value in told if at % 2 == half and there == so] for so in (True, False)
            ]
            shares = {
                key: round(float(np.mean(one)), 3) for key, one in zip(("present", "absent"), silent, strict=True)
            }
            say(json.dumps({"name": f"no note at {least}, {name}"} | shares))


if __name__ == "__main__":
    main()
