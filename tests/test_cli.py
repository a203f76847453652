"""The command line as a person meets it: what is printed, the exit codes, one line for each thing that can be wrong."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app

ROOT = Path(__file__).resolve().parents[1]


def mmr(*words):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="mmr")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, trained, book):
    index = tmp_path_factory.mktemp("cli") / "photos.mmr"
    result = mmr("index", book, "--index", index, "--model", trained)
    assert result.exit_code == 0, result.output
    return index


def fails(result, code, *parts):
    """Exit code, and one line on stderr that has the parts in order; no traceback and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    line = result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    at = 0
    for part in parts:
        assert part in line[at:], line
        at = line.index(part, at)


def test_index_then_search(indexed, book):
    result = mmr("search", "a dog", "--index", indexed, "-k", 3, "--json")
    assert result.exit_code == 0
    hits = [json.loads(line) for line in result.stdout.splitlines()]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert list(hits[0]) == ["rank", "score", "uri", "path", "caption"]
    assert Path(hits[0]["path"]) == book / hits[0]["uri"]
    assert hits[0]["score"] >= hits[1]["score"] >= hits[2]["score"]

    table = mmr("search", "a", "dog", "--index", indexed, "-k", 3).stdout.splitlines()
    assert [line.split()[0] for line in table] == ["1", "2", "3"]
    assert hits[0]["uri"] in table[0]


def test_search_by_picture_leaves_the_picture_out(indexed, book):
    result = mmr("search", book / "003.png", "--index", indexed, "--json")
    hits = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(hits) == 10
    assert "003.png" not in {hit["uri"] for hit in hits}


def test_search_again_finds_the_same_as_brute_force(indexed, book, trained):
    from retrieval import load_encoder, open_items
    from retrieval.images import load

    encoder = load_encoder(str(trained))
    items = list(open_items(str(book)))
    scores = encoder.encode_images([load(item) for item in items]) @ encoder.encode_texts(["two cats"])[0]
    expected = [items[i].uri for i in np.argsort(-scores)[:5]]
    result = mmr("search", "two cats", "--index", indexed, "-k", 5, "--json")
    assert [json.loads(line)["uri"] for line in result.stdout.splitlines()][:1] == expected[:1]


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
    assert {json.loads(line)["uri"] for line in found.stdout.splitlines()} == {names[1], names[3], names[5]}
    nothing = mmr(*asked, "year > 3000")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    fails(mmr(*asked, "year >="), 2, "--where 'year >='", "a value is expected at position 8", "write, say")


def test_approximate_search_from_the_command_line(photos, trained, tmp_path, monkeypatch):
    from indexes.derived import Derived
    from retrieval import approximate

    index = ("--index", tmp_path / "i")
    small = mmr("index", photos, *index, "--model", trained, "--recall", "0.9")
    assert small.exit_code == 0
    assert "3 pictures are searched exactly" in small.stderr
    fails(mmr("index", photos, *index, "--memory", "lots"), 2, "--memory lots is no size", "--memory 4G")
    monkeypatch.setattr(approximate, "LEAST_ROWS", 3)
    fails(mmr("index", photos, *index, "--memory", "10"), 3, "no index of 3 rows fits", "give --memory 1M")
    monkeypatch.setattr("indexes.tune.candidates", lambda *asked: [type("Candidate", (), {"spec": "IVF1,Flat"})])
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
    fails(mmr("verify", "--index", index), 3, "000002.f16 does not match its checksum", "index again")


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
        assert list(report[direction]) == ["recall@1", "recall@5", "recall@10", "mrr", "median_rank"]
        assert 0 <= report[direction]["recall@10"] <= 1
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
    import io
    import tarfile

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


def test_a_contact_sheet_has_the_pictures_inside(indexed, tmp_path):
    sheet = tmp_path / "sheet.html"
    assert mmr("search", "<b>", "--index", indexed, "-k", 2, "--html", sheet).exit_code == 0
    page = sheet.read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_models_is_a_table():
    assert "ViT-B-32-256/datacomp_s34b_b86k (default of mmr index)" in mmr("models").stdout


# ---------------------------------------------------------------- bad input


def test_missing_and_empty_sources(tmp_path, trained):
    fails(mmr("train", "csv:none.csv", "--out", tmp_path / "r"), 2, "no such file: none.csv", "check the path")
    (tmp_path / "empty.csv").touch()
    fails(mmr("train", tmp_path / "empty.csv", "--out", tmp_path / "r"), 2, "is empty", "image,caption")
    (tmp_path / "columns.csv").write_text("file,text\na.jpg,b\n")
    fails(mmr("eval", trained, tmp_path / "columns.csv"), 2, "has no column `image`, only file, text")
    assert not (tmp_path / "r").exists()


def test_an_unknown_setting_names_the_nearest(book, tmp_path):
    words = ("train", book / "pairs.csv", "--out", tmp_path / "r", "--set", "epoch=3")
    fails(mmr(*words), 2, "no setting `epoch`", "did you mean `epochs`?")
    assert not (tmp_path / "r").exists()


def test_no_model_and_no_network(photos):
    started = time.monotonic()
    result = mmr("index", photos)
    fails(result, 3, "hub cannot be reached", "--model open_clip:ViT-B-32-256/FILE", "mmr train")
    assert time.monotonic() - started < 20
    assert not (photos / ".mmr").exists()


def test_no_index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(mmr("search", "a dog"), 3, "no .mmr in", "mmr index")
    (tmp_path / "zero.mmr").mkdir()
    fails(mmr("search", "a dog", "--index", "zero.mmr"), 3, "no index at zero.mmr", "mmr index")
    (tmp_path / "zero.mmr" / "mmr.db").touch()
    fails(mmr("search", "a dog", "--index", "zero.mmr"), 3, "is empty", "mmr index")


def test_an_index_of_a_newer_format(indexed, tmp_path):
    import shutil
    import sqlite3

    shutil.copytree(indexed, tmp_path / "newer.mmr")
    database = sqlite3.connect(tmp_path / "newer.mmr" / "mmr.db")
    database.execute("PRAGMA user_version = 2")
    database.close()
    fails(mmr("search", "a dog", "--index", tmp_path / "newer.mmr"), 3, "has format 2", "pip install -U mmr")


def test_another_encoder_is_refused(indexed, book, tmp_path):
    result = mmr("train", book / "pairs.csv", "--out", tmp_path / "other", "--recipe", "smoke", "--set", "epochs=1")
    assert result.exit_code == 0
    fails(mmr("search", "a", "--index", indexed, "--model", tmp_path / "other"), 3, "was made with encoder", "--model")


def test_a_model_that_went_away(trained, book, tmp_path, cache):
    import shutil

    shutil.copytree(trained, tmp_path / "run")
    index = tmp_path / "i.mmr"
    assert mmr("index", book, "--index", index, "--model", tmp_path / "run").exit_code == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    assert mmr("search", "a dog", "--index", index).exit_code == 0  # words need the cache alone
    shutil.rmtree(cache / "query")
    fails(mmr("search", "a dog", "--index", index), 3, "which is gone", "--model RUN")
    assert mmr("search", "a dog", "--index", index, "--model", tmp_path / "moved").exit_code == 0


def test_pictures_that_do_not_decode_are_listed_and_exit_4(photos, trained):
    (photos / "bad.jpg").write_bytes(b"not a picture")
    result = mmr("index", photos, "--model", trained)
    assert result.exit_code == 4
    assert "1 skipped:\n  bad.jpg: not a picture of a known format" in result.stderr
    assert (photos / ".mmr" / "skipped.txt").read_text() == "bad.jpg\tnot a picture of a known format\n"
    assert "3 pictures (3 new, 0 changed, 0 moved, 0 removed, 0 as before, 1 skipped)" in result.stdout


def test_a_caption_in_another_script_is_no_problem(photos, trained, tmp_path):
    (photos / "p.csv").write_text(
        "image,caption\nred.png,一只红色的狗\nmore/green.jpg,зелёное поле 🌿\n", encoding="utf-8"
    )
    assert mmr("eval", trained, photos / "p.csv", "--json").exit_code == 0
    assert mmr("index", photos / "p.csv", "--index", tmp_path / "i.mmr", "--model", trained).exit_code == 0
    result = mmr("search", "红色", "--index", tmp_path / "i.mmr", "--json")
    assert {json.loads(line)["caption"] for line in result.stdout.splitlines()} == {"一只红色的狗", "зелёное поле 🌿"}


def test_an_empty_index_answers_nothing_with_exit_1(photos, trained):
    for file in (photos / "red.png", photos / "blue é.png"):
        file.unlink()
    (photos / "more" / "green.jpg").write_bytes(b"bad")
    assert mmr("index", photos, "--model", trained).exit_code == 4
    result = mmr("search", "a dog", "--index", photos / ".mmr")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_full_disk(photos, trained, monkeypatch):
    from indexes import durable

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(durable, "write_bytes", full)
    result = mmr("index", photos, "--model", trained)
    fails(result, 5, "the disk is full", "run the same command again")
    monkeypatch.undo()
    assert mmr("index", photos, "--model", trained).exit_code == 0


def test_device_and_k_are_checked(indexed, trained, photos):
    fails(mmr("search", "a", "--index", indexed, "--device", "gpu"), 2, "'gpu' is not one of", "auto", "cpu", "cuda")
    fails(mmr("search", "a", "--index", indexed, "-k", "0"), 2, "k must be at least 1")
    assert mmr("search", "--index", indexed).exit_code == 2


def test_help_names_the_exit_codes():
    assert "130 interrupted" in mmr("--help").stdout


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_training_keeps_a_checkpoint(book, tmp_path, times):
    """Once: it stops after the step, with a checkpoint, and --resume goes on. Twice: at once. Both exit 130."""
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "cli.main",
        "train",
        str(book / "pairs.csv"),
        "--out",
        str(out),
        "--recipe",
        "smoke",
    ]
    run = subprocess.Popen(
        [*command, "--set", "epochs=100000"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    for line in run.stderr:
        if "chance" in line:
            break
    for _ in range(times):
        run.send_signal(signal.SIGINT)
        time.sleep(0.01)
    said = run.stderr.read()
    assert run.wait(60) == 130
    assert "Traceback" not in said
    if times == 1:
        assert "go on with the same command and --resume" in said
        assert list((out / "checkpoints").glob("step_*"))
    elif "go on with" not in said:  # the second came before the first was answered
        assert "run the same command again" in said


def test_ctrl_c_while_indexing_loses_nothing(photos, trained, monkeypatch):
    from retrieval import pipeline

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_commit", interrupted)
        fails(mmr("index", photos, "--model", trained), 130, "interrupted", "run the same command again")
    assert mmr("index", photos).exit_code == 0


# ---------------------------------------------------------------- search: sums, forms, what is done with answers


def lines(result, code=0):
    assert result.exit_code == code, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


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
    import csv

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
    assert list(found[0]) == ["rank", "score", "uri", "path", "caption", "confidence"]
    assert all(0 <= hit["confidence"] <= 1 for hit in found)
    assert "%" in mmr(*asked, "--min-confidence", 0).stdout
    for limit in (("--min-confidence", 1), ("--min-score", 2)):
        nothing = mmr(*asked, *limit)
        assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (1, "", "no good match\n")
    fails(mmr(*asked, "--min-confidence", 3), 2, "not between 0 and 1")


def test_queries_of_a_file(indexed, tmp_path):
    from typer.testing import CliRunner

    (tmp_path / "q.txt").write_text("a dog\n\ntwo cats - a dog\n")
    asked = ("search", "--index", str(indexed), "-k", "2", "--json", "--queries")
    found = lines(mmr(*asked, tmp_path / "q.txt"))
    assert [hit["query"] for hit in found] == ["a dog"] * 2 + ["two cats - a dog"] * 2
    alone = lines(mmr("search", "two cats", "-", "a dog", "--index", indexed, "-k", 2, "--json"))
    assert [hit["uri"] for hit in found[2:]] == [hit["uri"] for hit in alone]
    piped = CliRunner().invoke(app, [*asked, "-"], input="a dog\ntwo cats - a dog\n")
    assert lines(piped) == found
    table = mmr("search", "--index", indexed, "-k", 2, "--queries", tmp_path / "q.txt").stdout.splitlines()
    assert (table[0], table[3], len(table)) == ("a dog", "two cats - a dog", 6)
    fails(mmr(*asked, tmp_path / "none"), 2, "no such file", "--queries")
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


def test_a_folder_is_made_whole_or_not_at_all(photos, trained, tmp_path):
    assert mmr("index", photos, "--model", trained).exit_code == 0
    (photos / "red.png").unlink()
    asked = ("search", "a dog", "--index", photos / ".mmr", "--copy-to", tmp_path / "out")
    result = mmr(*asked)
    assert result.exit_code == 2
    assert "is gone: run `mmr index` again" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_the_best_answer_is_opened(indexed, monkeypatch):
    opened = []
    monkeypatch.setattr("typer.launch", lambda path: opened.append(path) or 0)
    (best,) = lines(mmr("search", "a dog", "--index", indexed, "-k", 1, "--json", "--open"))
    assert opened == [best["path"]]
    monkeypatch.setattr("typer.launch", lambda path: 1)
    assert "nothing here opens pictures" in mmr("search", "a dog", "--index", indexed, "--open").stderr


def test_a_preview_needs_a_terminal_and_a_library(indexed, monkeypatch):
    from cli import preview
    from retrieval.errors import BadRequest

    fails(mmr("search", "a dog", "--index", indexed, "--preview"), 2, "stdout is none", "--html")
    monkeypatch.setattr(preview, "sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True, fileno=lambda: 1)))
    monkeypatch.setattr(preview.importlib.util, "find_spec", lambda name: None)
    for columns, message in ((80, r"pip install 'mmr\[preview\]'"), (0, "stdout is none")):
        size = SimpleNamespace(columns=columns)
        monkeypatch.setattr(preview.os, "get_terminal_size", lambda handle, size=size: size)
        with pytest.raises(BadRequest, match=message):
            preview.check()


def test_a_preview_draws_what_can_be_read(photos, capsys, monkeypatch):
    from cli import preview
    from retrieval.datatypes import Hit

    drawn = []
    library = SimpleNamespace(Image=lambda picture, width: drawn.append((picture.size, width)) or "(picture)")
    monkeypatch.setitem(sys.modules, "textual_image.renderable", library)
    monkeypatch.setitem(sys.modules, "textual_image", SimpleNamespace(renderable=library))
    preview.draw([Hit(1, 0.5, "red.png", str(photos / "red.png"), None, "a"), Hit(2, 0.4, "x", "/x.png", None, "b")])
    said = capsys.readouterr()
    assert [size for size, _ in drawn] == [(20, 10)]
    assert "(picture)" in said.out
    assert said.err == "x: no such file\n"


# ---------------------------------------------------------------- ls, rm, dups


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
    assert first == {"uri": "001.png", "path": str(book / "001.png"), "caption": "one", "fields": fields}
    assert mmr("ls", *index, "--in", "nowhere").exit_code == 1
    assert not mmr("ls", *index, "--where", "year > 2010").stderr  # nothing is mistyped
    for command in (("ls",), ("rm", "-y"), ("search", "one")):
        none = mmr(*command, *index, "--where", "yeer > 2001 and year > 0")
        assert (none.exit_code, none.stdout) == (1, "")
        assert "no item has a field `yeer`: did you mean `year`?" in none.stderr
    assert "no item has a field `zzz`: `mmr ls --json` shows" in mmr("ls", *index, "--where", "zzz = 1").stderr

    fails(mmr("rm", *index), 2, "say which items")
    fails(mmr("rm", "001.png", "--where", "year = 2001", *index), 2, "say which items")
    fails(mmr("rm", "001.png", "none.png", "--yes", *index), 2, "holds no `none.png`", "mmr ls")
    fails(mmr("rm", "001.png", *index), 2, "add --yes")
    assert len(mmr("ls", *index).stdout.splitlines()) == 3
    removed = mmr("rm", "001.png", "001.png", "--yes", *index)
    assert removed.stdout == f"{tmp_path / 'i'}: 1 removed, 2 left\n"
    assert "`mmr index` would bring" in removed.stderr
    assert mmr("rm", "--where", "year > 2002", "-y", *index).exit_code == 0
    assert mmr("rm", "--where", "year > 2002", "-y", *index).exit_code == 1
    assert mmr("ls", *index).stdout == "002.png\n"
    assert (book / "001.png").is_file()
    assert "2 new" in mmr("index", book / "years.csv", *index).stdout


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 59), ("n\n", 1, 60)])
def test_rm_asks(indexed, tmp_path, monkeypatch, answer, code, left):
    import shutil

    from typer.testing import CliRunner

    shutil.copytree(indexed, tmp_path / "i")
    monkeypatch.setattr("cli.listing._here", lambda: True)
    result = CliRunner().invoke(app, ["rm", "003.png", "--index", str(tmp_path / "i")], input=answer)
    assert result.exit_code == code
    assert "remove 1 of 60 items" in result.stderr
    assert len(mmr("ls", "--index", tmp_path / "i").stdout.splitlines()) == left


def test_dups_are_copies(photos, trained):
    import shutil

    shutil.copy(photos / "red.png", photos / "more" / "again.png")
    assert mmr("index", photos, "--model", trained).exit_code == 0
    index = ("--index", photos / ".mmr")
    (group,) = lines(mmr("dups", "--threshold", 0.99999, "--json", *index))
    assert (group["group"], sorted(item["uri"] for item in group["items"])) == (1, ["more/again.png", "red.png"])
    assert [item["score"] for item in group["items"]] == pytest.approx([1, 1], abs=1e-5)
    assert mmr("dups", "--threshold", 0.99999, *index).stdout.splitlines()[0] == "group 1: 2 pictures"
    assert mmr("dups", "--threshold", 0.99999, "--in", "more", *index).exit_code == 1
    fails(mmr("dups", "--threshold", 2, *index), 2, "no cosine")
