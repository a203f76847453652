"""Records as cards: what they keep, under whatever names it was said; and as older versions wrote them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes import BadFilter, Record, Store, filters
from retrieval import Retriever
from retrieval.datatypes import Item
from retrieval.exchange import import_into, open_collection
from retrieval.indexing import fields
from retrieval.indexing.cards import Card, card_of, record_of
from retrieval.sources import within
from retrieval.sources.within import InTable, InTar, OnWeb
from terminal import mmr
from toy import ToyEncoder, picture

TEXTS = st.text(st.characters(codec=None), max_size=8)  # half surrogates too: odd bytes of names
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).map(str.strip).filter(bool)
VALUES = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS.filter(bool)
SAID = st.dictionaries(TEXTS, VALUES, max_size=3)
PLACES = [InTar("s.tar", "x.png", 512, 68), InTable("t.parquet", 3, "image"), OnWeb("https://a/b.jpg")]
CARDS = st.builds(
    Card, TEXTS.filter(bool), st.lists(WORDS, max_size=3).map(tuple), SAID, st.none() | TEXTS.filter(bool),
    st.sampled_from(["picture", "clip"]), st.none() | st.sampled_from(PLACES), SAID, SAID,
)  # fmt: skip


def written(record):
    """A record as it comes back from the disk."""
    return Record(record.id, record.stamp, json.loads(json.dumps(record.fields)))


@given(CARDS)
def test_a_card_comes_back_from_its_record(card):
    record = card.record("id", "stamp")
    assert (record.id, record.stamp) == ("id", "stamp")
    assert Card.of(written(record)) == card


@given(CARDS, CARDS)
def test_what_is_no_card_of_a_record_stays_when_it_is_written_again(before, now):
    old = before.record("old", "1", {"of a newer version": 0})
    new = now.record("new", "2", old.fields)
    assert Card.of(new) == now
    assert new.fields["of a newer version"] == 0


def test_what_heads_say_comes_beside_what_the_source_says():
    card = Card("a.png", ("a dog",), {"year": 2011, "kind": "dog"}, "key", labels={"sure": 0.5})
    said = card.labelled({"predicted_kind": "cat", "sure": 0.7})
    assert said == replace(card, labels={"predicted_kind": "cat", "sure": 0.7})
    assert said.fields == {"year": 2011, "kind": "dog", "predicted_kind": "cat", "sure": 0.7}


def test_of_one_name_the_source_counts_before_the_file_and_that_before_heads():
    card = Card("a", meta={"a": 1}, file_fields={"a": 2, "b": 2}, labels={"a": 3, "b": 3, "c": 3})
    assert card.fields == {"a": 1, "b": 2, "c": 3}


def test_one_caption_is_a_text_and_several_are_a_list():
    assert Card("a", ("one",)).record("a", "").fields["caption"] == "one"
    assert Card("a", ("one", "two")).record("a", "").fields["caption"] == ["one", "two"]
    assert "caption" not in Card("a", ("", " ")).record("a", "").fields
    assert (Card("a").caption, Card("a", ("one", "two")).caption) == (None, "one")


# ---------------------------------------------------------------- names that were taken


@pytest.mark.parametrize(
    "other",
    ["yes", 1, None, [], {}, {"room": "kitchen"}, {"url": 3}, {"file": "s.tar"}, {"url": "u", "more": 1}, {"url": "u"}],
)
def test_a_column_of_any_name_is_a_column(other):
    said = dict.fromkeys(("inside", "kind", "key", "video", "meta", "labels", "uri", "caption", "file"), other)
    card = Card.of(written(record_of(Item("x", "x.png", Path("x.png"), meta=said))))
    assert (card.meta, card.within, card.kind) == (fields.kept(said), None, "picture")


@pytest.mark.parametrize("place", PLACES)
def test_where_a_picture_lies_is_no_column(place):
    item = Item("x", "x", lambda: b"", meta={"inside": "a house"}, within=place)
    card = Card.of(written(record_of(item)))
    assert (card.within, card.meta) == (place, {"inside": "a house"})
    with_root = SimpleNamespace(path=Path("/p/.mmr"), manifest={"root": "."})
    assert card.path(with_root) is None
    assert replace(card, within=None).path(with_root) == "/p/x"


def test_what_has_other_fields_than_a_place_is_none():
    assert [within.from_json(said) for said in ("yes", None, [], {}, {"url": 3}, {"url": "u", "more": 1})] == [None] * 6


def test_hits_of_a_table_with_columns_of_such_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(Path("photos/one.png"))
    Path("t.csv").write_text("image,inside,video,key,kind,file\nphotos/one.png,yes,no,k1,cat,f\n")
    retriever, _ = Retriever.build("t.csv", "i.mmr", ToyEncoder())
    with retriever:
        (hit,) = retriever.search("red")
        for name, value in {"inside": "yes", "video": "no", "key": "k1", "kind": "cat", "file": "f"}.items():
            assert len(retriever.search("red", where=f"{name} == '{value}'")) == 1
        assert retriever.search("red", where="key is null") == []
        with pytest.raises(BadFilter, match="no item has a field `meta`, `labels`, only"):
            retriever.search("red", where="meta is not null or labels is not null")
    assert (hit.path, hit.kind, hit.within) == (str(tmp_path / "photos" / "one.png"), "picture", None)
    assert {name: hit.meta[name] for name in ("inside", "video", "kind")} == {
        "inside": "yes", "video": "no", "kind": "cat"
    }  # fmt: skip


# ---------------------------------------------------------------- plain JSON


def test_what_says_nothing_is_not_kept():
    said = {"a": math.nan, "b": math.inf, "c": None, "d": "", "e": b"x", "f": [1, math.nan], "g": {"h": -math.inf}}
    assert fields.kept(said) == {"f": [1, None], "g": {"h": None}}
    assert fields.kept({"zero": 0, "no": False, 3: "three", "half": 0.5}) == {
        "zero": 0, "no": False, "3": "three", "half": 0.5
    }  # fmt: skip


def test_lists_in_lists_without_end_are_not_kept():
    deep = []
    for _ in range(500):
        deep = [deep]
    assert json.dumps(fields.plain(deep)).count("[") < 40


@given(
    st.recursive(st.none() | st.floats() | st.booleans() | TEXTS, lambda of: st.lists(of) | st.dictionaries(TEXTS, of))
)
def test_every_value_is_json_when_it_is_kept(value):
    kept = fields.kept({"value": value})
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept
    assert fields.kept(kept) == kept


def test_a_card_of_an_item_is_that_of_its_record():
    item = Item("x", "x.png", Path("gone.png"), ("a", "b"), meta={"price": math.nan, "n": (1, 2)}, file_fields={"w": 1})
    assert card_of(item) == Card.of(written(record_of(item)))


# ---------------------------------------------------------------- older versions


def test_records_of_other_tools_say_little():
    assert Card.of(Record("a", "1", {"uri": "a.png"})) == Card("a.png")
    assert Card.of(Record("a", "1", {"uri": "a.png", "caption": "", "meta": {}})) == Card("a.png")
    assert Card.of(Record("by its id")).uri == "by its id"
    assert Card("a.png").record("a", "1").fields == {"uri": "a.png", "kind": "picture"}


@pytest.mark.parametrize("place", PLACES)
def test_an_older_record_has_its_place_and_its_labels_among_the_columns(place):
    meta = {"year": 1, "inside": place._asdict(), "width": 9, "predicted_year": "2", "predicted_year_probability": 0.5}
    card = Card.of(Record("x", "1", {"uri": "x", "caption": "c", "meta": meta, "key": "k"}))
    labels = {"predicted_year": "2", "predicted_year_probability": 0.5}
    assert card == Card("x", ("c",), {"year": 1}, "k", "picture", place, {"width": 9}, labels)
    assert Card.of(written(card.record("x", "1"))) == card


def test_an_older_record_of_a_clip_is_one_by_its_name():
    video = {"video": True, "seconds": 2.0}
    assert Card.of(Record("a", "1", {"uri": "a.mp4", "meta": video})).kind == "clip"
    assert Card.of(Record("a", "1", {"uri": "a.png", "meta": {"video": "yes", "inside": "yes"}})).kind == "picture"
    assert Card.of(Record("a", "1", {"uri": "a.png", "meta": {"inside": "yes"}})).meta == {"inside": "yes"}


# ---------------------------------------------------------------- numbers that are none


def test_reported_fields_that_are_no_numbers(shared, tmp_path):
    index, source = tmp_path / "i.mmr", str(shared / "reports" / "nan_fields.parquet")
    Retriever.build(source, index, ToyEncoder())[0].close()
    with Retriever.open(index, ToyEncoder()) as retriever:
        found = [retriever.search("red", where=where) for where in ("colour == 'red'", "price is null", "price > 0")]
        assert [sorted(hit.id for hit in hits) for hits in found] == [["0", "1", "3"], ["1", "2"], ["0", "3"]]
        assert len(retriever.search("id:1")) == 3
        assert retriever.search("red", inside="nowhere") == []
    listed = mmr("ls", "--index", index, "--json").stdout.splitlines()
    prices = [json.loads(line, parse_constant=pytest.fail)["fields"].get("price") for line in listed]
    assert prices == [1.5, None, None, 3.0]
    assert mmr("rm", "--index", index, "--where", "price is null", "--yes").exit_code == 0
    assert mmr("ls", "--index", index).stdout.split() == ["0", "3"]


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_what_is_imported_has_no_such_numbers_either(tmp_path, name):
    rows = [{"key": "a", "price": math.nan, "sizes": [1.0, math.inf]}, {"key": "b", "price": 2.0, "sizes": [3.0]}]
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float32))
    if name.endswith("parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
    else:
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    import_into(tmp_path / "i.mmr", open_collection("npy", tmp_path / "v.npy", None, tmp_path / name), "toy:x")
    with Store.open(tmp_path / "i.mmr") as store:
        assert [Card.of(record).fields for record in store.records(store.rows())] == [
            {"sizes": [1.0, None]}, {"price": 2.0, "sizes": [3.0]}
        ]  # fmt: skip
        assert len(store.rows(filters.parse("price is null", inside=("meta",)))) == 1
