"""Judgements in files: tables of clicks and sessions, and the command that reads and keeps them."""

import json
from itertools import groupby

import pytest
from reds import from_red

from cli.commands.judging import Judging
from indexes import Store
from retrieval import Retriever
from retrieval.errors import BadRequest
from retrieval.search import picks
from retrieval.search.answers import Asked
from retrieval.search.picks import Pick
from terminal import fails, lines, mmr
from toy import ToyEncoder


@pytest.fixture
def folder(tmp_path):
    return from_red(tmp_path / "photos")


@pytest.fixture
def retriever(folder):
    with Retriever.open(folder / ".mmr", ToyEncoder()) as made:
        yield made


# ---------------------------------------------------------------- tables


def table(tmp_path, text, name="picks.csv"):
    (tmp_path / name).write_text(text, "utf-8")
    return tmp_path / name


@pytest.mark.parametrize("words", ["item,judgement", "uri,label", "id,like", "image,clicked", "path,relevance"])
def test_a_table_by_any_usual_name(tmp_path, words):
    file = table(tmp_path, f"{words},note\nb1.png,1,x\ng1.png,0,\n\ng2.png,unlike,\nb2.png, Like ,\nb3.png,,later\n")
    found = picks.read(file)
    assert (found.names(True), found.names(False), found.query) == (["b1.png", "b2.png"], ["g1.png", "g2.png"], ())
    assert found.picks[0].said == f"row 2 of {file}"


def test_capitals_of_columns_do_not_matter_but_where_two_differ_in_them(tmp_path):
    assert picks.read(table(tmp_path, "Query,Item,Judgement\na dog,b1,1\n")).query == ("a", "dog")
    assert picks.read(table(tmp_path, "Item,item,Click\na,b,1\n")).names(True) == ["b"]


def test_a_table_in_another_encoding(tmp_path):
    file = tmp_path / "c.csv"
    file.write_bytes("item;judgement\nb\u00e4r.png;1\n".encode("cp1252"))
    with pytest.raises(BadRequest, match=r"line 2 is not UTF-8: say what it is, as in '.*c.csv\?encoding=cp1252'"):
        picks.read(file)
    assert picks.read(f"{file}?encoding=cp1252").names(True) == ["b\u00e4r.png"]
    assert picks.read(f"{file}?encoding=cp1252&sep=;").picks[0].said == f"row 2 of {file}"
    with pytest.raises(BadRequest, match="`split=` is nothing of a table of judgements: say encoding="):
        picks.read(f"{file}?split=test")
    odd = table(tmp_path, "item,judgement\na,1\n", "what?.csv")  # a name that is there is a name
    assert picks.read(odd).names(True) == ["a"]


def test_each_of_several_queries_has_its_rows(tmp_path):
    file = table(tmp_path, "query,item,judgement\na dog,b1,1\n,b2,0\na cat,b3,1\n")
    names = [[pick.name for pick in one] for one in picks.read_each(file, [("a", "dog"), ("a cat",), ("a cow",)])]
    assert names == [["b1", "b2"], ["b2", "b3"], ["b2"]]
    with pytest.raises(BadRequest, match="judges nothing of the queries that are asked, only of 'a dog': ask that"):
        picks.read_each(table(tmp_path, "query,item,judgement\na dog,b1,1\n"), [("a", "cow")])


@pytest.mark.parametrize(
    "query",
    [
        ("a", "dog"),
        ("dress", "-", "red"),
        ("dress - red",),
        ("'dress", "-", "red'"),
        ("'dress - red'",),
        ("- red",),
        (" red",),
        ("til 'tuesday",),
        ("golden  retriever", "+", "./my pool.jpg", "-", "2:rock + roll"),
        ("a\n- b", "-", "c"),
    ],
)
def test_a_session_that_is_a_table_keeps_what_was_asked(tmp_path, query):
    """Words of one text may come apart, signs may not change: as a query is parsed, and with a judgement or without."""
    meant = [" ".join(words) for sign, words in groupby(query, lambda word: word in ("+", "-"))]
    for picked in ((), (Pick("id:a", True, "x"),)):
        picks.write(tmp_path / "s.csv", picks.Session(query, picked))
        found = picks.opened(tmp_path / "s.csv", ())
        assert [" ".join(words) for sign, words in groupby(found.query, lambda word: word in ("+", "-"))] == meant
        assert [pick.name for pick in found.picks] == [pick.name for pick in picked]
        assert picks.opened(tmp_path / "s.csv", query).query == query
    assert picks.read(tmp_path / "s.csv", query).names(True) == ["id:a"]


def test_lines_of_json(tmp_path):
    file = table(tmp_path, '{"item": 7, "judgement": true}\n{"item": "b", "judgement": 0, "x": []}\n', "p.jsonl")
    assert picks.read(file) == picks.Session(
        (), (Pick("7", True, f"row 1 of {file}"), Pick("b", False, f"row 2 of {file}"))
    )


def test_of_several_queries_those_of_one_count(tmp_path):
    file = table(tmp_path, "query,item,judgement\na red wall,b1,1\na dog,b2,1\n,b3,0\n")
    assert picks.read(file, ("a", "dog")).names(True) == ["b2"]
    assert picks.read(file, ("a dog",)).names(False) == ["b3"]
    with pytest.raises(BadRequest, match=r"is of 2 queries: say which, as in mmr search 'a red wall' --train-on"):
        picks.read(file)
    with pytest.raises(BadRequest, match="judges nothing of 'a cat', only of 'a dog': ask that, or write rows of what"):
        picks.read(table(tmp_path, "query,item,judgement\na dog,b2,1\n"), ("a cat",))
    many = "".join(f"q{number},b,1\n" for number in range(9))
    with pytest.raises(BadRequest, match="only of 'q0', 'q1', 'q2' and 6 more: ask"):
        picks.read(table(tmp_path, f"query,item,judgement\n{many}", "many.csv"), ("a cat",))
    assert picks.read(table(tmp_path, "query,item,judgement\na dog,b2,1\n")).query == ("a", "dog")


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("file,judgement\na,1\n", "p.csv", "has no column `item`, only file, judgement: name one of them item"),
        ("item,grade\na,1\n", "p.csv", "has no column `judgement`, only item, grade"),
        ("item,judgement\na,maybe\n", "p.csv", "row 2 of p.csv says 'maybe', which is no judgement: write 1 or 0"),
        ("item,judgement\na,2\n", "p.csv", "says '2', which is no judgement"),
        ("item,judgement\n,1\n", "p.csv", "row 2 of p.csv judges no item"),
        ("item,judgement\na,\n", "p.csv", "judges nothing of 'red': write a row an item"),
        ("", "p.csv", "is empty: it must start with a line `item,judgement`"),
        ('{"item": "a"}\n', "p.jsonl", "has no column `judgement`, only item"),
        ("x", "p.txt", "is no table of judgements: give a .csv"),
        ("[", "p.json", "is no session of mmr search"),
        ('{"kind": "other", "format": 1, "query": [], "like": [], "unlike": []}', "p.json", "is no session"),
        ('{"kind": "mmr search session", "format": 2, "query": [], "like": [], "unlike": []}', "p.json", "newer mmr"),
        ('{"kind": "mmr search session", "format": 1, "query": [], "like": [1], "unlike": []}', "p.json", "no session"),
        ('{"kind": "mmr search session", "format": 1, "query": [], "like": [], "unlike": []}', "p.json", "nothing"),
    ],
)
def test_tables_that_make_no_sense(tmp_path, monkeypatch, folder, text, name, says):
    monkeypatch.chdir(tmp_path)
    table(tmp_path, text, name)
    fails(mmr("search", "red", "--train-on", name, "--index", folder / ".mmr"), 2, says)


def test_a_table_that_is_not_there(folder):
    fails(mmr("search", "red", "--train-on", "nothing.csv", "--index", folder / ".mmr"), 2, "no such file: nothing.csv")


def test_rows_that_contradict_are_named(folder, tmp_path, retriever):
    file = table(tmp_path, "item,judgement\nb1.png,1\ng1.png,0\nb1.png,0\n")
    with pytest.raises(BadRequest, match=f"`b1.png` is liked by row 2 of {file} and unliked by row 4 of {file}: take"):
        retriever.search("red", train_on=picks.read(file).picks)
    with pytest.raises(BadRequest, match=f"unliked by row 3 of {file}, where it is called `g1.png`"):
        retriever.search("red", train_on=picks.read(file).picks[:2], like=[str(folder / "g1.png")])


# ---------------------------------------------------------------- the command


@pytest.fixture
def run(indexed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words: mmr("search", *words, "--index", indexed, "--json", "-k", 4)


def test_a_head_of_a_table(run, tmp_path):
    alone = lines(run("a red car"))
    first, second = (hit["uri"] for hit in alone[:2])
    table(tmp_path, f"item,judgement\n{first},0\n{second},1\n")
    found = [hit["uri"] for hit in lines(run("a red car", "--train-on", "picks.csv"))]
    assert not {first, second} & set(found)
    assert second in [hit["uri"] for hit in lines(run("a red car", "--train-on", "picks.csv", "--with-judged"))]


def test_each_query_of_a_file_takes_its_own_rows(run, tmp_path):
    first, second = (hit["uri"] for hit in lines(run("a red car"))[:2])
    table(tmp_path, f"query,item,judgement\na red car,{first},1\na blue car,{second},0\n")
    table(tmp_path, "a red car\na blue car\na dog\n", "q.txt")
    found = run("--queries", "q.txt", "--train-on", "picks.csv")
    assert "picks.csv judges nothing of 1 of 3 queries: they are not moved" in found.stderr
    answers = {}
    for hit in lines(found):
        answers.setdefault(hit["query"], []).append(hit["uri"])
    for query in ("a red car", "a blue car"):
        assert answers[query] == [hit["uri"] for hit in lines(run(query, "--train-on", "picks.csv"))]
    assert answers["a dog"] == [hit["uri"] for hit in lines(run("a dog"))]


def test_a_log_of_clicks_goes_on_without_what_is_gone(run, tmp_path):
    first = lines(run("a red car"))[0]["uri"]
    table(tmp_path, f"item,judgement\ngone.png,1\n{first},1\nlost.png,0\n")
    found = run("a red car", "--train-on", "picks.csv")
    assert "left out: row 2 of picks.csv (gone.png) and 1 more" in found.stderr
    table(tmp_path, f"item,judgement\n{first},1\n", "left.csv")
    assert lines(found) == lines(run("a red car", "--train-on", "left.csv"))
    table(tmp_path, "item,judgement\ngone.png,1\n")
    fails(
        run("a red car", "--train-on", "picks.csv"), 2, "holds nothing that picks.csv judges, as `gone.png` of row 2 of"
    )


@pytest.mark.parametrize("name", ["s.json", "s.csv"])
def test_a_session_without_a_judgement_keeps_its_query(run, tmp_path, name):
    begun = run("a red car", "--session", name)
    assert f"0 judgements in {name}: go on with mmr search --session {name} --index " in begun.stderr
    assert lines(run("--session", name)) == lines(begun)


@pytest.mark.parametrize("name", ["s.json", "s.csv"])
def test_a_session_of_a_sum_goes_on_as_the_sum(run, tmp_path, name):
    for words in (("a red car", "-", "red"), ("a red car - red",)):
        first = lines(run(*words))[0]["uri"]
        begun = lines(run(*words, "--session", name, "--like", first))
        assert lines(run("--session", name)) == begun
        (tmp_path / name).unlink()


@pytest.mark.parametrize("name", ["picks.json", "picks.csv"])
def test_a_session_goes_on(run, tmp_path, name):
    one = lines(run("a", "red", "car"))
    first, second = one[0]["uri"], one[1]["uri"]
    two = run("a", "red", "car", "--like", first, "--session", name)
    assert f"1 judgement in {name}: go on with mmr search --session {name} --index " in two.stderr
    assert lines(two) == lines(run("a red car", "--like", first))
    three = lines(run("--session", name, "--unlike", second))
    assert three == lines(run("a red car", "--like", first, "--unlike", second))
    assert lines(run("--session", name)) == three
    assert picks.read(tmp_path / name).names(True) == [f"id:{first}"]
    assert lines(run("--train-on", name))[0]["rank"] == 1  # it is a table of judgements too


def test_a_session_that_thinks_better_of_it(run, tmp_path):
    first = lines(run("a red car"))[0]["uri"]
    run("a red car", "--like", first, "--session", "s.json")
    assert lines(run("--session", "s.json", "--unlike", first)) == lines(run("a red car", "--unlike", first))
    kept = json.loads((tmp_path / "s.json").read_text("utf-8"))
    assert (kept["like"], kept["unlike"], kept["query"]) == ([], [f"id:{first}"], ["a red car"])


def test_a_session_goes_on_without_what_is_gone_and_keeps_it(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = {
        "kind": "mmr search session",
        "format": 1,
        "query": ["red"],
        "like": ["id:g5.png", "id:gone.png"],
        "unlike": [],
    }
    judging = Judging(session=tmp_path / "s.json")
    table(tmp_path, json.dumps(kept), "s.json")
    with Store.open(folder / ".mmr") as store:
        words, asked = judging.begun([], Asked(), False)
        asked = judging.over(store, asked)
        judging.keep(store, words, asked)
    assert (list(words), list(asked.like)) == (["red"], ["id:g5.png"])
    again = json.loads((tmp_path / "s.json").read_text("utf-8"))
    assert sorted(again["like"]) == ["id:g5.png", "id:gone.png"]


def test_a_session_that_cannot_be(run, tmp_path):
    first = lines(run("a red car"))[0]["uri"]
    lines(run("a red car", "--like", first, "--session", "s.json"))
    kept = (tmp_path / "s.json").read_bytes()
    fails(run("a dog", "--session", "s.json"), 2, "is of the query 'a red car': leave QUERY out to go on")
    fails(run("a red car", "--session", "s.json", "--like", "none.png"), 2, "holds no `none.png`")
    fails(
        run("--session", "s.json", "--like", first, "--unlike", first), 2, "is liked by --like and unliked by --unlike"
    )
    said = {"kind": "mmr search session", "format": 1, "query": ["a red car"]}
    table(tmp_path, json.dumps(said | {"like": [first], "unlike": [f"id:{first}"]}), "both.json")
    fails(run("--session", "both.json"), 2, "is liked by both.json and unliked by both.json, where it is called")
    table(tmp_path, f"item,judgement\n{first},0\n", "no.csv")
    fails(run("--session", "s.json", "--train-on", "no.csv"), 2, "is liked by s.json and unliked by row 2 of no.csv")
    (tmp_path / "old.csv").write_bytes(b"query,item,judgement\na b\xe4r,x,1\n")
    fails(
        run("--session", "old.csv"), 2, "old.csv: line 2 is not UTF-8: convert it, as in iconv -f cp1252 -t utf-8 old"
    )
    fails(
        run("--session", "old.csv?encoding=cp1252"), 2, "is kept in UTF-8: save old.csv so, and give --session old.csv"
    )
    fails(run("--session", "s.txt"), 2, "ends neither in .json nor in .csv: give --session s.txt.json")
    fails(run("--session", "new.json"), 2, "new.json says nothing to look for: begin it")
    fails(run("--session", "s.json", "--queries", "q.txt"), 2, "--session is of one query")
    table(tmp_path, "item,judgement,mine\na,1,2\n", "t.csv")
    fails(
        run("--session", "t.csv"), 2, "has a column `mine`, which a session would lose: read it with --train-on t.csv"
    )
    table(tmp_path, "{}", "other.json")
    fails(run("a red car", "--session", "other.json"), 2, "is no session of mmr search")
    assert (tmp_path / "s.json").read_bytes() == kept and not (tmp_path / "new.json").exists()
    assert (tmp_path / "other.json").read_text("utf-8") == "{}"


def test_a_session_that_cannot_be_written_is_as_it_was(run, tmp_path, monkeypatch):
    first = lines(run("a red car"))[0]["uri"]
    lines(run("a red car", "--like", first, "--session", "s.json"))
    kept = (tmp_path / "s.json").read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run("--session", "s.json", "--unlike", lines(run("a red car"))[1]["uri"]).exit_code == 5
    assert (tmp_path / "s.json").read_bytes() == kept and [one.name for one in tmp_path.glob("s.*")] == ["s.json"]
