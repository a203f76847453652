"""Text in pictures: how much of drawn text `mmr index --ocr` reads, by the height of its letters, and what it costs.

    python -m eval.bench.ocr                                  # English words and numbers, three fonts, three seeds
    python -m eval.bench.ocr --font CJK.ttf --words names.txt # lines of your own, in a font that has their letters
    python -m eval.bench.ocr --photos FOLDER                  # also: photographs said to have text, and their cost

Each picture has ten lines of words and numbers drawn by code on a page of 1600 x 1200 pixels, as many pages a height as
there are fonts and seeds: black on white, and as a bad photograph (dark gray on gray, turned by two degrees, blurred,
noisy, a JPEG of quality 40). The accuracy of characters is 1 less the edits that make what was read of
what was drawn (Levenshtein), for each character drawn; spaces and ends of lines do not count. What is timed is what
indexing asks for: the processor time of a guarded process, from the file to its text (on Linux; elsewhere the time that
passes). Nothing was chosen on these pages.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from eval.bench import note, say
from retrieval.datatypes import Item
from retrieval.encoders import builtin
from retrieval.images import guard, kinds, load

HEIGHTS, SEEDS, LINES, SIZE = (8, 10, 12, 16, 24, 40), 3, 10, (1600, 1200)
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")
FITS = 34  # characters of a line at the largest height


def words(seed: int, known: Sequence[str]) -> list[str]:
    """Lines of words, every third with a number."""
    draw = random.Random(seed)
    lines = []
    for number in range(LINES):
        line = draw.choice(known)
        while number % 3 and len(longer := f"{line} {draw.choice(known)}") <= FITS:
            line = longer
        lines.append(line if number % 3 else f"{line[: FITS - 9]} {draw.randint(10, 99999)}")
    return lines


def page(lines: Sequence[str], font: Path, height: int, harmed: bool, seed: int) -> Image.Image:
    """The lines on a page."""
    image = Image.new("RGB", SIZE, (150, 150, 150) if harmed else "white")
    draw, letters = ImageDraw.Draw(image), ImageFont.truetype(font, height)
    for number, line in enumerate(lines):
        draw.text((90, 90 + number * 2.2 * height), line, fill=(60, 60, 60) if harmed else "black", font=letters)
    return _harmed(image, seed) if harmed else image


def _harmed(image: Image.Image, seed: int) -> Image.Image:
    turned = image.rotate(2, Image.Resampling.BICUBIC, fillcolor=(150, 150, 150)).filter(ImageFilter.GaussianBlur(0.7))
    noise = np.random.default_rng(seed).normal(0, 10, (*SIZE[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(turned) + noise, 0, 255).astype(np.uint8))


def edits(one: str, other: str) -> int:
    """The fewest characters to put in, take out or change that make one text the other (Levenshtein 1966)."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        last, row[0] = row[0], place
        for at, its in enumerate(other, 1):
            last, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, last + (letter != its))
    return row[-1]


def accuracy(drawn: Sequence[str], read: str) -> tuple[int, int]:
    """(edits, characters), of all but white space."""
    wanted = "".join("".join(drawn).split())
    return edits("".join(read.split()), wanted), len(wanted)


def timed(item: Item) -> tuple[str, float]:
    """The text of an item, and the milliseconds that it took."""
    started = _clock()
    text = load.text(item)
    return text, 1000 * (_clock() - started)


def _clock() -> float:
    """Seconds of the processes that read, or of the clock."""
    try:
        parts = [Path(f"/proc/{one.process.pid}/stat").read_text("utf-8") for one in guard.readers.idle]
    except OSError:
        return time.perf_counter()
    return sum(sum(map(int, part.rpartition(")")[2].split()[11:13])) for part in parts) / os.sysconf("SC_CLK_TCK")


def measure(height: int, harmed: bool, fonts: Sequence[Path], known: Sequence[str]) -> None:
    """The line of a height of letters, in pixels."""
    seeds, took = [], []
    for seed in range(SEEDS):
        wrong = total = 0
        for font in fonts:
            lines = words(seed, known)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / ("page.jpg" if harmed else "page.png")
                page(lines, font, height, harmed, seed).save(file, quality=40)
                text, milliseconds = timed(Item("page", file.name, file))
            more, characters = accuracy(lines, text)
            wrong, total = wrong + more, total + characters
            took.append(milliseconds)
        seeds.append(100 * (1 - wrong / total))
    say(json.dumps({
        "name": f"ocr-{height}px{'-harmed' if harmed else ''}", "characters_right": round(statistics.mean(seeds), 2),
        "spread": round(max(seeds) - min(seeds), 2), "ms": round(statistics.median(took)), "pages": len(took),
    }))  # fmt: skip


def photographs(folder: Path, count: int) -> None:
    """The line of real pictures: how many are said to have text, and what they take."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in kinds.PICTURES)
    chosen = random.Random(0).sample(files, min(count, len(files)))
    found = [timed(Item(str(file), str(file), file)) for file in chosen]
    for file, (text, _) in zip(chosen, found, strict=True):
        if text:
            note(f"{file.name}: {text!r}")
    say(json.dumps({
        "name": "ocr-photographs", "pictures": len(found), "with_text": sum(bool(text) for text, _ in found),
        "ms": round(statistics.median(took for _, took in found)),
    }))  # fmt: skip


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--font", type=Path, help="in place of the three that come with matplotlib")
    parser.add_argument("--words", type=Path, help="a file with a word or name a line, in place of ImageNet's classes")
    parser.add_argument("--photos", type=Path, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=200, help="of those photographs")
    args = parser.parse_args()
    load.require_reader()
    anchors = (anchor.text for anchor in builtin.read_anchors()[0][:1000])
    known = args.words.read_text("utf-8").splitlines() if args.words else list(anchors)
    own = Path(matplotlib.get_data_path()) / "fonts/ttf"
    fonts = [args.font] if args.font else [own / name for name in FONTS]
    timed(Item("first", "first", lambda: Image.new("RGB", (64, 64))))  # the process is started
    for harmed in (False, True):
        for height in HEIGHTS:
            measure(height, harmed, fonts, known)
    if args.photos:
        photographs(args.photos, args.count)


if __name__ == "__main__":
    main()
