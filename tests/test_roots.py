"""Several folders in one index: named together, renewed one by one, remembered with what is left out of them."""

from dataclasses import replace

import pytest

from indexes import Store
from retrieval import Retriever
from retrieval.errors import BadRequest
from retrieval.indexing import roots
from retrieval.sources.registry import Options, open_items, parse_uri
from toy import ToyEncoder, picture

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def here(tmp_path):
    """Two folders of pictures, each with a name that the other has as well."""
    for name in ("a/one.png", "a/deep/two.png", "b/one.png"):
        picture(tmp_path / name, {"a": RED, "b": BLUE}[name[0]])
    return tmp_path


def build(here, *folders, encoder=None, options=None, **how):
    encoder = encoder or ToyEncoder()
    source = parse_uri([str(here / folder) for folder in folders], options)
    retriever, report = Retriever.build(source, here / "i.mmr", encoder, **how)
    with retriever:
        return {record.fields["uri"] for record in retriever.store.records(retriever.store.rows())}, report


def held(here):
    with Store.open(here / "i.mmr") as store:
        return roots.recorded(store)


def test_several_folders_are_one_source_named_from_what_holds_them(here):
    uris, report = build(here, "a", "b")
    assert uris == {"a/one.png", "a/deep/two.png", "b/one.png"}
    assert report.added == 3
    with Retriever.open(here / "i.mmr", ToyEncoder()) as retriever:
        assert retriever.search("blue", 1)[0].path == str(here / "b" / "one.png")
    assert [str(folder) for folder in held(here).folders] == [str(here / "a"), str(here / "b")]


def test_a_folder_in_another_and_one_given_twice_are_walked_once(here):
    (here / "link").symlink_to(here / "a")
    assert parse_uri([str(here / "a"), str(here / "a" / "deep"), str(here / "link")]).path == str(here / "a")
    items = open_items(parse_uri([str(here / "b"), str(here / "a" / "deep"), str(here / "a"), str(here / "b")]))
    assert parse_uri([str(here / "a" / "deep"), str(here / "b"), str(here / "a")]).roots == ("a", "b")
    assert sorted(item.uri for item in items) == ["a/deep/two.png", "a/one.png", "b/one.png"]


def test_several_sources_are_folders(here):
    (here / "t.csv").write_text("image\na/one.png\n")
    with pytest.raises(BadRequest, match=r"t.csv is no folder: several sources must be folders"):
        parse_uri([str(here / "a"), str(here / "t.csv")])


def test_one_of_them_is_renewed_and_the_others_stay(here):
    build(here, "a", "b")
    picture(here / "a" / "new.png")
    (here / "a" / "one.png").unlink()
    picture(here / "b" / "unseen.png")
    (here / "b" / "one.png").unlink()
    encoder = ToyEncoder()
    uris, report = build(here, "a", encoder=encoder)
    assert uris == {"a/new.png", "a/deep/two.png", "b/one.png"}
    # What is new has the content of what is gone: it was moved.
    assert (report.moved, report.removed, report.unchanged) == (1, 0, 1)
    assert held(here).roots == ("a", "b")
    assert build(here, "a", "b")[0] == {"a/new.png", "a/deep/two.png", "b/unseen.png"}


def test_a_folder_that_starts_as_another_is_not_a_part_of_it(here):
    picture(here / "a2" / "x.png")
    build(here, "a", "a2", "b")
    (here / "a2" / "x.png").unlink()
    picture(here / "a2" / "y.png", BLUE)
    assert "a2/x.png" in build(here, "a")[0]


def test_one_whose_disk_is_away_loses_nothing(here):
    build(here, "a", "b")
    (here / "b").rename(here / "away")
    for disk in (None, "an empty place to mount it"):
        if disk:
            (here / "b").mkdir()
        with pytest.raises(BadRequest, match=r"b has no pictures now, and .* holds 1 of it, which are kept"):
            Retriever.build(held(here), here / "i.mmr", ToyEncoder())
        assert "b/one.png" in build(here, "a")[0]


def test_what_else_is_left_out_is_left_out_of_all_of_them(here):
    picture(here / "b" / "deep" / "two.png")
    build(here, "a", "b")
    assert build(here, "a", options=Options(exclude=("one.png",)))[0] == {"a/deep/two.png", "b/deep/two.png"}


def test_another_folder_joins_when_all_are_named_and_keeps_the_vectors(here):
    build(here, "a")
    with Store.open(here / "i.mmr") as before:
        assert before.records(before.rows())[0].id in {"one.png", "deep/two.png"}
        encoder = ToyEncoder()
        uris, report = build(here, "a", "b", encoder=encoder)
        assert uris == {"a/one.png", "a/deep/two.png", "b/one.png"}
        assert (encoder.images_seen, report.added, report.unchanged) == (1, 1, 2)
        # Who read it before reads on.
        assert {record.id for record in before.records(before.rows())} == {"one.png", "deep/two.png"}
    with Store.open(here / "i.mmr") as store:
        folders = {record.fields["uri"]: record.fields["meta"]["folder"] for record in store.records(store.rows())}
        assert folders == {"a/one.png": "a", "a/deep/two.png": "a/deep", "b/one.png": "b"}
        assert store.verify() == []


def test_one_alone_or_a_stranger_is_refused_unless_the_others_may_go(here):
    build(here, "a", "b")
    picture(here / "c" / "x.png")
    with pytest.raises(BadRequest, match=r"is the index of .*a, .*b, not of .*c: .*name them all .*--only"):
        build(here, "c")
    assert build(here, "c", only=True)[0] == {"x.png"}
    build(here, "a", "b", only=True)
    encoder = ToyEncoder()
    assert build(here, "b", encoder=encoder, only=True)[0] == {"one.png"}
    assert encoder.images_seen == 0
    assert held(here).roots == ()


def test_they_move_together(here, tmp_path_factory):
    build(here, "a", "b")
    moved = here.rename(tmp_path_factory.mktemp("elsewhere") / "disk")
    assert [str(folder) for folder in held(moved).folders] == [str(moved / "a"), str(moved / "b")]
    encoder = ToyEncoder()
    Retriever.build(held(moved), moved / "i.mmr", encoder)[0].close()
    assert encoder.images_seen == 0


def test_what_is_left_out_is_remembered(here):
    picture(here / "a" / ".hidden.png")
    build(here, "a", options=Options(exclude=("deep/",), include_hidden=True))
    assert held(here).options == Options(exclude=("deep/",), include_hidden=True)
    Retriever.build(held(here), here / "i.mmr", ToyEncoder())[0].close()
    assert build(here, "a", options=held(here).options)[0] == {"one.png", ".hidden.png"}
    assert build(here, "a", options=Options())[0] == {"one.png", "deep/two.png"}
    assert held(here).options == Options()


def test_what_an_index_is_of(here):
    assert roots.known(here / "none.mmr") is None
    uri = parse_uri(str(here / "a"))
    assert roots.seen_from(None, uri) == uri
    both = parse_uri([str(here / "a"), str(here / "b")])
    part = roots.seen_from(both, uri)
    assert (part.path, part.roots, roots.is_part(both, part)) == (both.path, ("a",), True)
    assert roots.seen_from(both, part) == part
    assert roots.seen_from(both, uri, whole=True) == both
    hidden = replace(uri, options=Options(include_hidden=True))
    assert roots.seen_from(both, hidden).roots == ("a", "b")
    assert not roots.is_part(both, both)


def test_relative_names_mean_the_same(here, monkeypatch):
    monkeypatch.chdir(here / "a")
    source = parse_uri([".", "../b"])
    assert (source.path, source.roots) == (str(here), ("a", "b"))
    build(here, "a", "b")
    part = roots.seen_from(held(here), parse_uri("."))
    assert part.roots == ("a",)
