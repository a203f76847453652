"""The contact sheet: what stands on it, once, and where its pictures lead."""

import re
from html import unescape

from cli.output import sheet, target
from retrieval.datatypes import Hit
from retrieval.sources.allowed import Allowed
from terminal import mmr


def hit(folder, uri, rank=1, *captions):
    return Hit(rank, 0.5, uri, str(folder / uri), captions, uri)


def test_each_picture_leads_to_its_file_and_its_path_is_shown(photos, tmp_path):
    allowed = Allowed.of(str(photos), photos / ".mmr")
    hits = [
        hit(photos, "blue é.png", 1),
        hit(photos, "more/green.jpg", 2, "a <green> field", "a meadow"),
        hit(photos, "x.png", 3),
    ]
    left = sheet.write(tmp_path / "s.html", "a dog", [sheet.Section("a dog", hits, allowed)])
    page = (tmp_path / "s.html").read_text()
    assert left == [("x.png", "no such file")]
    assert re.findall(r'<a href="([^"]*)"', page) == [
        (photos / "blue é.png").as_uri(), (photos / "more" / "green.jpg").as_uri()
    ]  # fmt: skip
    assert "%C3%A9.png" in page
    assert [unescape(path) for path in re.findall(r'<span class="path">([^<]*)</span>', page)] == [
        "blue é.png", "more/green.jpg", "x.png"
    ]  # fmt: skip
    assert "a &lt;green&gt; field" in page
    assert f'title="{photos / "more" / "green.jpg"}\na meadow"' in page
    assert 'src=""' not in page
    assert f'<meta name="generator" content="{target.MARK}">' in page


def test_a_single_query_is_said_once_and_several_each_at_their_answers(photos, indexed, tmp_path):
    assert mmr("search", "a dog", "--index", indexed, "--html", tmp_path / "one.html").exit_code == 0
    shown = (tmp_path / "one.html").read_text().split("<body>")[1]
    assert shown.count("a dog") == 1
    (tmp_path / "q.txt").write_text("a dog\ntwo cats\n")
    words = ("--queries", tmp_path / "q.txt", "--index", indexed, "--html", tmp_path / "two.html")
    assert mmr("search", *words).exit_code == 0
    shown = (tmp_path / "two.html").read_text().split("<body>")[1]
    assert re.findall(r"<h[12]>([^<]*)</h", shown) == ["2 queries", "a dog", "two cats"]


def test_the_picture_that_was_asked_with_stands_on_it_wherever_it_lies(photos, indexed, tmp_path):
    (tmp_path / "link.png").symlink_to(photos / "red.png")
    words = ("search", tmp_path / "link.png", "--index", indexed, "-k", 2, "--html", tmp_path / "s.html")
    assert mmr(*words).exit_code == 0
    page = (tmp_path / "s.html").read_text()
    assert page.count('class="asked" alt="the query" src="data:image/jpeg') == 1
    assert page.count("data:image/jpeg") == 3
