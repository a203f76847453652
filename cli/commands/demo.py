"""`mmr demo`: the main job on drawn scenes, told as it happens."""

import re
import shlex
import shutil
import time
from pathlib import Path

from cli import usage
from cli.output import sheet, show, target
from cli.output.hits import table
from eval import evaluate
from retrieval import Retriever, open_pairs, recipes
from retrieval.errors import BadRequest
from retrieval.indexing import catalog
from retrieval.sources.picturebook import scenes
from retrieval.training.loop import train

TRAINING, HELD_OUT, SIZE = 8000, 500, 192
SCENES, RUN, INDEX, SHEET = "scenes", "run", "index.mmr", "sheet.html"  # what a demo makes
_DRAWN = re.compile(r"test-\d{5}\.(png|txt)")
QUERIES = ("a dog", "a red car", "two birds", "a house at night", "a boat to the left of a tree")


def run(out: Path, device: str, seed: int, force: bool) -> None:
    """Make the folder: scenes/, run/, index.mmr/ and sheet.html."""
    started = time.monotonic()
    _make_room(out, force)
    show.note(f"drawing {TRAINING} scenes to learn from and {HELD_OUT} held-out ones")
    pairs = open_pairs(f"picturebook:{TRAINING}?split=train&seed={seed}&size=64")
    full = open_pairs(f"picturebook:{HELD_OUT}?split=test&captions=full&seed={seed}&size=64")
    folder = _draw_held_out(out / SCENES, seed)

    config = recipes.demo(TRAINING).settings([f"seed={seed}", f"device={device}"])
    with show.Meter("training") as meter:
        result = train(
            pairs, out / RUN, config, on_message=meter.say,
            on_step=lambda p: meter(p.step, p.steps, f", loss {p.loss:.3f} (chance {p.chance:.2f})"),
        )  # fmt: skip
    encoder = result.encoder

    report = evaluate(encoder, full)
    show.out(f"{report}\n")
    retriever, _ = Retriever.build(f"folder:{folder}", out / INDEX, encoder, device)
    with retriever:
        asked = [*QUERIES, str(folder / "test-00000.png")]
        sections = [_answer(retriever, query) for query in asked]
    sheet.write(out / SHEET, "mmr demo: held-out scenes", sections, str(report))
    show.out(f"contact sheet: {out / 'sheet.html'}")
    show.note(f"{time.monotonic() - started:.0f} s in all")
    show.out(f'ask it yourself: {usage.called()} search "a cat" --index {shlex.quote(str(out / "index.mmr"))}')
    if activation := usage.activation():
        show.out(f"to type `mmr` alone: {activation}")


def _answer(retriever: Retriever, query: str) -> sheet.Section:
    found = retriever.search(query, 10)
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


def _draw_held_out(folder: Path, seed: int) -> Path:
    """The held-out scenes as files, each with its captions beside it."""
    folder.mkdir(parents=True)
    for number, scene in enumerate(scenes(HELD_OUT, "test", seed)):
        scene.draw(SIZE).save(folder / f"test-{number:05d}.png")
        (folder / f"test-{number:05d}.txt").write_text(scene.full_caption() + "\n", "utf-8")
    return folder
