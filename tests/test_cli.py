"""The commands as a person meets them: what is printed, and the exit codes. test_cli_search.py has searching."""

import io
import json
import shutil
import tarfile

import pytest
from PIL import Image

from indexes import Store
from terminal import fails, lines, mmr


def test_info_verify_and_compact(photos, trained, tmp_path):
    index = tmp_path / "i"
    assert mmr("index", photos, "--index", index, "--model", trained).exit_code == 0
    (photos / "red.png").unlink()
    assert mmr("index", photos, "--index", index).exit_code == 0
    held = json.loads(mmr("info", "--index", index, "--json").stdout)
    assert (held["rows"], held["deleted"], held["segments"], held["dim"]) == (2, 1, 1, 32)
    assert held["encoder"] == str(trained)
    assert "rows          2" in mmr("info", "--index", index).stdout
    assert "2 rows, all as they were written" in mmr("verify", "--index", index).stdout
    assert "2 rows in 1 segment(s), before 1; 1 deleted rows dropped" in mmr("compact", "--index", index).stdout
    (segment,) = [file for file in (index / "segments").iterdir() if file.name == "000002.f16"]
    content = bytearray(segment.read_bytes())
    content[5] ^= 4
    segment.write_bytes(content)
    fails(
        mmr("verify", "--index", index),
        3,
        "000002.f16: the vector of ",
        " is not what was written",
        "--repair",
        "index again",
    )


def test_index_again_says_what_it_did(indexed, book):
    result = mmr("index", book, "--index", indexed)
    assert result.exit_code == 0
    assert (
        result.stdout.strip()
        == f"{indexed}: 60 pictures (0 new, 0 changed, 0 moved, 0 removed, 60 as before, 0 skipped)"
    )


def test_bare_index_and_search_work_in_the_folder(trained, book, tmp_path, monkeypatch):
    (tmp_path / "p" / "below").mkdir(parents=True)
    Image.open(book / "001.png").save(tmp_path / "p" / "one.png")
    monkeypatch.chdir(tmp_path / "p")
    assert mmr("index", "--model", trained).stdout.startswith(".mmr: 1 pictures (1 new")
    monkeypatch.chdir("below")
    result = mmr("search", "anything", "--json")
    assert json.loads(result.stdout)["uri"] == "one.png"


def test_eval_json_has_the_promised_keys(trained, book):
    result = mmr("eval", trained, f"csv:{book}/pairs.csv?split=dev", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    for direction in ("text_to_image", "image_to_text"):
        shares = [f"{name}@{k}" for name in ("hit", "recall") for k in (1, 5, 10)]
        assert list(report[direction])[:6] == shares
        assert list(report[direction])[6:] == [
            "map", "map@10", "r_precision", "ndcg@10", "mrr", "median_rank", "mean_rank",
        ]  # fmt: skip
        assert 0 <= report[direction]["hit@10"] <= 1
    assert report["items"] == 10
    assert report["fingerprint"] == json.loads((trained / "encoder.json").read_text())["fingerprint"]
    assert "any of its captions" in mmr("eval", trained, f"csv:{book}/pairs.csv?split=dev").stdout


def test_train_says_where_the_run_is(book, tmp_path):
    source = f"csv:{book}/pairs.csv?split=train"
    dev = f"csv:{book}/pairs.csv?split=dev"
    out = tmp_path / "run"
    result = mmr("train", source, "--out", out, "--eval", dev, "--recipe", "smoke", "--set", "epochs=1")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}  encoder ")
    assert "(chance 3.47)" in result.stderr  # ln 32
    assert "recall@10 text-to-image" in result.stderr
    fails(mmr("train", source, "--out", out, "--recipe", "smoke"), 2, "holds a run already", "--resume")


def test_what_a_fine_tune_forgot_is_said_and_blending_brings_it_back(trained, book, tmp_path):
    """At a rate that ruins the encoder; the half-way house to it is what --eval decides on."""
    dev = f"csv:{book}/pairs.csv?split=dev"
    ruin = ["--set", "lr=3", "--set", "warmup=0", "--set", "batch_size=10", "--set", "keep=last"]
    words = ("picturebook:20?size=32", f"3:{dev}", "--out", tmp_path / "run", "--model", trained, "--eval", dev)
    result = mmr("train", *words, "--remember", f"csv:{book}/pairs.csv?split=train", *ruin)
    assert result.exit_code == 0, result.output
    said = result.stderr
    assert "before: recall@10" in said
    assert "before: of what it knew before: recall@10" in said
    assert "remembered: recall@10 text-to-image" in said
    assert "points)" in said
    assert f"mmr blend {trained} {tmp_path / 'run'} --out" in said

    words = ("blend", trained, tmp_path / "run", "--out", tmp_path / "both")
    result = mmr(*words, "--eval", f"csv:{book}/pairs.csv?split=train")
    assert result.exit_code == 0, result.output
    recalls = [float(line.split("text-to-image ")[1].split("%")[0]) for line in result.stderr.splitlines()]
    assert len(recalls) == 5
    assert recalls[0] > recalls[4]  # 0 is the encoder as it was, 1 the ruined one
    assert result.stdout.startswith(f"{tmp_path / 'both'}  encoder ")
    fails(mmr(*words), 2, "is there already", "--out")
    fails(mmr("blend", trained, trained, "--out", tmp_path / "new", "--at", "2"), 2, "outside 0..1", "--at 0.5")


def test_pairs_of_tars_are_counted_before_the_first_step(tmp_path):
    """7 pictures in two tars, one of them no picture: 3 passes over 6 in batches of 2 are 9 steps."""
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard:05d}.tar", "w") as tar:
            for number in range(shard, 7, 2):
                file = io.BytesIO()
                Image.new("RGB", (32, 32), (30 * number, 0, 0)).save(file, "PNG")
                content = {"png": file.getvalue() if number else b"torn", "txt": f"red of {number}".encode()}
                for ending, data in content.items():
                    info = tarfile.TarInfo(f"{number}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    source = f"webdataset:{tmp_path}/{{00000..00001}}.tar"
    result = mmr("train", source, "--out", tmp_path / "run", "--recipe", "smoke", "--set", "epochs=3",
                 "--set", "batch_size=2")  # fmt: skip
    assert result.exit_code == 4, result.output
    assert "7 pictures, 7 captions" in result.stderr
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["steps"] == 9


def test_models_is_a_table():
    assert "open_clip:ViT-B-32-256/datacomp_s34b_b86k\n" in mmr("models").stdout


def test_ls_and_rm(trained, book, tmp_path):
    index = ("--index", tmp_path / "i")
    (book / "years.csv").write_text("image,caption,year\n001.png,one,2001\n002.png,two,2002\n003.png,,2003\n")
    assert mmr("index", book / "years.csv", *index, "--model", trained).exit_code == 0
    assert mmr("ls", *index).stdout == "001.png\n002.png\n003.png\n"
    assert mmr("ls", *index, "-0").stdout == "001.png\x00002.png\x00003.png\x00"
    assert mmr("ls", *index, "-l", "--where", "year >= 2002").stdout == (
        "002.png  two  year=2002  width=48  height=48\n003.png  year=2003  width=48  height=48\n"
    )
    (first, *_) = lines(mmr("ls", *index, "--json"))
    fields = {"year": "2001", "width": 48, "height": 48}
    assert first == {
        "uri": "001.png", "path": str(book / "001.png"), "caption": "one", "captions": ["one"], "kind": "picture",
        "inside": None, "fields": fields,
    }  # fmt: skip
    for command in (("ls",), ("rm", "-y"), ("search", "one"), ("search", "one", "--captions"), ("dups",)):
        for more, line in (
            (("--in", "nowhere"), f"nothing of {index[1]} lies in nowhere: `mmr ls` shows the names there are\n"),
            (
                ("--where", "year > 2010"),
                "no item meets --where 'year > 2010': `mmr fields` shows what fields there are",
            ),
            (("--where", "taken > 2010"), "no item meets --where"),  # a field of files, which none here has
            (("--where", "uri != ''", "--in", "nowhere"), "lies in nowhere: `mmr ls`"),
        ):
            none = mmr(*command, *index, *more)
            assert (none.exit_code, none.stdout) == (1, ""), none.output
            assert len(none.stderr.splitlines()) == 1
            assert line in none.stderr
        unknown = mmr(*command, *index, "--where", "yeer > 2001 or year > 0")
        fails(unknown, 2, "no item has a field `yeer`, only caption, height, uri, width, year: did you mean `year`?")
    fails(mmr("ls", *index, "--where", "zzz = 1"), 2, "no item has a field `zzz`, only", "`mmr fields` shows")
    assert "no two pictures are as near as 1" in mmr("dups", *index, "--threshold", 1).stderr

    assert lines(mmr("fields", *index, "--json")) == [
        {"field": "caption", "items": 2, "types": ["text"], "examples": ["one", "two"]},
        {"field": "height", "items": 3, "types": ["number"], "examples": [48]},
        {"field": "width", "items": 3, "types": ["number"], "examples": [48]},
        {"field": "year", "items": 3, "types": ["number"], "examples": ["2001", "2002", "2003"]},
    ]
    assert mmr("fields", *index).stdout.splitlines()[3] == "year             3  number        '2001', '2002', '2003'"

    fails(mmr("rm", *index), 2, "say which items")
    fails(mmr("rm", "001.png", "--where", "year = 2001", *index), 2, "say which items")
    fails(mmr("rm", "001.png", "none.png", "--yes", *index), 2, "holds no `none.png`", "mmr ls")
    fails(mmr("rm", "001.png", *index), 2, "add --yes")
    assert len(mmr("ls", *index).stdout.splitlines()) == 3
    removed = mmr("rm", "001.png", "001.png", "--yes", *index)
    assert removed.stdout == f"{tmp_path / 'i'}: 1 removed, 2 left\n"
    assert "`mmr index` leaves them out, and `mmr index --readmit` takes them again" in removed.stderr
    assert mmr("rm", "--where", "year > 2002", "-y", *index).exit_code == 0
    assert mmr("rm", "--where", "year > 2002", "-y", *index).exit_code == 1
    assert mmr("ls", *index).stdout == "002.png\n"
    assert (book / "001.png").is_file()
    assert "0 new" in mmr("index", book / "years.csv", *index).stdout
    assert "2 new" in mmr("index", book / "years.csv", "--readmit", *index).stdout


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 59), ("n\n", 1, 60)])
def test_rm_asks(indexed, tmp_path, monkeypatch, answer, code, left):
    shutil.copytree(indexed, tmp_path / "i")
    monkeypatch.setattr("cli.commands.removing.somebody_is_here", lambda: True)
    result = mmr("rm", "003.png", "--index", tmp_path / "i", typed=answer)
    assert result.exit_code == code
    assert "remove 1 of 60 items" in result.stderr
    assert len(mmr("ls", "--index", tmp_path / "i").stdout.splitlines()) == left


def test_dups_are_copies(photos, trained):
    shutil.copy(photos / "red.png", photos / "more" / "again.png")
    assert mmr("index", photos, "--model", trained).exit_code == 0
    index = ("--index", photos / ".mmr")
    (group,) = lines(mmr("dups", "--threshold", 0.99999, "--json", *index))
    assert (group["group"], sorted(item["uri"] for item in group["items"])) == (1, ["more/again.png", "red.png"])
    assert [item["score"] for item in group["items"]] == pytest.approx([1, 1], abs=1e-5)
    assert mmr("dups", "--threshold", 0.99999, *index).stdout.splitlines()[0] == "group 1: 2 pictures"
    assert mmr("dups", "--threshold", 0.99999, "--in", "more", *index).exit_code == 1
    fails(mmr("dups", "--threshold", 2, *index), 2, "no cosine")


def test_an_empty_index_says_so(tmp_path, trained):
    from retrieval import load_encoder
    from retrieval.indexing.catalog import Identity

    path = tmp_path / "i"
    encoder = load_encoder(str(trained))
    Store.create(path, encoder.dim, **Identity.of(encoder, path).entry()).close()
    for command in (("ls",), ("rm", "-y", "--where", "year > 1"), ("search", "one"), ("dups",), ("fields",)):
        none = mmr(*command, "--index", path)
        assert (none.exit_code, none.stdout) == (1, ""), (command, none.output)
        assert none.stderr == f"{path} is empty: index pictures into it with `mmr index FOLDER --index {path}`\n"


def test_an_index_of_a_table_remembers_all_of_its_source(tmp_path, trained, book, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = book / "remembered.csv"
    table.write_text("image,split\n001.png,a b\n002.png,c\n")
    index = ("--index", tmp_path / "i")
    assert mmr("index", f"csv:{table}?split=a b", *index, "--model", trained).exit_code == 0
    held = json.loads(mmr("info", *index, "--json").stdout)
    assert held["source"] == f"csv:{table}?split=a b"
    assert held["fields"] == {"height": [48], "split": ["a b"], "width": [48]}
    assert "fields        height (48), split ('a b'), width (48) (all: mmr fields)" in mmr("info", *index).stdout
    with table.open("a") as more:
        more.write("003.png,a b\n004.png,c\n")
    assert "new           1" in mmr("info", *index, "--check").stdout
    renewed = mmr("index", *index)
    assert renewed.exit_code == 0, renewed.output
    assert "2 pictures (1 new, 0 changed, 0 moved, 0 removed, 1 as before, 0 skipped)" in renewed.stdout
    with table.open("a") as more:
        more.write("005.png,a b\n")
    assert mmr("search", "a dog", "--update", *index).exit_code == 0
    assert mmr("ls", *index).stdout == "001.png\n003.png\n005.png\n"
    fails(mmr("index", book, *index), 2, f"is the index of csv:{table}?split=a b, not of {book}: give another")
    copy = tmp_path / "far" / "copy"
    copy.parent.mkdir()
    assert mmr("snapshot", copy, *index).exit_code == 0
    assert json.loads(mmr("info", "--index", copy, "--json").stdout)["source"] == f"csv:{table}?split=a b"


def test_an_index_that_does_not_say_what_it_is_of_asks_for_it_once(tmp_path, trained, book):
    table = book / "older.csv"
    table.write_text("image\n001.png\n")
    index = ("--index", tmp_path / "i")
    assert mmr("index", table, *index, "--model", trained).exit_code == 0
    with Store.open(tmp_path / "i", write=True) as store:
        store.set_manifest(asked=None)  # as older versions wrote it
    for words in (("index",), ("search", "a dog", "--update")):
        fails(mmr(*words, *index), 2, "does not say what it is of: name it, as in `mmr index SOURCE --index")
    assert mmr("index", table, *index).exit_code == 0
    assert mmr("index", *index).exit_code == 0
    with Store.open(tmp_path / "i", write=True) as store:
        store.set_manifest(asked={"file": 3, "where": [1]})
    fails(mmr("index", *index), 3, "is damaged (`asked`: ", "index again")
