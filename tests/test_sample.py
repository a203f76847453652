"""The pictures to caption first: by an oracle, as files that a table names, and never over what is there."""

import csv
import json
import os

import numpy as np
import pytest

from indexes import Record, Store
from retrieval import Retriever, open_pairs
from retrieval.errors import BadRequest
from retrieval.search import spread
from retrieval.search.sample import Wanted, sample
from rows import unit, unit_rows
from terminal import fails, lines, mmr
from toy import ToyEncoder, picture


def by_kernel(x, known, count):
    """The same picks from all inner products at once, (n, n), as the paper writes them."""
    kernel = x.astype(np.float64) @ x.T.astype(np.float64)

    def learn(at):
        nonlocal kernel
        kernel = kernel - np.outer(kernel[:, at], kernel[:, at]) / (kernel[at, at] + spread.NOISE)

    for at in known:
        learn(at)
    picked = []
    for _ in range(count):
        gain = (kernel**2).sum(0) / (np.diag(kernel) + spread.NOISE)
        gain[[*known, *picked]] = -1
        picked.append(int(np.argmax(gain)))
        learn(picked[-1])
    return picked


def stored(folder, vectors):
    store = Store.create(folder / "i", vectors.shape[1])
    store.add(vectors, [Record(str(number)) for number in range(len(vectors))])
    return store


def clustered(rng, count=300, dim=16):
    return unit(unit_rows(rng, 12, dim)[rng.integers(0, 12, count)] + 0.4 * unit_rows(rng, count, dim))


@pytest.mark.parametrize("known", [[], [3, 50, 7]])
def test_the_picks_are_those_of_the_whole_kernel(tmp_path, known):
    x = clustered(np.random.default_rng(0))
    with stored(tmp_path, x) as store:
        kept = next(iter(store.segments[0].blocks()))[1]  # as it is stored, in half precision
        expected = by_kernel(unit(kept), known, 30)
        rows = spread.spread(store, store.rows(), np.array(sorted(known), np.int64), 30, lambda row: True)
    assert rows == expected


def test_groups_of_like_pictures_are_each_picked_once_the_largest_first(tmp_path):
    x = np.repeat(np.eye(4, dtype=np.float32), [5, 20, 1, 10], axis=0)
    with stored(tmp_path, x) as store:
        rows = spread.spread(store, store.rows(), np.empty(0, np.int64), 4, lambda row: True)
        groups = [int(np.argmax(x[row])) for row in rows]
        assert groups == [1, 3, 0, 2]
        again = spread.spread(store, store.rows(), np.array(rows[:2]), 2, lambda row: True)
        assert again == rows[2:]  # those that are known are not picked, nor what is like them


def test_who_does_not_fit_is_passed_over_and_teaches_nothing(tmp_path):
    x = np.repeat(np.eye(3, dtype=np.float32), [9, 5, 3], axis=0)
    with stored(tmp_path, x) as store:
        rows = spread.spread(store, store.rows(), np.empty(0, np.int64), 99, lambda row: row % 2 == 1)
    assert sorted(rows) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert [int(np.argmax(x[row])) for row in rows[:3]] == [0, 1, 2]


def test_of_many_some_are_drawn_always_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(spread, "CANDIDATES", 40)
    x = clustered(np.random.default_rng(1))
    with stored(tmp_path, x) as store:
        ones, others = (
            spread.spread(store, store.rows(), np.empty(0, np.int64), 40, lambda row: True) for _ in range(2)
        )
    assert ones == others
    assert len(set(ones)) == 40


# ---------------------------------------------------------------- of an index


REDS = {"red": (250, 0, 0), "crimson": (249, 0, 0), "scarlet": (248, 0, 0)}
COLOURS = REDS | {"green": (0, 250, 0), "blue": (0, 0, 250)}


@pytest.fixture
def colours(tmp_path):
    """A folder of three reds, a green and a blue, and its index."""
    for name, colour in COLOURS.items():
        picture(tmp_path / "photos" / f"{name}.png", colour)
    return indexed(tmp_path)


def indexed(tmp_path, source="photos"):
    retriever, _ = Retriever.build(str(tmp_path / source), tmp_path / "i.mmr", ToyEncoder())
    retriever.close()
    return tmp_path / "i.mmr"


def chosen(index, count=3, **wanted):
    with Store.open(index) as store:
        return [one.uri for one in sample(store, count, Wanted(**wanted)).chosen]


def table(file):
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.reader(opened))


def test_one_of_each_colour_comes_first_and_captioned_ones_not_at_all(colours, tmp_path):
    first = chosen(colours)
    assert {uri.split(".")[0] for uri in first[1:]} == {"green", "blue"}
    assert first[0].split(".")[0] in REDS
    assert len(chosen(colours, 9)) == 5
    (tmp_path / "photos" / "green.txt").write_text("a green square\n")
    index = indexed(tmp_path)
    assert "green.png" not in chosen(index, 9)
    assert chosen(index, 2)[1] == "blue.png"
    assert "green.png" in chosen(index, 9, captioned=True)
    assert chosen(index, 9, where="uri like '%re%'") == ["red.png"]


def test_what_was_captioned_elsewhere_counts_as_known(colours, tmp_path):
    given = tmp_path / "elsewhere" / "done.csv"
    given.parent.mkdir()
    given.write_text("image,caption\n../photos/blue.png,blue\n../photos/red.png,red\n../photos/scarlet.png,\n")
    found = lines(mmr("sample", "--index", colours, "-n", 2, "--known", given, "--json"))
    assert found[0]["uri"] == "green.png"
    assert found[1]["uri"] in ("crimson.png", "scarlet.png")
    assert found[0]["captions"] == []
    assert found[0]["path"] == str(tmp_path / "photos" / "green.png")


def test_the_table_is_what_train_reads_once_captions_are_written(colours, tmp_path):
    file = tmp_path / "work" / "to caption.csv"
    found = mmr("sample", colours, "-n", 3, "--csv", file)
    assert found.exit_code == 0
    assert found.stdout == ""
    assert f"3 of 5 pictures in {file}" in found.stderr
    assert f"mmr train '{file}' --out RUN" in found.stderr
    assert file.read_bytes().startswith(b"\xef\xbb\xbfimage,caption\n../photos/")
    head, *rows = table(file)
    assert [row[1] for row in rows] == ["", "", ""]
    with pytest.raises(BadRequest, match="no captions"):
        open_pairs(str(file))
    rows[0][1], rows[2][1] = "a square, red", "  "
    with file.open("w", encoding="utf-8-sig", newline="") as opened:
        csv.writer(opened, delimiter=";").writerows([head, *rows])  # as a spreadsheet of another country saves it
    said = []
    (pair,) = open_pairs(str(file), said.append)
    assert pair.caption == "a square, red"
    assert pair.item.content.samefile(tmp_path / "work" / rows[0][0])
    assert said == [f"pictures of {file} without a caption, which are left out: 2"]


def test_a_table_that_is_there_is_kept(colours, tmp_path):
    file = tmp_path / "c.csv"
    assert mmr("sample", "--index", colours, "-n", 1, "--csv", file).exit_code == 0
    file.write_text(file.read_text("utf-8-sig").strip() + "a red square\n")
    before = file.read_bytes()
    fails(mmr("sample", "--index", colours, "--csv", file), 2, "is there already, and may hold captions", "--force")
    assert file.read_bytes() == before
    assert mmr("sample", "--index", colours, "-n", 2, "--csv", file, "--force").exit_code == 0
    assert len(table(file)) == 3
    fails(mmr("sample", "--index", colours, "--csv", tmp_path / "c.txt"), 2, "does not end in .csv")
    fails(mmr("sample", "--index", colours, "--csv", colours / "c.csv"), 2, "lies inside the index")
    fails(mmr("sample", "--index", colours, "--csv", tmp_path), 2, "does not end in .csv")


def test_no_cell_is_a_formula_and_all_are_read_as_they_were(tmp_path):
    names = ["=1+1.png", "+a.png", "-b.png", "@c.png", 'd,"e".png', "ü 犬.png"]
    for number, name in enumerate(names):
        picture(tmp_path / "photos" / name, tuple(np.roll((200, 40 * number, 0), number)))
    (tmp_path / "photos" / "-b.txt").write_text('=HYPERLINK("x")\n@two\n')
    index = indexed(tmp_path)
    file = tmp_path / "photos" / "c.csv"
    assert mmr("sample", "--index", index, "--csv", file, "--captioned").exit_code == 0
    rows = table(file)[1:]
    assert len(rows) == len(names) + 1  # one picture has two captions
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    assert {row[0] for row in rows} == {"./=1+1.png", "./+a.png", "./-b.png", "./@c.png", 'd,"e".png', "ü 犬.png"}
    pairs = open_pairs(str(file))
    assert [pair.caption for pair in pairs] == ['=HYPERLINK("x")', "@two"]
    assert all(pair.item.content.samefile(tmp_path / "photos" / "-b.png") for pair in pairs)


def test_files_that_are_gone_and_names_that_are_no_text_are_passed_over_with_a_word(colours, tmp_path):
    (tmp_path / "photos" / "blue.png").unlink()
    found = mmr("sample", "--index", colours, "-n", 9)
    assert found.exit_code == 4
    assert "blue.png: no such file" in found.stderr
    assert len(found.stdout.splitlines()) == 4
    (tmp_path / "photos" / "green.png").rename(tmp_path / "photos" / os.fsdecode(b"gr\xfcn.png"))
    found = mmr("sample", "--index", indexed(tmp_path), "-n", 9, "--csv", tmp_path / "c.csv")
    assert found.exit_code == 4
    assert "its name is no text" in found.stderr
    assert len(table(tmp_path / "c.csv")) == 4


def test_where_there_is_nothing_to_choose_it_says_why(colours, tmp_path):
    fails(mmr("sample", "--index", colours, "-n", 0), 2, "-n 0", "-n 100")
    fails(mmr("sample", "--index", colours, "--where", "uri == 'x'"), 1, "no item meets --where")
    fails(mmr("sample", "--index", tmp_path / "none"), 3, "none")
    for name in COLOURS:
        (tmp_path / "photos" / f"{name}.txt").write_text(name)
    fails(mmr("sample", "--index", indexed(tmp_path)), 1, "all 5 pictures have captions", "--captioned")
    fewer = mmr("sample", "--index", colours, "--captioned", "-n", 7)
    assert fewer.exit_code == 0
    assert "5 of 5 pictures, all there are of the 7 asked for" in fewer.stderr


def test_pictures_of_no_file_are_said(tmp_path):
    with stored(tmp_path, np.eye(4, dtype=np.float32)) as store, pytest.raises(BadRequest, match="not of files"):
        sample(store, 2)


def test_a_retriever_samples_too(colours):
    with Retriever.open(colours, ToyEncoder()) as retriever:
        found = retriever.sample(3)
    assert [one.uri for one in found.chosen] == chosen(colours)
    assert (found.asked, found.known, found.skipped) == (5, 0, [])
    assert json.dumps(found.chosen[0].path)
