"""Clips as heads see them: frames pooled to one vector, found by words, classified. Real clips, where they are."""

import csv
import shutil

import pytest

from retrieval import Retriever, load_encoder, open_pairs, recipes
from retrieval.heads.config import HeadConfig
from retrieval.heads.prepare import prepare, train_head
from retrieval.images import load
from retrieval.training.loop import train

pytest.importorskip("av", reason="pip install 'mmr-retrieval[video]'")
SIGNS = [f"intel/asl_gestures/{name}.mkv" for name in ("milk", "brother", "hungry", "help", "student", "thanks")]
PATTERNS = [f"torchcodec/testsrc2{name}" for name in (".mp4", "_odd_width_vp9.mp4", "_vp9.webm", "_vp8.webm",
                                                      "_odd_height_and_width_mpeg2.mp4")]  # fmt: skip
SAID = {"sign": "a person makes a gesture", "pattern": "a coloured test pattern"}


@pytest.fixture
def clips(shared, tmp_path):
    """A table of the clips, every other one to learn from; and one of frames of those, as pairs."""
    rows, frames = [["image", "caption", "kind", "split"]], [["image", "caption"]]
    for kind, names in (("sign", SIGNS), ("pattern", PATTERNS)):
        for number, name in enumerate(names):
            copy = tmp_path / f"{kind}{number}{name[name.rindex('.') :]}"
            shutil.copy(shared / "videos" / name, copy)
            rows.append([copy.name, SAID[kind], kind, "test" if number % 2 else "train"])
            for at, frame in enumerate(load.frames(copy, 4) if number % 2 == 0 else []):
                frame.resize((64, 48)).save(tmp_path / f"{copy.stem}_{at}.png")
                frames.append([f"{copy.stem}_{at}.png", SAID[kind]])
    for name, lines in (("clips.csv", rows), ("frames.csv", frames)):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    return tmp_path


def test_a_clip_is_found_by_words_and_classified(clips):
    recipe = recipes.smoke()
    train(open_pairs(str(clips / "frames.csv")), clips / "run", recipe.settings(["epochs=15", "batch_size=8"]))
    encoder = load_encoder(str(clips / "run"))
    held = f"csv:{clips / 'clips.csv'}?split=test"
    retriever, _ = Retriever.build(held, clips / "i.mmr", encoder)
    found = retriever.search(SAID["pattern"], k=5)
    assert {hit.id[:7] for hit in found[:2]} == {"pattern"}
    learn = prepare(f"csv:{clips / 'clips.csv'}?split=train", "kind", "single", encoder, inputs=["image"], learn=True)
    assert learn.inputs.vectors["image"].shape == (6, encoder.dim)  # one vector a clip
    head, _ = train_head(learn, encoder, HeadConfig(fusion="image", head="prototypes", validation=0.0))
    test = prepare(held, "kind", "single", encoder, inputs=["image"])
    assert [answer[0] for answer in head.labels(test.inputs)] == test.examples.labels
