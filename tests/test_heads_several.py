"""Several labels at once: each is learned, rows that lack one still teach the others, each is a head of its own."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import BadRequest
from retrieval.heads import several
from retrieval.heads.config import HeadConfig
from retrieval.heads.head import load_head
from retrieval.heads.prepare import train_head
from terminal import mmr
from toy import ToyEncoder

FAST = HeadConfig(width=16, epochs=20, lr=2e-2, dropout=0.0)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture
def table(tmp_path):
    """36 pictures with a colour (missing in every fourth) and whether they are warm; one row has neither."""
    rows = [["image", "caption", "colour", "kind"]]
    for number in range(36):
        colour = list(COLOURS)[number % 3]
        Image.new("RGB", (8, 8), tuple(max(0, part - 3 * number) for part in COLOURS[colour])).save(
            tmp_path / f"{number}.png"
        )
        rows.append([f"{number}.png", f"a {colour} one", "" if number % 4 == 0 else colour,
                     "warm" if colour == "red" else "cold"])  # fmt: skip
    rows[5][2:] = ["", ""]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(tmp_path / "rows.csv")


@pytest.mark.parametrize("weights", ["", "1,0.5"])
def test_every_label_is_learned_from_the_rows_that_have_it(table, tmp_path, weights):
    toy = ToyEncoder()
    rows = several.prepare_several(table, ["colour", "kind"], toy)
    assert len(rows.prepared) == 35
    assert toy.images_seen == 35  # encoded once, not once a label
    made = several.train_several(rows, toy, dataclasses.replace(FAST, task_weights=weights))
    for head, score in made:
        known = np.array([label is not None for label in rows.labels[head.column]])
        said = [answer[0] for answer in head.labels(rows.prepared.inputs)]
        right = [a == b for a, b, there in zip(said, rows.labels[head.column], known, strict=True) if there]
        assert np.mean(right) == 1.0
        assert score == 1.0
        head.save(tmp_path / head.column)
        again = load_head(tmp_path / head.column)
        assert np.array_equal(again.scores(rows.prepared.inputs), head.scores(rows.prepared.inputs))
    first, second = (head.module.body for head, _ in made)
    assert first is second


def test_what_cannot_be_shared_is_said_before_anything_is_encoded(table):
    toy = ToyEncoder()
    for config, message in (
        (HeadConfig(fusion="graph"), "knows one label"), (HeadConfig(head="ridge"), "knows one label"),
    ):  # fmt: skip
        with pytest.raises(BadRequest, match=message):
            several.check(config, ["colour", "kind"])
    with pytest.raises(BadRequest, match="one weight for each of colour, kind"):
        several.train_several(several.prepare_several(table, ["colour", "kind"], toy), toy,
                              dataclasses.replace(FAST, task_weights="1"))  # fmt: skip
    with pytest.raises(BadRequest, match="one label shares nothing"):
        train_head(several.prepare_several(table, ["kind"], toy).prepared, toy, dataclasses.replace(FAST, shared=8))
    with pytest.raises(BadRequest, match="cannot name a folder"):
        several.columns_of("colour,../kind")


def test_on_the_command_line(trained, table, tmp_path):
    out = tmp_path / "heads"
    made = mmr("head", "train", trained, table, "--label", "colour,kind", "--out", out, "--set", "epochs=2")
    assert made.exit_code == 0, made.output
    assert [line.split()[0] for line in made.stdout.splitlines()] == [str(out / "colour"), str(out / "kind")]
    report = json.loads(mmr("head", "eval", out / "kind", table, "--json").stdout)
    assert set(report["per_class"]) == {"warm", "cold"}
    again = mmr("head", "train", trained, table, "--label", "colour,kind", "--out", out)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    for wrong in (["--fusion", "stacking"], ["--regression"], ["--set", "concepts=none.csv"]):
        failed = mmr("head", "train", trained, table, "--label", "colour,kind", "--out", tmp_path / "x", *wrong)
        assert failed.exit_code == 2, wrong
    assert not (tmp_path / "x").exists()
