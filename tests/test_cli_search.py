"""`mmr search` as a person meets it: words, pictures, sums of them; the forms of answers and what is done with them."""

import csv
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from terminal import fails, lines, mmr


def test_index_then_search(indexed, book):
    result = mmr("search", "a dog", "--index", indexed, "-k", 3, "--json")
    hits = lines(result)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert list(hits[0]) == ["rank", "score", "uri", "path", "caption", "captions", "kind"]
    assert Path(hits[0]["path"]) == book / hits[0]["uri"]
    assert hits[0]["score"] >= hits[1]["score"] >= hits[2]["score"]

    table = mmr("search", "a", "dog", "--index", indexed, "-k", 3).stdout.splitlines()
    assert [line.split()[0] for line in table] == ["1", "2", "3"]
    assert hits[0]["uri"] in table[0]


def test_search_by_picture_leaves_the_picture_out(indexed, book):
    result = mmr("search", book / "003.png", "--index", indexed, "--json")
    hits = lines(result)
    assert len(hits) == 10
    assert "003.png" not in {hit["uri"] for hit in hits}


def test_search_again_finds_the_same_as_brute_force(indexed, book, trained):
    from retrieval import load_encoder, open_items
    from retrieval.images.load import load

    encoder = load_encoder(str(trained))
    items = list(open_items(str(book)))
    scores = encoder.encode_images([load(item) for item in items]) @ encoder.encode_texts(["two cats"])[0]
    expected = [items[i].uri for i in np.argsort(-scores)[:5]]
    result = mmr("search", "two cats", "--index", indexed, "-k", 5, "--json")
    assert lines(result)[0]["uri"] == expected[0]


def test_where_leaves_what_meets_it(indexed, trained, tmp_path, book):
    rows = [line.split(",", 1)[0] for line in (book / "pairs.csv").read_text().splitlines()[1:]]
    names = sorted(set(rows))[:6]
    table = "image,year,colour\n" + "".join(
        f"{name},{2010 + i},{'Red' if i % 2 else 'Blue'}\n" for i, name in enumerate(names)
    )
    (book / "fields.csv").write_text(table)
    assert mmr("index", f"csv:{book}/fields.csv", "--index", tmp_path / "i", "--model", trained).exit_code == 0
    asked = ("search", "a dog", "--index", tmp_path / "i", "--json", "--where")
    found = mmr(*asked, "year >= 2011 and colour == 'Red'")
    assert {hit["uri"] for hit in lines(found)} == {names[1], names[3], names[5]}
    nothing = mmr(*asked, "year > 3000")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    fails(mmr(*asked, "year >="), 2, "--where 'year >='", "a value is expected at position 8", "write, say")


def test_approximate_search_from_the_command_line(photos, trained, tmp_path, monkeypatch):
    from indexes.approximate.derived import Derived
    from retrieval.indexing import approximate

    index = ("--index", tmp_path / "i")
    small = mmr("index", photos, *index, "--model", trained, "--recall", "0.9")
    assert small.exit_code == 0
    assert "3 pictures are searched exactly" in small.stderr
    fails(mmr("index", photos, *index, "--memory", "lots"), 2, "--memory lots is no size", "--memory 4G")
    monkeypatch.setattr(approximate, "LEAST_ROWS", 3)
    fails(mmr("index", photos, *index, "--memory", "10"), 3, "no index of 3 rows fits", "give --memory 1M")
    monkeypatch.setattr(
        "indexes.approximate.tune.candidates", lambda *asked: [type("Candidate", (), {"spec": "IVF1,Flat"})]
    )
    made = mmr("index", photos, *index, "--recall", "0.9")
    assert made.exit_code == 0, made.stderr
    assert "IVF1,Flat: recall@10 of 1.000 on text (0.9 asked)" in made.stderr
    held = json.loads(mmr("info", *index, "--json").stdout)
    assert (held["search"], held["recall asked"], held["not merged"]) == ("IVF1,Flat", 0.9, 0)
    asked = []
    real = Derived.search
    monkeypatch.setattr(Derived, "search", lambda *given: asked.append(1) or real(*given))
    for words, approximately in ((), 1), (("--exact",), 0):
        asked.clear()
        assert len(mmr("search", "a dog", *index, *words, "--json").stdout.splitlines()) == 3
        assert len(asked) == approximately


def test_a_contact_sheet_has_the_pictures_inside(indexed, tmp_path):
    sheet = tmp_path / "sheet.html"
    assert mmr("search", "<b>", "--index", indexed, "-k", 2, "--html", sheet).exit_code == 0
    page = sheet.read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_a_sum_leaves_its_pictures_out(indexed, book):
    query = ("2:a dog", "+", book / "003.png", "-", "id:004.png")
    found = lines(mmr("search", *query, "--index", indexed, "-k", 58, "--json"))
    assert len(found) == 58
    assert {"003.png", "004.png"} & {hit["uri"] for hit in found} == set()
    fails(mmr("search", "a dog", "-", "--index", indexed), 2, "nothing follows `-`")
    fails(mmr("search", "a", "-", "a", "--index", indexed), 2, "cancel out")
    fails(mmr("search", "http://127.0.0.1:1/a.jpg", "--index", indexed), 2, "add --urls")
    fails(mmr("search", "http://127.0.0.1:1/a.jpg", "--urls", "--index", indexed), 2, "cannot be fetched")


def test_each_form_says_the_same(indexed):
    asked = ("search", "a dog", "--index", indexed, "-k", 3)
    found = lines(mmr(*asked, "--json"))
    assert [row["path"] for row in csv.DictReader(mmr(*asked, "--csv").stdout.splitlines())] == [
        hit["path"] for hit in found
    ]
    assert mmr(*asked, "--csv").stdout.splitlines()[0] == "rank,score,uri,path,caption"
    assert mmr(*asked, "--paths").stdout == "".join(f"{hit['path']}\n" for hit in found)
    assert mmr(*asked, "-0").stdout == mmr(*asked, "--paths", "--null").stdout
    assert mmr(*asked, "-0").stdout == "".join(f"{hit['path']}\0" for hit in found)
    fails(mmr(*asked, "--json", "--csv"), 2, "--json and --csv", "give one")


def test_confidence_is_told_where_it_is_asked_for(indexed):
    asked = ("search", "a dog", "--index", indexed, "-k", 3)
    found = lines(mmr(*asked, "--json", "--min-confidence", 0))
    assert list(found[0]) == ["rank", "score", "uri", "path", "caption", "captions", "kind", "confidence"]
    assert all(0 <= hit["confidence"] <= 1 for hit in found)
    assert "%" in mmr(*asked, "--min-confidence", 0).stdout
    for limit in (("--min-confidence", 1), ("--min-score", 2)):
        nothing = mmr(*asked, *limit)
        assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (1, "", "no good match\n")
    fails(mmr(*asked, "--min-confidence", 3), 2, "not between 0 and 1")


def test_queries_of_a_file(indexed, tmp_path):
    (tmp_path / "q.txt").write_text("a dog\n\ntwo cats - a dog\n")
    asked = ("search", "--index", str(indexed), "-k", "2", "--json", "--queries")
    found = lines(mmr(*asked, tmp_path / "q.txt"))
    assert [hit["query"] for hit in found] == ["a dog"] * 2 + ["two cats - a dog"] * 2
    alone = lines(mmr("search", "two cats", "-", "a dog", "--index", indexed, "-k", 2, "--json"))
    assert [hit["uri"] for hit in found[2:]] == [hit["uri"] for hit in alone]
    piped = mmr(*asked, "-", typed="a dog\ntwo cats - a dog\n")
    assert lines(piped) == found
    table = mmr("search", "--index", indexed, "-k", 2, "--queries", tmp_path / "q.txt").stdout.splitlines()
    assert (table[0], table[3], len(table)) == ("a dog", "two cats - a dog", 6)
    fails(mmr(*asked, tmp_path / "none"), 2, "No such file", "--queries")
    fails(mmr(*asked, tmp_path), 2, "Is a directory", "--queries")
    fails(mmr(*asked, tmp_path / "q.txt", "a", "query"), 2, "give one")
    fails(mmr(*asked, tmp_path / "q.txt", "--open"), 2, "for one query")
    (tmp_path / "bad.txt").write_text("a dog\na +\n")
    fails(mmr(*asked, tmp_path / "bad.txt"), 2, "line 2 of", "nothing follows `+`")


def test_a_picture_finds_captions(trained, book, tmp_path):
    assert mmr("index", book / "pairs.csv", "--index", tmp_path / "i", "--model", trained).exit_code == 0
    found = lines(mmr("search", book / "003.png", "--captions", "--index", tmp_path / "i", "-k", 4, "--json"))
    assert len({hit["caption"] for hit in found}) == 4
    assert found[0]["score"] >= found[3]["score"]


@pytest.mark.parametrize("way", ["--copy-to", "--link-to"])
def test_answers_become_files_of_a_new_folder(indexed, tmp_path, way):
    asked = ("search", "a dog", "--index", indexed, "-k", 3)
    found = lines(mmr(*asked, "--json", way, tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{hit['rank']:03d}_{hit['uri']}" for hit in found
    ]
    for hit in found:
        made = tmp_path / "out" / f"{hit['rank']:03d}_{hit['uri']}"
        assert made.read_bytes() == Path(hit["path"]).read_bytes()
        assert made.is_symlink() == (way == "--link-to")
    before = sorted((tmp_path / "out").iterdir())
    fails(mmr(*asked, way, tmp_path / "out"), 2, "is there already")
    assert sorted((tmp_path / "out").iterdir()) == before
    fails(mmr(*asked, way, tmp_path / "none" / "out"), 2, "no folder", "make it first")
    (tmp_path / "empty").mkdir()
    assert mmr(*asked, way, tmp_path / "empty").exit_code == 0


def test_what_is_gone_is_said_and_the_rest_is_copied(photos, trained, tmp_path):
    assert mmr("index", photos, "--model", trained).exit_code == 0
    (photos / "red.png").unlink()
    asked = ("search", "a dog", "--index", photos / ".mmr")
    copied = mmr(*asked, "--copy-to", tmp_path / "out", "--html", tmp_path / "page.html")
    assert copied.exit_code == 4
    assert "1 skipped:\n  red.png: no such file" in copied.stderr
    assert f"1 gone: run `mmr index --index {photos / '.mmr'}`" in copied.stderr
    assert f"2 pictures in {tmp_path / 'out'}" in copied.stderr
    assert sorted(path.name[4:] for path in (tmp_path / "out").iterdir()) == ["blue é.png", "green.jpg"]
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert '<div class="none">no such file</div>' in page

    (gone,) = [line for line in copied.stdout.splitlines() if "red.png" in line]
    assert gone.endswith("red.png  (gone)")
    found = lines(mmr(*asked, "--json"), code=4)
    assert {hit["uri"]: hit.get("gone") for hit in found} == {
        "red.png": True, "blue é.png": None, "more/green.jpg": None
    }  # fmt: skip
    paths = mmr(*asked, "-0")
    assert f"files that are gone: 1, as {photos / 'red.png'}: `mmr index --index " in paths.stderr
    assert (paths.exit_code, set(paths.stdout.split("\0"))) == (
        4, {str(photos / "blue é.png"), str(photos / "more" / "green.jpg"), ""}
    )  # fmt: skip


def test_near_duplicates_that_are_gone_are_marked(photos, trained, tmp_path):
    shutil.copy(photos / "red.png", photos / "twin.png")
    index = ("--index", photos / ".mmr")
    assert mmr("index", photos, "--model", trained).exit_code == 0
    (photos / "twin.png").unlink()
    twins = [
        item.get("gone") for group in lines(mmr("dups", *index, "--json")) for item in group["items"]
        if item["uri"] in ("red.png", "twin.png")
    ]  # fmt: skip
    assert sorted(twins, key=str) == [None, True]
    assert [line.endswith("(gone)") for line in mmr("dups", *index).stdout.splitlines() if "twin" in line] == [True]


def test_where_all_is_gone_nothing_is_made(photos, trained, tmp_path):
    assert mmr("index", photos, "--index", tmp_path / "i.mmr", "--model", trained).exit_code == 0
    photos.rename(tmp_path / "moved")
    result = mmr("search", "a dog", "--index", tmp_path / "i.mmr", "--copy-to", tmp_path / "out")
    assert result.exit_code == 4
    assert f"files that are gone: 3, as the folder {photos}: `mmr index --index " in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.mmr", "moved"]


def test_names_that_do_not_fit_with_their_rank_are_cut_between_two_letters(photos, trained, tmp_path):
    long = {"a" * 251 + ".png", "犬" * 83 + ".png", "o\N{COMBINING DIAERESIS}" * 83 + ".jpeg"}
    for name in long:
        shutil.copy(photos / "red.png", photos / name)
    assert mmr("index", photos, "--model", trained).exit_code == 0
    asked = ("search", "a dog", "--index", photos / ".mmr", "--copy-to", tmp_path / "out")
    assert mmr(*asked).exit_code == 0
    made = {path.name[4:] for path in (tmp_path / "out").iterdir()}
    assert made == {
        "red.png", "green.jpg", "blue é.png", "a" * 247 + ".png", "犬" * 82 + ".png",
        "o\N{COMBINING DIAERESIS}" * 82 + ".jpeg",
    }  # fmt: skip


def test_the_best_answer_is_opened(indexed, monkeypatch):
    opened = []
    monkeypatch.setattr("typer.launch", lambda path: opened.append(path) or 0)
    (best,) = lines(mmr("search", "a dog", "--index", indexed, "-k", 1, "--json", "--open"))
    assert opened == [best["path"]]
    monkeypatch.setattr("typer.launch", lambda path: 1)
    assert "nothing here opens pictures" in mmr("search", "a dog", "--index", indexed, "--open").stderr


def test_a_preview_needs_a_terminal_and_a_library(indexed, monkeypatch):
    from cli.output import preview
    from retrieval.errors import BadRequest

    fails(mmr("search", "a dog", "--index", indexed, "--preview"), 2, "stdout is none", "--html")
    monkeypatch.setattr(preview, "sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True, fileno=lambda: 1)))
    monkeypatch.setattr(preview.importlib.util, "find_spec", lambda name: None)
    for columns, message in ((80, r"pip install 'mmr-retrieval\[preview\]'"), (0, "stdout is none")):
        size = SimpleNamespace(columns=columns)
        monkeypatch.setattr(preview.os, "get_terminal_size", lambda handle, size=size: size)
        with pytest.raises(BadRequest, match=message):
            preview.check()


def test_a_preview_draws_what_can_be_read(photos, capsys, monkeypatch):
    from cli.output import preview
    from retrieval.datatypes import Hit
    from retrieval.sources.allowed import Allowed

    drawn = []
    library = SimpleNamespace(Image=lambda picture, width: drawn.append((picture.size, width)) or "(picture)")
    monkeypatch.setitem(sys.modules, "textual_image.renderable", library)
    monkeypatch.setitem(sys.modules, "textual_image", SimpleNamespace(renderable=library))
    hits = [Hit(1, 0.5, "red.png", str(photos / "red.png"), (), "a"), Hit(2, 0.4, "x", "/x.png", (), "b")]
    left = preview.draw(hits, Allowed.of(str(photos), photos / ".mmr"))
    said = capsys.readouterr()
    assert [size for size, _ in drawn] == [(20, 10)]
    assert "(picture)" in said.out
    assert left == [("x", "no such file")]
    assert "x.png  (gone)" in said.out


def test_a_terminal_that_cannot_be_asked_is_wrong_usage_before_anything_is_searched(monkeypatch):
    """textual-image asks it while it is imported, and a silent one is logged with a traceback."""
    import logging

    from cli.output import preview
    from retrieval.errors import BadRequest

    class Odd:
        @property
        def Image(self):
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    terminal = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True, fileno=lambda: 1))
    monkeypatch.setattr(preview, "sys", terminal)
    monkeypatch.setattr(preview.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(preview.os, "get_terminal_size", lambda handle: SimpleNamespace(columns=80))
    monkeypatch.setitem(sys.modules, "textual_image", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "textual_image.renderable", Odd())
    with pytest.raises(BadRequest, match="cannot ask this terminal.*--html FILE"):
        preview.check()
    assert not logging.getLogger("textual_image._terminal").isEnabledFor(logging.WARNING)


def test_crafted_queries_are_one_line_each_before_any_answer(indexed, tmp_path, monkeypatch):
    from cli.commands import searching

    file = tmp_path / "q.txt"
    asked = ("search", "--index", str(indexed), "-k", "2", "--json", "--queries", file)
    for content, message in (
        (b"a dog\n\xe9t\xe9\n", "line 2 of"), (b"a dog\n" * 300 + b"-2:dog\n", "line 301 of"),
        (b"a" * 20_000, "20000 letters"), (b"9" * 400 + b":dog", "a weight of that size"), (b"dog + + cat", "nothing"),
    ):  # fmt: skip
        file.write_bytes(content)
        fails(mmr(*asked), 2, message)
    file.write_bytes("a dog\r\na\u2028cat\x0b\0\r".encode("utf-16"))
    assert [hit["query"] for hit in lines(mmr(*asked))] == ["a dog"] * 2 + ["a\u2028cat\x0b\0"] * 2
    monkeypatch.setattr(searching, "_MOST", 9)
    file.write_text("a dog and")
    assert mmr(*asked).exit_code == 0
    file.write_text("a dog and ")
    fails(mmr(*asked), 2, "more than", "ask in parts")


@pytest.mark.parametrize("limit", ["--min-score", "--min-confidence", "--diverse"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_limit_that_is_no_number_is_wrong_usage(indexed, limit, number):
    fails(mmr("search", "a dog", "--index", indexed, f"{limit}={number}"), 2, f"{limit} {number} is", "give")


def test_a_huge_k_gives_what_there_is(indexed):
    for more in ((), ("--diverse", 0.5)):
        assert len(lines(mmr("search", "a dog", "--index", indexed, "-k", 10**30, "--json", *more))) == 60


def test_a_sum_in_quotes_is_searched_for_and_said(indexed):
    found = mmr("search", "a dog - a cat", "--index", indexed, "-k", 1, "--json")
    assert len(lines(found)) == 1
    assert "a sum is written mmr search 'a dog' - 'a cat'" in found.stderr
    assert "a sum" not in mmr("search", "a dog", "-", "a cat", "--index", indexed, "-k", 1, "--json").stderr


def test_pictures_of_a_table_that_lie_elsewhere_are_handed_out_where_that_is_said(photos, trained, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.csv").write_text(f"image,caption\n../photos/red.png,red\n{photos}/more/green.jpg,green\n")
    index = ("--index", tmp_path / "tables" / "i.mmr")
    assert mmr("index", tmp_path / "tables" / "t.csv", *index, "--model", trained).exit_code == 0
    asked = ("search", "a dog", *index, "--html", tmp_path / "s.html")
    refused = mmr(*asked)
    assert refused.exit_code == 4
    assert f"--allow {photos} hands out what lies below there too" in refused.stderr
    assert "data:image" not in (tmp_path / "s.html").read_text()
    assert mmr(*asked, "--allow", photos).exit_code == 0
    assert (tmp_path / "s.html").read_text().count("data:image") == 2
