"""What a source says of pictures that are as they were is taken over, with their vectors and labels left alone."""

import json
import shutil
import sqlite3

import pytest
from older import first

from indexes import Store
from retrieval import Retriever
from retrieval.heads import labels
from retrieval.indexing import changes, renewal
from retrieval.indexing.cards import Card
from retrieval.sources.registry import open_items, parse_uri
from terminal import lines, mmr
from toy import ToyEncoder, picture


@pytest.fixture
def folder(tmp_path):
    """Three pictures, one with a caption beside it, and a table of them."""
    for name, colour in (("a.png", (255, 0, 0)), ("b.png", (0, 255, 0)), ("c.png", (0, 0, 255))):
        picture(tmp_path / "photos" / name, colour)
    (tmp_path / "photos" / "a.txt").write_text("a red square\n")
    (tmp_path / "t.csv").write_text(
        "image,caption,year\nphotos/a.png,one,2001\nphotos/b.png,two,\nphotos/c.png,,2003\n"
    )
    return tmp_path


def indexed(folder, source):
    """Index it; what was done, and how many pictures were encoded."""
    encoder = ToyEncoder()
    retriever, report = Retriever.build(str(folder / source), folder / "i.mmr", encoder)
    retriever.close()
    counts = {name: getattr(report, name) for name in ("added", "changed", "renewed", "moved", "removed", "unchanged")}
    return {name: count for name, count in counts.items() if count}, encoder.images_seen


def held(folder):
    """id -> (card, vector)."""
    with Store.open(folder / "i.mmr") as store:
        rows = store.rows()
        vectors = store.vectors(rows).tolist()
        return {r.id: (Card.of(r), v) for r, v in zip(store.records(rows), vectors, strict=True)}


def test_captions_beside_pictures_are_renewed(folder):
    assert indexed(folder, "photos") == ({"added": 3}, 3)
    before = held(folder)
    (folder / "photos" / "a.txt").write_text("a red square\nred\n")
    (folder / "photos" / "b.txt").write_text("green\n")
    assert indexed(folder, "photos") == ({"renewed": 2, "unchanged": 1}, 0)
    after = held(folder)
    assert {name: card.captions for name, (card, _) in after.items()} == {
        "a.png": ("a red square", "red"), "b.png": ("green",), "c.png": ()
    }  # fmt: skip
    assert {name: vector for name, (_, vector) in after.items()} == {
        name: vector for name, (_, vector) in before.items()
    }
    assert [(card.meta, card.file_fields, card.key) for card, _ in after.values()] == [
        (card.meta, card.file_fields, card.key) for card, _ in sorted_as(after, before)
    ]
    (folder / "photos" / "a.txt").unlink()
    assert indexed(folder, "photos") == ({"renewed": 1, "unchanged": 2}, 0)
    assert held(folder)["a.png"][0].captions == ()
    assert indexed(folder, "photos") == ({"unchanged": 3}, 0)


def sorted_as(one, other):
    return [other[name] for name in one]


def test_columns_are_renewed_and_what_the_file_says_stays(folder):
    indexed(folder, "t.csv")
    (folder / "t.csv").write_text(
        "image,caption,sold,width\nphotos/a.png,one,yes,\nphotos/b.png,two,,7\nphotos/c.png,,,\nphotos/a.png,uno,,\n"
    )
    assert indexed(folder, "t.csv") == ({"renewed": 3}, 0)
    cards = {name: card for name, (card, _) in held(folder).items()}
    assert {name: (card.captions, card.meta) for name, card in cards.items()} == {
        "photos/a.png": (("one", "uno"), {"sold": "yes"}), "photos/b.png": (("two",), {"width": "7"}),
        "photos/c.png": ((), {}),
    }  # fmt: skip
    assert [card.fields["width"] for card in cards.values()] == [8, "7", 8]
    assert indexed(folder, "t.csv") == ({"unchanged": 3}, 0)


def test_labels_stay(folder):
    indexed(folder, "t.csv")
    with Store.open(folder / "i.mmr", write=True) as store:
        rows = store.rows()
        store.add(store.vectors(rows), [labels.written(r, {"seen": "x"}) for r in store.records(rows)])
    table = (folder / "t.csv").read_text()
    (folder / "t.csv").write_text(table.replace("one", "uno"))
    assert indexed(folder, "t.csv") == ({"renewed": 1, "unchanged": 2}, 0)
    assert [card.labels for card, _ in held(folder).values()] == [{"seen": "x"}] * 3


def test_what_cannot_be_compared_as_it_stands_is_the_same_after_all(folder):
    """NaN, tuples of other tools, blank cells: they are not kept, so they are no news."""
    lines = [
        {"image": f"photos/{n}.png", "price": float("nan"), "note": None, "sizes": [1.0, float("inf")]} for n in "ab"
    ]
    (folder / "t.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    indexed(folder, "t.jsonl")
    assert indexed(folder, "t.jsonl") == ({"unchanged": 2}, 0)


def as_older(folder):
    """Write the records as older versions did: all that is said in `meta`, the first caption alone, no `kind`."""
    with sqlite3.connect(folder / "i.mmr" / "mmr.db") as database:
        for row, text in database.execute("SELECT row, fields FROM items").fetchall():
            said = json.loads(text)
            meta = (
                said.get("file", {}) | said.get("meta", {}) | ({"inside": said["inside"]} if "inside" in said else {})
            )
            captions = said.get("caption", [])
            one = captions if isinstance(captions, str) else next(iter(captions), None)
            older = {"uri": said["uri"], "caption": one, "meta": meta, "key": said.get("key")}
            database.execute("UPDATE items SET fields = ? WHERE row = ?", (json.dumps(older), row))
    database.close()
    first(folder / "i.mmr")


@pytest.mark.parametrize("source", ["photos", "t.csv", "p.parquet"])
def test_an_older_index_is_as_it_was_where_its_source_is(folder, source):
    parquet(folder)
    indexed(folder, source)
    as_older(folder)
    assert indexed(folder, source) == ({"unchanged": 3}, 0)


def test_an_older_index_gets_the_captions_that_were_left_out(folder):
    (folder / "t.csv").write_text("image,caption\nphotos/a.png,one\nphotos/a.png,uno\nphotos/b.png,two\n")
    indexed(folder, "t.csv")
    as_older(folder)
    assert indexed(folder, "t.csv") == ({"renewed": 1, "unchanged": 1}, 0)
    assert held(folder)["photos/a.png"][0].captions == ("one", "uno")


def parquet(folder):
    import pyarrow
    import pyarrow.parquet

    rows = [{"image": (folder / "photos" / f"{n}.png").read_bytes(), "caption": n, "width": 3} for n in "abc"]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "p.parquet")


def test_an_exact_look_counts_them_and_takes_them_over(folder):
    indexed(folder, "photos")
    (folder / "photos" / "b.txt").write_text("green\n")
    with Store.open(folder / "i.mmr") as store:
        found = changes.count(store, parse_uri(str(folder / "photos")))
    assert (found.renewed, str(found)) == (1, "1 renewed")
    (told,) = lines(mmr("info", "--index", folder / "i.mmr", "--check", "--json"))
    assert (told["new"], told["changed"], told["renewed"], told["gone"]) == (0, 0, 1, 0)


def test_a_source_that_breaks_off_changes_nothing(folder):
    (folder / "t.jsonl").write_text('{"image": "photos/a.png", "caption": "one"}\n')
    indexed(folder, "t.jsonl")
    before = held(folder)
    (folder / "t.jsonl").write_text('{"image": "photos/a.png", "caption": "uno"}\n{"image": \n')
    with pytest.raises(Exception, match="line 2"):
        indexed(folder, "t.jsonl")
    assert held(folder) == before


def test_it_is_asked_in_few_statements(folder, monkeypatch):
    """Each picture is compared each time: one by one would take as long as all else."""
    for number in range(700):
        shutil.copy(folder / "photos" / "a.png", folder / "photos" / f"{number:03d}.png")
    indexed(folder, "photos")
    with Store.open(folder / "i.mmr", write=True) as store:
        asked = []
        monkeypatch.setattr(type(store), "records", lambda *given: pytest.fail("one by one"))
        real = store.fields_of
        monkeypatch.setattr(store, "fields_of", lambda ids: asked.append(len(ids)) or real(ids))
        assert list(renewal.outdated(store, open_items(str(folder / "photos")))) == []
    assert asked == [500, 203]


def test_the_summary_has_a_word_for_them(folder):
    """Said only where there are any."""
    from cli.commands.indexing import _told
    from retrieval.indexing.update import IndexReport

    told = _told(folder, 2, IndexReport(renewed=2))
    assert told == f"{folder}: 2 pictures (0 new, 0 changed, 2 renewed, 0 moved, 0 removed, 0 as before, 0 skipped)"


def test_labels_stay_where_another_encoder_takes_over(folder):
    indexed(folder, "photos")
    with Store.open(folder / "i.mmr", write=True) as store:
        rows = store.rows()
        store.add(store.vectors(rows), [labels.written(r, {"seen": r.id}) for r in store.records(rows)])
    picture(folder / "photos" / "c.png", (9, 9, 9))
    other = ToyEncoder("another")
    Retriever.build(str(folder / "photos"), folder / "i.mmr", other, another_encoder=True)[0].close()
    assert {name: card.labels for name, (card, _) in held(folder).items()} == {
        "a.png": {"seen": "a.png"}, "b.png": {"seen": "b.png"}, "c.png": {}
    }  # fmt: skip
