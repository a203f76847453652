"""Labels of an index: apart from what the source says, kept while a picture is the same, taken away again."""

import json
import math
import os
import shutil
import sqlite3

import pytest

from indexes import Record, Store
from retrieval import Retriever
from retrieval.errors import BadRequest
from retrieval.heads import labels, propagation
from retrieval.heads.examples import open_examples
from retrieval.indexing.cards import Card
from rows import unit
from terminal import fails, mmr
from toy import ToyEncoder, picture

TWO = "kind,year\na.png,red,2001\nb.png,,2002\nc.png,green,\n"


@pytest.fixture
def index(tmp_path):
    """Three pictures of a table, of which two have a kind; all have a label `predicted_kind`."""
    for name, colour in (("a.png", (255, 0, 0)), ("b.png", (250, 0, 0)), ("c.png", (0, 255, 0))):
        picture(tmp_path / name, colour)
    (tmp_path / "t.csv").write_text(f"image,{TWO}")
    indexed(tmp_path)
    with Store.open(tmp_path / "i.mmr", write=True) as store:
        propagation.fill(store, "kind", neighbors=1)
    return tmp_path / "i.mmr"


def indexed(folder):
    """Index the table of a folder again; what was done."""
    retriever, report = Retriever.build(str(folder / "t.csv"), folder / "i.mmr", ToyEncoder())
    retriever.close()
    return report


def cards(index):
    with Store.open(index) as store:
        return {record.id: Card.of(record) for record in store.records(store.rows())}


def predicted(index):
    return {name: card.labels.get("predicted_kind") for name, card in cards(index).items()}


ALL = {"a.png": "red", "b.png": "red", "c.png": "green"}


def test_a_label_lives_beside_what_the_source_says(index):
    assert predicted(index) == ALL
    assert cards(index)["a.png"].meta == {"kind": "red", "year": "2001"}
    listed = mmr("ls", "--index", index, "--where", "predicted_kind == 'red' and predicted_kind_probability > 0")
    assert listed.stdout.split() == ["a.png", "b.png"]


def test_it_stays_where_a_picture_is_as_it_was_and_goes_where_it_is_another(index, tmp_path):
    assert indexed(tmp_path).unchanged == 3
    assert predicted(index) == ALL
    os.utime(tmp_path / "a.png", (1, 1))  # another time, the same content
    shutil.move(tmp_path / "b.png", tmp_path / "d.png")
    picture(tmp_path / "c.png", (0, 0, 255))
    (tmp_path / "t.csv").write_text(f"image,{TWO}".replace("b.png", "d.png"))
    report = indexed(tmp_path)
    assert (report.moved, report.changed, report.unchanged) == (2, 1, 0)
    assert predicted(index) == {"a.png": "red", "d.png": "red", "c.png": None}


@pytest.mark.parametrize("field", ["year", "kind", "width", "uri", "caption"])
def test_it_never_takes_the_name_of_a_field_of_the_source(index, field):
    before = cards(index)
    with Store.open(index, write=True) as store, pytest.raises(BadRequest, match=f"`{field}` is a field of the source"):
        propagation.fill(store, "kind", field, neighbors=1)
    assert cards(index) == before


def test_nor_one_whose_certainty_would_hide_a_field_or_that_nobody_could_ask_for(tmp_path):
    with Store.create(tmp_path / "i", 4) as store:
        store.add(unit([[1, 0, 0, 0]]), [Card("a", meta={"sure_probability": 1}).record("a", "")])
        with pytest.raises(BadRequest, match="`sure_probability` is a field of the source"):
            labels.require_free(store, "sure")
        for name in ("", " ", "a`b", 'a"b', "a\\b"):
            with pytest.raises(BadRequest, match="cannot be asked for in --where"):
                labels.require_free(store, name)
        labels.require_free(store, "with spaces and 'quotes'")


def test_it_is_taken_away_and_nothing_else(index, tmp_path):
    with Store.open(index) as store:
        before = store.vectors(store.rows())
    done = mmr("label", index, "--remove", "predicted_kind")
    assert (done.exit_code, done.stdout) == (0, f"{index}: predicted_kind removed from 3 items\n")
    assert [card.labels for card in cards(index).values()] == [{}] * 3
    assert cards(index)["a.png"].meta == {"kind": "red", "year": "2001"}
    with Store.open(index) as store:
        assert (store.vectors(store.rows()) == before).all()
        assert store.verify() == []
    assert indexed(tmp_path).unchanged == 3


@pytest.mark.parametrize("name", ["year", "predicted_kidn", "predicted_kind_probability_"])
def test_what_is_no_label_is_not_taken_away(index, name):
    before = cards(index)
    fails(mmr("label", index, "--remove", name), 2, f"has a label `{name}`", "mmr ls")
    assert cards(index) == before


@pytest.mark.parametrize("words", [(), ("head", "--remove", "x"), ("--remove", "x", "--field", "y")])
def test_either_a_head_or_a_name_is_given(index, words):
    fails(mmr("label", index, *words), 2, "say which head", "--remove NAME")


def test_labels_of_an_older_index_are_found_replaced_and_taken_away(tmp_path):
    meta = {"kind": "red", "predicted_kind": "red", "predicted_kind_probability": 1.0}
    older = [
        Record(name, "1", {"uri": name, "meta": meta if name == "a" else meta | {"kind": "green"}}) for name in "ab"
    ]
    with Store.create(tmp_path / "i", 4) as store:
        store.add(unit([[1, 0, 0, 0], [0, 1, 0, 0]]), older)
    assert len(mmr("ls", "--index", tmp_path / "i", "--where", "predicted_kind == 'red'").stdout.split()) == 2
    with Store.open(tmp_path / "i", write=True) as store:
        assert propagation.fill(store, "kind", neighbors=1)[1] == 2
    assert {name: card.labels["predicted_kind"] for name, card in cards(tmp_path / "i").items()} == {
        "a": "red", "b": "green"
    }  # fmt: skip
    assert mmr("label", tmp_path / "i", "--remove", "predicted_kind").exit_code == 0
    with sqlite3.connect(tmp_path / "i" / "mmr.db") as database:
        (left,) = database.execute(
            "SELECT count(*) FROM items WHERE died IS NULL AND fields LIKE '%predicted%'"
        ).fetchone()
    database.close()
    assert left == 0


# ---------------------------------------------------------------- what is a label


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (None, None), (math.nan, None), ("", None), ("  ", None), ("a ", "a"), (1, "1"), (1.0, "1"), (-0.0, "0"),
        (0.5, "0.5"), (True, "True"), (1e300, "1e+300"), ("1.0", "1.0"), ("nan", "nan"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_a_label_as_text(value, label):
    assert labels.text_of(value) == label


def test_absent_labels_are_no_class_and_one_number_is_one(tmp_path):
    values = [1, 1.0, math.nan, None, "", 2, "2", "nan"]
    lines = [json.dumps({"image": f"{n}.png", "label": value}) for n, value in enumerate(values)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    single = open_examples(str(tmp_path / "t.jsonl"), "label")
    assert (single.labels, single.unlabeled) == (["1", "1", "2", "2", "nan"], 3)
    numbers = [json.dumps({"image": f"{n}.png", "label": v}) for n, v in enumerate([1, "2.5", math.nan, None, " "])]
    (tmp_path / "n.jsonl").write_text("\n".join(numbers))
    assert open_examples(str(tmp_path / "n.jsonl"), "label", "number").labels == [1, 2.5]


def test_what_is_absent_in_a_list_of_labels_is_none_of_them(tmp_path):
    values = [["a", None, math.nan, ""], [1, 1.0, 2], "a|b", [None], 3.0]
    lines = [json.dumps({"image": f"{n}.png", "label": value}) for n, value in enumerate(values)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    several = open_examples(str(tmp_path / "t.jsonl"), "label", "multiple")
    assert [sorted(names) for names in several.labels] == [["a"], ["1", "2"], ["a", "b"], ["3"]]
    assert several.unlabeled == 1
