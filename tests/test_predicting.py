"""`mmr classify` and `mmr head predict` of one picture, of several, and of folders; names with commas."""

import json

import pytest

from retrieval.heads.several import columns_of
from retrieval.settings import listed
from terminal import fails, lines, mmr


def test_names_that_the_encoder_does_not_read_are_said(trained, book, monkeypatch):
    asked = ("classify", book / "001.png", "--model", trained, "--labels", "कुत्ता,बिल्ली,a dog", "--json")
    assert mmr(*asked).stderr == ""  # what it reads is not known
    monkeypatch.setattr("cli.commands.predicting.encoder_of", _of_english(trained))
    result = mmr(*asked)
    assert len(lines(result)) == 3
    assert result.stderr.count("does not read") == 1
    assert "`कुत्ता` looks like Hindi, Marathi or Nepali" in result.stderr


def _of_english(run):
    from retrieval import load_encoder

    encoder = load_encoder(str(run))
    encoder.languages = ("en",)
    return lambda name, device: encoder


@pytest.fixture
def head(trained, book, tmp_path):
    """One that tells a from b by nothing."""
    rows = "".join(f"{book}/{n:03d}.png,it,{'ab'[n % 2]}\n" for n in range(12))
    (tmp_path / "rows.csv").write_text(f"image,caption,letter\n{rows}")
    words = ("--label", "letter", "--fusion", "image", "--out", tmp_path / "heads" / "letter", "--set", "epochs=1")
    assert mmr("head", "train", trained, tmp_path / "rows.csv", *words).exit_code == 0
    return tmp_path / "heads" / "letter"


def test_names_between_commas():
    assert listed("a dog, a cat ,,a dog") == ["a dog", "a cat"]
    assert listed('"red, white", blue,5" pipe') == ["red, white", "blue", '5" pipe']
    assert listed('"say ""hi"", you"') == ['say "hi", you']
    assert listed(" , ") == []
    assert columns_of('"a,b",c') == ["a,b", "c"]


def test_each_of_several_pictures_has_a_line(trained, photos, book):
    (photos / "bad.jpg").write_text("no picture")
    options = ("--model", trained, "--labels", '"red, white",blue', "--labels", "a dog")
    asked = ("classify", photos, book / "001.png", *options)
    result = mmr(*asked, "--json")
    told = lines(result, 4)
    assert [one["picture"] for one in told] == [
        str(photos / "blue é.png"), str(photos / "red.png"), str(photos / "more" / "green.jpg"), str(book / "001.png")
    ]  # fmt: skip
    assert "1 skipped:\n  " in result.stderr
    assert f"{photos / 'bad.jpg'}: not a picture" in result.stderr
    for one in told:
        assert {answer["label"] for answer in one["answers"]} == {"red, white", "blue", "a dog"}
        shares = [answer["probability"] for answer in one["answers"]]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert shares == sorted(shares, reverse=True)
    table = mmr(*asked)
    assert [line.split("  ")[0] for line in table.stdout.splitlines()] == [one["picture"] for one in told]
    assert all(one["answers"][0]["label"] in line for one, line in zip(told, table.stdout.splitlines(), strict=True))
    alone = lines(mmr("classify", book / "001.png", *options, "--json"))
    assert alone == [{"rank": rank, **answer} for rank, answer in enumerate(told[3]["answers"], 1)]
    assert len(lines(mmr("classify", book / "001.png", book / "001.png", *options, "--json"))) == 1


def test_a_head_says_of_each(head, photos, book):
    (photos / "bad.jpg").write_text("no picture")
    result = mmr("head", "predict", head, photos, book / "001.png", "-k", 2, "--json")
    told = lines(result, 4)
    assert [one["picture"] for one in told][-1] == str(book / "001.png")
    assert len(told) == 4
    assert {answer["label"] for answer in told[0]["answers"]} == {"a", "b"}
    alone = lines(mmr("head", "predict", head, book / "001.png", "-k", 2, "--json"))
    assert [one["label"] for one in alone] == [answer["label"] for answer in told[3]["answers"]]
    fails(mmr("head", "predict", head, photos, "--text", "a shirt"), 2, "are of one picture")


def test_pictures_of_which_none_decodes(trained, head, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("no picture")
    (tmp_path / "empty").mkdir()
    for asked in (("classify", "--model", trained, "--labels", "a,b"), ("head", "predict", head)):
        result = mmr(*asked, tmp_path / "a.jpg", tmp_path / "b.jpg")
        fails(result, 2, "none of the pictures decodes")
        assert "2 skipped:" in result.stderr
        fails(mmr(*asked, tmp_path / "a.jpg"), 2, "not a picture", "give another picture")
        assert mmr(*asked, tmp_path / "empty").exit_code == 2
        assert mmr(*asked, tmp_path / "none.jpg").exit_code == 2


def test_a_folder_of_several_heads_names_them(head):
    message = f"holds several heads: give one of {head}"
    fails(mmr("head", "eval", head.parent, "rows.csv"), 3, message)
    fails(mmr("head", "predict", head.parent, "x.png"), 3, message)


@pytest.mark.parametrize("key", ["format", "names", "dims", "encoder", "fingerprint"])
def test_a_head_without_a_key_is_damaged(head, key):
    manifest = json.loads((head / "head.json").read_text())
    del manifest[key]
    (head / "head.json").write_text(json.dumps(manifest))
    fails(mmr("head", "predict", head, "x.png"), 3, "is damaged", "restore it or train again")
