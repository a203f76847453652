"""`mmr demo`: the main job on drawn scenes, told as it happens."""

import dataclasses
import re
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli import usage
from cli.output import sheet, show, target
from cli.output.hits import table
from eval import evaluate
from retrieval import Retriever, TrainConfig, open_pairs, packages, recipes
from retrieval.datatypes import Hit, Pair
from retrieval.encoders.encoder import DualEncoder
from retrieval.errors import BadRequest
from retrieval.indexing import catalog
from retrieval.sources import picturebook
from retrieval.sources.picturebook import Scene
from retrieval.sources.picturebook_questions import is_true, shelf
from retrieval.training.loop import train

HELD_OUT, SIZE = 500, 192
SHOWN, RIGHT = 10, 20  # answers to a question that are looked at; right ones that are there at least
BESIDE = 0.8  # minutes for all that is not learning
MORE_MINUTES = 10  # what is spoken of at the end
SCENES, RUN, INDEX, SHEET = "scenes", "run", "index.mmr", "sheet.html"  # what a demo makes
_DRAWN = re.compile(r"test-\d{5}\.(png|txt)")
PRETRAINED = "efficientnet-lite2"
QUERIES = ("a dog", "a red car", "two birds", "a house at night", "a boat to the left of a tree")


def run(out: Path, device: str, seed: int, force: bool, minutes: float) -> None:
    """Make the folder: scenes/, run/, index.mmr/ and sheet.html."""
    started = time.monotonic()
    _make_room(out, force)
    encoder = _learn(out / RUN, device, seed, minutes)
    there = dict(shelf(QUERIES, HELD_OUT, RIGHT, "test", seed))
    show.note(f"drawing {len(there)} scenes to be found: {HELD_OUT}, and those that the questions below are about")
    folder = _draw(out / SCENES, there)
    report = evaluate(encoder, open_pairs(f"picturebook:{HELD_OUT}?split=test&captions=full&seed={seed}&size={SIZE}"))
    show.out(f"{report}\n")
    retriever, _ = Retriever.build(f"folder:{folder}", out / INDEX, encoder, device)
    with retriever:
        asked = [*QUERIES, str(folder / "test-00000.png")]
        sections = [_answer(retriever, query) for query in asked]
    lines = table_of({section.query: section.hits for section in sections[: len(QUERIES)]}, there)
    show.out("\n".join(["", *lines, ""]))
    sheet.write(out / SHEET, "mmr demo: held-out scenes", sections, "\n".join([str(report), "", *lines]))
    show.out(f"contact sheet: {out / SHEET}")
    show.note(f"{time.monotonic() - started:.0f} s in all")
    _say_next(out, minutes)


@dataclass(frozen=True, slots=True)
class Way:
    """How a demo learns. a_minute: scenes that are learned in one, on two slow cores. most: scenes that there are at
    most; with more minutes than that takes they are seen more often. thought, drawn: the share of the work by when
    scenes are thought of, and drawn (and looked at, by a tower that looks once)."""

    recipe: Callable[[int], TrainConfig]
    a_minute: int
    most: int
    thought: float
    drawn: float

    def scenes_in(self, minutes: float) -> tuple[int, float]:
        """How many scenes to learn from, and how many times as often as usual each is seen, if it may take so long."""
        many = max(480, round((minutes - BESIDE) * self.a_minute))
        return min(many, self.most), round(max(1.0, many / self.most), 2)


FEATURES = Way(recipes.demo, 3_000, 10_000, 0.05, 0.5)
FROM_SCRATCH = Way(recipes.demo_from_scratch, 16_000, 60_000, 0.15, 0.35)


def way() -> Way:
    """With a pretrained picture tower, where its package is installed."""
    return FEATURES if packages.is_installed(packages.PACKAGES[PRETRAINED]) else FROM_SCRATCH


def _learn(out: Path, device: str, seed: int, minutes: float) -> DualEncoder:
    """Think of scenes, draw them and train on them, under one line that says how long all three will take."""
    chosen = way()
    count, times = chosen.scenes_in(minutes)
    config = chosen.recipe(count)
    config = dataclasses.replace(config, epochs=config.epochs * times)
    config = config.settings([f"seed={seed}", f"device={device}"])
    known = "from scratch" if chosen is FROM_SCRATCH else f"beside what {PRETRAINED} knows of pictures"
    show.note(f"learning from {count} drawn scenes, {known}")
    with show.Meter("learning") as meter:
        pairs = _think(count, seed, config.image_size, lambda done: _show(meter, 0, chosen.thought, done))
        result = train(
            pairs, out, config, on_message=meter.say,
            on_decode=lambda done, of: _show(meter, chosen.thought, chosen.drawn, done / of),
            on_step=lambda p: _show(
                meter, chosen.drawn, 1, p.share or 0, f", loss {p.loss:.3f} (chance {p.chance:.2f})"
            ),
        )  # fmt: skip
    return result.encoder


def _think(count: int, seed: int, size: int, on_scene: Callable[[float], None]) -> list[Pair]:
    """The scenes to learn from, not drawn yet, with their captions. on_scene: told the share of them that is there."""
    pairs: list[Pair] = []
    items: set[str] = set()
    for item, caption in picturebook.rows(str(count), {"seed": str(seed), "size": str(size)}):
        pairs.append(Pair(item, caption))
        if item.id not in items:
            items.add(item.id)
            on_scene(len(items) / count)
    return pairs


def _show(meter: show.Meter, begins: float, ends: float, done: float, text: str = "") -> None:
    """Show how far a part of the work is, of which `done` is done. begins, ends: the share of the whole by then."""
    share = begins + (ends - begins) * done
    meter(min(999, int(1000 * share)) if share < 1 else 1000, 1000, text, share)


def table_of(found: Mapping[str, Sequence[Hit]], there: Mapping[int, Scene]) -> list[str]:
    """How many of the first answers to each question are right, by the scenes' descriptions, beside chance."""
    lines = [f"{'right of the first ' + str(SHOWN):<36}{'':>8}{'by chance':>12}"]
    for question, hits in found.items():
        right = {number: is_true(question, scene) for number, scene in there.items()}
        first = [right[_number(hit)] for hit in hits[:SHOWN]]
        share = sum(right.values()) / len(right)
        lines.append(f"  {question:<34}{f'{sum(first)} of {len(first)}':>8}{share * len(first):>12.1f}")
    return lines


def _number(hit: Hit) -> int:
    return int(Path(hit.uri).stem.removeprefix("test-"))


def _say_next(out: Path, minutes: float) -> None:
    if minutes < MORE_MINUTES:
        (more, often), (now, usual) = (way().scenes_in(longer) for longer in (MORE_MINUTES, minutes))
        times = more * often / (now * usual)
        show.out(
            f"with more time it looks at scenes {times:.0f} times as often: "
            f"{usage.called()} demo --minutes {MORE_MINUTES} --force --out {shlex.quote(str(out))}"
        )
    show.out(f'ask it yourself: {usage.called()} search "a cat" --index {shlex.quote(str(out / INDEX))}')
    if activation := usage.activation():
        show.out(f"to type `mmr` alone: {activation}")


def _answer(retriever: Retriever, query: str) -> sheet.Section:
    found = retriever.search(query, 10, by="meaning")  # what was learned, not what is written beside the scenes
    show.out(f"{query}")
    table(found[:5])
    pictures = (Path(query),) if query.endswith(".png") else ()
    return sheet.Section(query, found, catalog.allowed(retriever.store), pictures=pictures)


def _make_room(out: Path, force: bool) -> None:
    target.check_place(out, "--out")
    if out.exists() and not out.is_dir():
        raise BadRequest(f"{out} is a file: give another --out")
    if out.is_dir() and any(out.iterdir()):
        ours = _is_demo(out)
        if not (force and ours):
            hint = "remove it, or give --force" if ours else "give another --out"
            raise BadRequest(f"{out} is there already: {hint}")
        shutil.rmtree(out)


def _is_demo(out: Path) -> bool:
    """Does a folder hold a demo, whole or not, and nothing else?"""
    if out.is_symlink() or {path.name for path in out.iterdir()} - {SCENES, RUN, INDEX, SHEET}:
        return False
    drawn = list((out / SCENES).iterdir()) if (out / SCENES).is_dir() else []
    return all(_DRAWN.fullmatch(path.name) and path.is_file() for path in drawn)


def _draw(folder: Path, there: Mapping[int, Scene]) -> Path:
    """The scenes as files, each with its caption beside it."""
    folder.mkdir(parents=True)
    for number, scene in there.items():
        scene.draw(SIZE).save(folder / f"test-{number:05d}.png")
        (folder / f"test-{number:05d}.txt").write_text(scene.full_caption() + "\n", "utf-8")
    return folder
