"""What can be wrong on the command line: one line for each, the right exit code, nothing lost."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexes import Store
from terminal import fails, lines, mmr

ROOT = Path(__file__).resolve().parents[1]


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


def test_no_network(photos):
    started = time.monotonic()
    result = mmr("index", photos, "--model", "small")
    fails(result, 3, "hub cannot be reached", "--model open_clip:ViT-B-32-256/FILE", "mmr train", "--model builtin")
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
    shutil.copytree(indexed, tmp_path / "newer.mmr")
    database = sqlite3.connect(tmp_path / "newer.mmr" / "mmr.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    fails(mmr("search", "a dog", "--index", tmp_path / "newer.mmr"), 3, "has format 99", "pip install -U mmr-retrieval")


def test_another_encoder_is_refused(indexed, book, tmp_path):
    result = mmr("train", book / "pairs.csv", "--out", tmp_path / "other", "--recipe", "smoke", "--set", "epochs=1")
    assert result.exit_code == 0
    fails(mmr("search", "a", "--index", indexed, "--model", tmp_path / "other"), 3, "was made with encoder", "--model")


def test_a_model_that_went_away(trained, book, tmp_path, cache):
    shutil.copytree(trained, tmp_path / "run")
    index = tmp_path / "i.mmr"
    assert mmr("index", book, "--index", index, "--model", tmp_path / "run").exit_code == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    assert mmr("search", "a dog", "--index", index).exit_code == 0  # words need the cache alone
    shutil.rmtree(cache / "query")
    fails(mmr("search", "a dog", "--index", index), 3, "which is gone", "--model RUN`")
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
    assert {hit["caption"] for hit in lines(result)} == {"一只红色的狗", "зелёное поле 🌿"}


def test_an_empty_index_answers_nothing_with_exit_1(photos, trained):
    for file in (photos / "red.png", photos / "blue é.png"):
        file.unlink()
    (photos / "more" / "green.jpg").write_bytes(b"bad")
    assert mmr("index", photos, "--model", trained).exit_code == 4
    result = mmr("search", "a dog", "--index", photos / ".mmr")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_full_disk(photos, trained, monkeypatch):
    from indexes import durable

    def full(path, write):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(durable, "write_file", full)
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
    words = ("train", book / "pairs.csv", "--out", out, "--recipe", "smoke", "--set", "epochs=100000")
    run = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *map(str, words)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
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
    from indexes import Store

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", interrupted)
        fails(mmr("index", photos, "--model", trained), 130, "interrupted", "run the same command again")
    assert mmr("index", photos).exit_code == 0


@pytest.mark.parametrize("cannot", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_a_note(photos, trained, tmp_path, monkeypatch, cannot):
    """Every command does what it is asked; queries are slower."""
    place = tmp_path / "cache"
    monkeypatch.setenv("MMR_CACHE", str(place))
    real = Path.mkdir

    def mkdir(path, *given, **more):
        if path.is_relative_to(place):
            raise OSError(cannot, os.strerror(cannot), str(path))
        real(path, *given, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    index = ("--index", tmp_path / "i")
    made = mmr("index", photos, *index, "--model", trained)
    assert made.exit_code == 0, made.output
    assert f"the cache {place} cannot be written ({os.strerror(cannot)})" in made.stderr
    assert "queries load the whole encoder" in made.stderr
    for asked in (
        ("search", "a dog", *index), ("search", photos / "red.png", *index),
        ("search", "a dog", *index, "--min-confidence", 0), ("models",), ("models", "--prune"),
        ("classify", photos / "red.png", "--labels", "a,b", "--model", trained),
    ):  # fmt: skip
        assert mmr(*asked).exit_code == 0
    assert not place.exists()


NASTY = "a\x1b[2J\nb\u202e.png"
SHOWN = "a\\x1b[2J\\nb\\u202e.png"


def test_names_that_would_move_the_cursor_are_written_out(trained, tmp_path):
    """In tables, progress and messages; programs get them as they are."""
    from toy import picture

    photos = tmp_path / "p"
    picture(photos / NASTY)
    (photos / f"bad{NASTY}").write_text("no picture")
    index = ("--index", tmp_path / "i")
    made = mmr("index", photos, *index, "--model", trained)
    assert made.exit_code == 4
    assert f"  bad{SHOWN}: not a picture" in made.stderr
    said = [made.stderr]
    for asked in (("search", "a dog", *index), ("ls", *index), ("ls", "-l", *index),
                  ("classify", photos / NASTY, photos, "--labels", "a,b", "--model", trained)):  # fmt: skip
        result = mmr(*asked)
        assert SHOWN in result.stdout
        said += [result.stdout, result.stderr]
    for asked in (("search", "--index", NASTY, "x"), ("train", NASTY, "--out", tmp_path / "r"),
                  ("eval", trained, f"csv:{NASTY}")):  # fmt: skip
        result = mmr(*asked)
        assert SHOWN in result.stderr
        assert len(result.stderr.splitlines()) == 1
        said.append(result.stderr)
    assert not [text for text in said if "\x1b" in text or "\u202e" in text]
    assert lines(mmr("ls", *index, "--json"))[0]["uri"] == NASTY
    assert mmr("ls", *index, "-0").stdout == f"{NASTY}\0"
    assert mmr("search", "a dog", *index, "-0").stdout == f"{photos / NASTY}\0"


@pytest.mark.parametrize("damage", ["{}", "[]", "{", '{"step": 1}', None])
def test_a_damaged_checkpoint_is_named(book, trained, tmp_path, damage):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "encoder.json").unlink()
    (last,) = (run / "checkpoints").glob("step_*")
    (last / "state.json").unlink()
    if damage is not None:
        (last / "state.json").write_text(damage)
    words = ("train", f"csv:{book}/pairs.csv?split=train", "--out", run, "--resume")
    fails(mmr(*words), 2, f"{last} is damaged", "remove it, then --resume begins with the one before")


@pytest.mark.parametrize(
    "words",
    [("index", ".", "--recall"), ("models", "--prune", "--days"), ("dups", "--threshold")],
)
@pytest.mark.parametrize("number", ["nan", "-inf"])
def test_a_number_that_is_none_passes_no_bounds(words, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "i").mkdir()
    Store.create(tmp_path / "i" / ".mmr", dim=4).close()
    monkeypatch.chdir(tmp_path / "i")
    result = mmr(*words[:-1], f"{words[-1]}={number}")
    assert result.exit_code == 2, result.output
    assert any(said in result.output for said in ("greater", "less", "is no cosine", "not in the range"))
