"""A query in a language that the encoder does not read is said; one that it may read never is."""

import csv
import json
from pathlib import Path

import pytest

from retrieval import Retriever
from retrieval.encoders import manifest
from retrieval.packages import PACKAGES
from retrieval.search.alphabets import LANGUAGES
from retrieval.search.languages import known_to, unread
from terminal import mmr
from toy import ToyEncoder, picture

SIXTEEN = PACKAGES["use"].languages
EMOJI = Path(__file__).parent.parent.parent / "shared/data/emoji/labels.csv"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("एक कुत्ता", "Hindi, Marathi or Nepali"),
        ("একটি কুকুর", "Bengali"),
        ("ஒரு நாய்", "Tamil"),
        ("ένας σκύλος", "Greek"),
        ("כלב על החוף", "Hebrew or Yiddish"),
        ("ძაღლი", "Georgian"),
        ("շուն", "Armenian"),
        ("ውሻ", "Amharic or Tigrinya"),
        ("một con chó chạy trên bãi cỏ", "Vietnamese"),
        ("їжак на траві", "Ukrainian"),
        ("ایک کتا گھاس پر دوڑ رہا ہے ڑ", "Urdu"),
        ("egy kutya a fűben", ""),  # one word of four: it could be a name
        ("fű", "Hungarian"),
        ("kutya fűben", "Hungarian"),
    ],
)
def test_scripts_and_letters_that_none_of_the_sixteen_has_tell_a_language(text, expected):
    assert unread(text, SIXTEEN) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a dog", "ein Mädchen über der Straße", "un garçon à la plage", "niño pequeño", "żółty pies", "köpek ağaç ışık",
        "собака ест ёлку", "كلب على الشاطئ", "犬が走る", "一只狗", "一隻狗", "개가 뛴다", "หมาวิ่ง",  # its own
        "smörgåsbord", "café in Zürich", "naïve", "jalapeño",  # taken over
        "portrait of Dvořák", "Škoda", "Erdős Pál", "Huế",  # names
        "a bowl of phở on a table", "the letter α", "β", "π = 3.14", "№ 5 ½ €", "🐕", "", "123", "…",  # signs
        "ｄｏｇ", "cafe\u0301", "𝐝𝐨𝐠", "ﬁsh", "ｲﾇ", "\u202edog", "Ꮳ",  # other forms, unknown scripts
        "yuèbǐng",  # pinyin
    ],
)  # fmt: skip
def test_what_may_be_read_is_never_accused(text):
    assert unread(text, SIXTEEN) == ""


def test_an_encoder_of_english_alone():
    assert unread("一只狗", ["en"]) == "Chinese, Japanese or Korean"
    assert unread("いぬ", ["en"]) == "Japanese"
    assert unread("собака", ["en"]) != ""
    assert unread("straße", ["en"]) == "German"
    assert unread("café", ["en"]) == ""
    assert unread("犬", ["zh-TW"]) == ""


def test_what_is_not_known_is_not_said():
    assert unread("कुत्ता", ()) == ""
    assert unread("कुत्ता", ["en", "xx"]) == ""  # whose letters are not known here
    assert known_to(ToyEncoder()) == ()


def test_where_many_languages_have_such_letters_the_letters_are_named():
    assert unread("čaj", SIXTEEN) == "a language with č"
    assert unread("ງ̌ कुत्ता ᏣᎳᎩ", ["en"]).endswith("letters")


def test_every_language_reads_its_own_letters():
    for code, language in LANGUAGES.items():
        pinyin = ["en"] if code == "zh" else []  # its Latin letters count where another's do
        assert unread(" ".join([language.letters, language.loans]), [code, *pinyin]) == "", code


@pytest.mark.skipif(not EMOJI.exists(), reason=f"no {EMOJI}")
def test_names_in_known_languages_raise_no_alarm_and_most_others_do():
    with EMOJI.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def told(code):
        names = [row[f"name_{code}"] for row in rows]
        return sum(bool(unread(name, SIXTEEN)) for name in names) / len(names)

    known = "en en-gb de es es-mx fr it ja ko nl pl pt ru th zh zh-hant".split()
    assert {code: told(code) for code in known} == dict.fromkeys(known, 0)
    silent = "da fi ms nb sv".split()  # whose letters others have or take over
    assert {code: told(code) for code in silent} == dict.fromkeys(silent, 0)
    assert told("bn") == 1
    assert told("hi") > 0.99
    assert told("vi") > 0.6
    assert told("uk") > 0.35


# ---------------------------------------------------------------- said


class Speaker(ToyEncoder):
    name, languages = "speaker", ("en", "de")


@pytest.fixture
def retriever(tmp_path):
    picture(tmp_path / "pictures" / "a.png")
    built, _ = Retriever.build(str(tmp_path / "pictures"), tmp_path / "i", Speaker())
    with built:
        yield built


def test_a_retriever_says_it_once_a_language_and_answers_all_the_same(retriever):
    said = []
    found = retriever.search_many(["कुत्ता", "a dog", "बिल्ली", ["a dog", "+", "σκύλος"]], on_message=said.append)
    assert [len(hits) for hits in found] == [1, 1, 1, 1]
    assert said == [
        "`कुत्ता` looks like Hindi, Marathi or Nepali, which speaker does not read: answers may be chance, "
        "ask in one of en, de",
        "`σκύλος` looks like Greek, which speaker does not read: answers may be chance, ask in one of en, de",
    ]
    assert len(retriever.search("कुत्ता", on_message=said.append)) == 1
    assert len(said) == 3


def test_items_and_pictures_have_no_language(retriever, tmp_path):
    said = []
    retriever.search("id:a.png", on_message=said.append)
    retriever.search(str(tmp_path / "pictures" / "a.png"), on_message=said.append)
    assert said == []


def test_the_command_line_says_it_on_stderr_and_its_exit_code_is_the_same(retriever, tmp_path, monkeypatch):
    monkeypatch.setattr("cli.commands.searching._given", lambda model, device: Speaker())
    retriever.close()
    found = mmr("search", "कुत्ता", "--index", tmp_path / "i", "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["uri"] == "a.png"
    assert found.stderr.splitlines() == [
        "`कुत्ता` looks like Hindi, Marathi or Nepali, which speaker does not read: answers may be chance, "
        "ask in one of en, de"
    ]
    assert mmr("search", "a dog", "--index", tmp_path / "i", "--json").stderr == ""


# ---------------------------------------------------------------- known without torch, and kept


def test_a_run_and_its_export_know_the_languages_and_older_ones_know_none(tmp_path, monkeypatch):
    from retrieval.encoders import onnx_export
    from retrieval.encoders.build import small_encoder
    from retrieval.encoders.load import load_encoder
    from retrieval.encoders.query_encoder import QueryEncoder

    monkeypatch.setenv("MMR_CACHE", str(tmp_path / "cache"))
    encoder = small_encoder(["a red dog"], dim=8, image_size=16, image={"width": 4}, text={"width": 8, "layers": 0})
    before = encoder.fingerprint
    encoder.languages = ("en", "zh-TW")
    encoder.forget_fingerprint()
    assert encoder.fingerprint == before  # they decide no vector
    encoder.save(tmp_path / "run")
    again = load_encoder(str(tmp_path / "run"))
    assert again.languages == ("en", "zh-TW")
    assert again.fingerprint == before
    assert QueryEncoder(onnx_export.export(again), lambda: again).languages == ("en", "zh-TW")

    said = json.loads((tmp_path / "run" / "encoder.json").read_text("utf-8"))
    del said["languages"]  # what was written before
    (tmp_path / "run" / "encoder.json").write_text(json.dumps(said), "utf-8")
    assert manifest.of_run(tmp_path / "run" / "encoder.json").languages == ()
    assert load_encoder(str(tmp_path / "run")).languages == ()


@pytest.mark.parametrize(("freeze", "kept"), [("text", ("en",)), ("image", ()), ("", ())])
def test_a_text_tower_that_learns_is_not_known_to_read_those_alone_any_more(freeze, kept):
    from retrieval import recipes
    from retrieval.encoders.build import small_encoder
    from retrieval.training import setup

    encoder = small_encoder(["a red dog"], dim=8, image_size=16, image={"width": 4}, text={"width": 8})
    encoder.languages = ("en",)
    config = recipes.smoke().settings([f"freeze={freeze}"] if freeze else [])
    setup._choose_what_is_trained(encoder, config)
    assert encoder.languages == kept
