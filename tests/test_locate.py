"""`mmr locate`, `mmr search --crop`, and the page's question where a query is in a picture."""

import json
import tempfile

import numpy as np
import pytest
from PIL import Image
from serving import served
from test_heat import Placed, spotted

from cli.commands import classifying
from cli.output import target
from cli.serve import shown
from retrieval import Retriever
from retrieval.encoders.build import small_encoder
from retrieval.encoders.preprocess import Preprocess
from retrieval.errors import BadRequest
from retrieval.images.regions import Region
from retrieval.search import heat
from retrieval.search.answers import Asked
from terminal import fails, mmr
from toy import ToyEncoder


@pytest.fixture
def beside(photos):
    """A picture that is red on the left and blue on the right, in an index of its own with a red and a blue one."""
    image = Image.new("RGB", (80, 40), (255, 0, 0))
    image.paste((0, 0, 255), (40, 0, 80, 40))
    image.save(photos / "both.png")
    Retriever.build(str(photos), photos / ".mmr", ToyEncoder())[0].close()
    return photos


def test_a_region_of_the_picture_is_what_is_asked_with(beside):
    with Retriever.open(beside / ".mmr", ToyEncoder()) as retriever:
        for text, found in (
            ("0,0,40,40", "red.png"),
            ("50%,0%,50%,100%", "blue é.png"),
            ("0.5,0.0,0.5,1.0", "blue é.png"),
        ):
            asked = Asked(k=1, crop=Region.parse(text, "--crop"))
            assert [hit.uri for hit in retriever.search_many([str(beside / "both.png")], asked)[0]] == [found]
        captioned = Asked(k=1, crop=Region.parse("0,0,40,40", "--crop"))
        assert retriever.captions(str(beside / "both.png"), captioned)[0].caption == "a green field"
        for words in ("red", [str(beside / "both.png"), "+", str(beside / "red.png")]):
            with pytest.raises(BadRequest, match="--crop is of one picture of the query: ask as in mmr search"):
                retriever.search_many([words], captioned)
        with pytest.raises(BadRequest, match="not inside a picture of 80 x 40"):
            retriever.search_many([str(beside / "both.png")], Asked(crop=Region.parse("50,0,40,40", "--crop")))


def test_a_bad_crop_is_one_line_of_wrong_usage(indexed, book):
    for text in ("1,2,3", "0,0,5000,9", "90%,0%,20%,50%"):
        result = mmr("search", book / "000.png", "--index", indexed, "--crop", text)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
    assert mmr("search", "a dog", "--index", indexed, "--crop", "0,0,9,9").exit_code == 2


def test_locate_tells_places_boxes_words_and_draws_a_map(trained, book, tmp_path):
    picture, out = book / "000.png", tmp_path / "map.png"
    result = mmr("locate", picture, "a red dog", "--model", trained, "--json", "--words", "--out", out)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["width"], told["height"], told["grid"], told["query"]) == (48, 48, [2, 2], ["a red dog"])
    assert np.shape(told["scores"]) == (2, 2) and 0 <= told["confidence"] <= 1
    best = told["boxes"][0]
    assert best["score"] == np.max(told["scores"])
    assert 0 <= best["left"] < best["left"] + best["width"] <= 48
    assert [one["word"] for one in told["words"]] == ["a", "red", "dog"]
    with Image.open(out) as drawn:
        assert (drawn.size, drawn.format, drawn.info["Software"]) == ((640, 640), "PNG", target.MARK)
    table = mmr("locate", picture, "a red dog", "--model", trained, "-k", 1, "--out", out)  # it is ours: written again
    assert table.exit_code == 0
    assert table.stdout.split() == ["1", f"{best['score']:.3f}", ",".join(str(best[side]) for side in
                                                                      ("left", "top", "width", "height"))]  # fmt: skip


def test_locate_asks_with_the_encoder_of_the_index_and_items_of_it(indexed, book):
    picture = book / "000.png"
    words = json.loads(mmr("locate", picture, "a dog", "--index", indexed, "--json").stdout)
    item = json.loads(mmr("locate", picture, "id:001.png", "--index", indexed, "--json").stdout)
    assert words["grid"] == item["grid"] == [2, 2]
    assert words["confidence"] is not None and item["confidence"] is None


def test_a_region_is_told_by_the_captions_of_the_index_or_the_bank(book, trained, tmp_path):
    indexed = tmp_path / "captioned.mmr"
    assert mmr("index", f"csv:{book}/pairs.csv", "--index", indexed, "--model", trained).exit_code == 0
    told = json.loads(
        mmr("locate", book / "000.png", "--box", "0,0,24,24", "--index", indexed, "--json", "-k", 3).stdout
    )
    assert (told["from"], told["box"]) == ("captions", {"left": 0, "top": 0, "width": 24, "height": 24})
    assert [one["score"] for one in told["texts"]] == sorted((one["score"] for one in told["texts"]), reverse=True)
    assert told["texts"][0]["text"] in (book / "pairs.csv").read_text("utf-8")
    again = mmr(
        "locate", book / "000.png", "--box", "0,0,24,24", "--index", indexed, "--json", "-k", 3, "--model", trained
    )
    said = json.loads(again.stdout)  # it is the encoder of the index, here in another precision
    assert (said["from"], [one["text"] for one in said["texts"]]) == (
        "captions",
        [one["text"] for one in told["texts"]],
    )
    small_encoder(["a dog"], dim=8, image_size=32).save(tmp_path / "other")
    other = mmr("locate", book / "000.png", "--box", "0,0,24,24", "--index", indexed, "--model", tmp_path / "other")
    assert other.exit_code == 0
    assert f"other is not the encoder of {indexed}, whose captions are left aside" in other.stderr
    bank = mmr("locate", book / "000.png", "--box", "0%,0%,50%,50%", "--model", trained)
    assert bank.exit_code == 0 and len(bank.stdout.splitlines()) == 5
    assert "these are things that people look for" in bank.stderr


def test_it_is_said_where_the_thing_may_not_be_there(trained, book, monkeypatch):
    for sure, said in (
        (0.85, "of other things that people look for, 15% have a place as near (confidence 0.85)"),
        (0.95, ""),
    ):
        monkeypatch.setattr(heat, "confidence", lambda *given, sure=sure: sure)
        result = mmr("locate", book / "000.png", "a dog", "--model", trained)
        assert (result.exit_code, said in result.stderr, "may not be" in result.stderr) == (0, True, bool(said))


def test_what_cannot_be_located_is_one_line_with_what_to_type(trained, book, tmp_path):
    picture, other = book / "000.png", tmp_path / "mine.png"
    other.write_bytes(b"mine")
    for words, said in (
        ((picture,), f'what for, as in mmr locate {picture} "a dog", or'),
        (("a dog",), 'what for, as in mmr locate photo.jpg "a dog", or'),
        ((picture, ""), "what for, as in mmr locate"),
        ((picture, "a dog", "--box", "0,0,9,9"), "give one of them"),
        ((picture, "--box", "0,0,9,9", "--out", "x.png"), "leave out --words and --out"),
        ((picture, "--box", "0,0,9,9", "--words"), "leave out --words and --out"),
        ((picture, "https://x.org/y.jpg"), "https://x.org/y.jpg is an address, and mmr locate fetches none: save"),
        (("https://x.org/y.jpg", "a dog"), "https://x.org/y.jpg is an address, and mmr locate fetches none: save"),
        (("bark.flac", "a dog"), "bark.flac is a sound, which has no places: give a picture"),
        ((picture, "dog", "--words"), "of the one word dog none can be left out"),
        ((picture, "a dog", "-", "a cat", "--words"), "--words is of words alone"),
        ((picture, "a dog", "--out", other), "add --force"),
        ((picture, "a dog", "--out", "map.jpg"), "as in --out map.png"),
        ((picture, "--box", "0,0,900,900"), "not inside a picture of 48 x 48"),
        ((tmp_path / "none.png", "a dog"), "give another picture"),
        ((other, "a dog"), "give another picture"),
    ):
        result = mmr("locate", *words, "--model", trained)
        assert (result.exit_code, result.stdout) == (2, ""), (words, result.output)
        assert said in result.stderr and result.stderr.count("\n") == 1, (words, result.stderr)
    assert other.read_bytes() == b"mine"


def test_a_file_that_cannot_be_written_is_told_before_the_work(trained, book, tmp_path, monkeypatch):
    def fails_to(**given):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", fails_to)
    monkeypatch.setattr(classifying, "encoder_of", lambda *given: pytest.fail("an encoder was asked for"))
    result = mmr("locate", book / "000.png", "a dog", "--model", trained, "--out", tmp_path / "x.png")
    fails(result, 2, "x.png cannot be written (Read-only file system)", "name another file with --out")


def test_an_index_that_is_named_and_not_there_is_told_also_beside_a_model(trained, book, tmp_path):
    for asked in ("a dog", "--box=0,0,9,9"):
        fails(mmr("locate", book / "000.png", asked, "--model", trained, "--index", tmp_path / "no"), 3, "no index at")


def test_a_region_is_not_asked_of_an_index_of_sounds(photos, tmp_path, monkeypatch):
    toy = ToyEncoder()
    Retriever.build(str(photos), tmp_path / "toy.mmr", toy)[0].close()
    toy.preprocess = Preprocess(8, mean=(0.5,), std=(0.5,), seconds=2.0)
    whole = Retriever.open
    monkeypatch.setattr(Retriever, "open", lambda place, encoder, device: whole(place, toy))
    result = mmr("locate", photos / "red.png", "--box", "0,0,9,9", "--index", tmp_path / "toy.mmr")
    fails(result, 2, "is an index of sounds, and a region is seen", "--model builtin")


def test_a_tower_without_patches_is_one_line_with_what_to_type(book, tmp_path):
    small_encoder(["a dog"], dim=8, image_size=32, image={"type": "mlp"}).save(tmp_path / "flat")
    result = mmr("locate", book / "000.png", "a dog", "--model", tmp_path / "flat")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert "no patches to look for words in" in result.stderr
    assert result.stderr.rstrip().endswith("use another, as in --model builtin")


# ---------------------------------------------------------------- the page's server


def test_the_server_says_where_a_query_is_and_which_words_mattered(photos):
    spotted(160, 80, ((255, 0, 0), 120, 40, 30)).save(photos / "spot.png")
    Retriever.build(str(photos), photos / ".mmr", ToyEncoder())[0].close()
    with served(photos / ".mmr", toy=Placed()) as client:
        name = shown.name_of("spot.png")
        told = client.get(f"/api/items/{name}/places", params={"q": ["red"]}).json()
        assert (told["width"], told["height"], told["grid"]) == (160, 80, [8, 16])
        x, y = told["boxes"][0]["peak"]
        assert 120 <= x <= 150 and 40 <= y <= 70
        item = client.get(f"/api/items/{name}/places", params={"q": ["id:red.png"]}).json()
        assert item["boxes"][0]["peak"] == [x, y] and item["confidence"] is None
        why = client.get(f"/api/items/{name}", params={"q": ["red green"]}).json()["why"]
        assert [one["word"] for one in why["terms"][0]["words"]] == ["red", "green"]
        assert client.get(f"/api/items/{name}/places").status_code == 422
        assert client.get(f"/api/items/{shown.name_of('none')}/places", params={"q": ["red"]}).status_code == 404


def test_the_server_says_of_an_encoder_without_places_that_it_has_none(client):
    answer = client.get(f"/api/items/{shown.name_of('red.png')}/places", params={"q": ["red"]})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("use another, as in --model builtin")


def test_a_picture_that_may_not_be_shown_is_not_looked_at(photos, tmp_path):
    index = tmp_path / "elsewhere.mmr"
    Retriever.build(str(photos), index, ToyEncoder())[0].close()
    with served(index, toy=Placed()) as client:
        answer = client.get(f"/api/items/{shown.name_of('red.png')}/places", params={"q": ["red"]})
    assert answer.status_code == 415 and "outside the folder" in answer.json()["error"]
