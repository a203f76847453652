"""A photo folder as a person has it, from the command line: several roots, what is new, another model, no writing."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from terminal import fails, lines, mmr
from toy import picture

ROOT = Path(__file__).resolve().parents[1]


def names(*words):
    return set(mmr("ls", *words).stdout.splitlines())


@pytest.fixture
def two(tmp_path, trained):
    """Two folders with one index, and where it is; made a while ago."""
    for name in ("Pictures/a.png", "Pictures/Summer 2024/b.png", "Camera/c.png"):
        picture(tmp_path / name)
    index = tmp_path / "photos.mmr"
    made = mmr("index", tmp_path / "Pictures", tmp_path / "Camera", "--index", index, "--model", trained)
    assert made.exit_code == 0, made.output
    long_ago(index, tmp_path)
    return tmp_path, index


def long_ago(index, folder):
    from indexes import Store

    with Store.open(index, write=True) as store:
        store.set_manifest(walked=time.time() - 1000)
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        os.utime(place, (time.time() - 2000,) * 2)


def test_several_folders_need_a_place_for_their_index(tmp_path):
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "b" / "1.png")
    result = mmr("index", tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 2
    assert "are several folders: say where their index is, with --index photos.mmr" in result.stderr


def test_bare_all_known_folders_are_renewed(two, monkeypatch):
    root, index = two
    assert names("--index", index) == {"Camera/c.png", "Pictures/Summer 2024/b.png", "Pictures/a.png"}
    picture(root / "Camera" / "d.png", (0, 0, 255))
    (root / "Pictures" / "a.png").unlink()
    monkeypatch.chdir(root / "Camera")
    result = mmr("index", "--index", index)
    assert result.exit_code == 0
    assert "3 pictures (1 new, 0 changed, 0 moved, 1 removed, 2 as before, 0 skipped)" in result.stdout
    picture(root / "Pictures" / "e.png", (0, 255, 0))
    assert (
        "4 pictures (1 new, 0 changed, 0 moved, 0 removed, 1 as before"
        in mmr("index", root / "Pictures", "--index", index).stdout
    )
    assert names("--index", index, "--in", root / "Camera") == {"Camera/c.png", "Camera/d.png"}
    held = json.loads(mmr("info", "--index", index, "--json", "--check").stdout)
    assert held["source"] == f"{root}/Camera, {root}/Pictures"
    assert (held["new"], held["changed"], held["gone"]) == (0, 0, 0)


def test_what_was_skipped_elsewhere_stays_listed(two):
    root, index = two
    (root / "Camera" / "bad.png").write_bytes(b"no picture")
    assert mmr("index", "--index", index).exit_code == 4
    assert mmr("index", root / "Pictures", "--index", index).exit_code == 0
    assert (index / "skipped.txt").read_text().startswith("Camera/bad.png\t")


def test_what_is_left_out_is_remembered_and_said(photos, trained, monkeypatch):
    picture(photos / ".hidden.png")
    assert mmr("index", photos, "--model", trained, "--exclude", "more/", "--include-hidden").exit_code == 0
    assert names("--index", photos / ".mmr") == {".hidden.png", "blue é.png", "red.png"}
    monkeypatch.chdir(photos)
    for sources in ((), (".",)):
        result = mmr("index", *sources)
        assert "3 as before" in result.stdout
        assert "left out as before: more/ (--exclude '' takes everything)" in result.stderr
    assert "left out      more/" in mmr("info").stdout
    assert mmr("index", "--exclude", "", "--no-hidden").exit_code == 0
    assert names() == {"blue é.png", "more/green.jpg", "red.png"}
    assert "left out" not in mmr("index").stderr


def test_search_says_what_is_new_and_nothing_when_nothing_is(two):
    root, index = two
    asked = ("search", "a dog", "--index", index)
    assert mmr(*asked).stderr == ""
    for number in range(37):
        picture(root / "Camera" / "new" / f"{number}.png")
    (root / "Pictures" / "a.png").unlink()
    result = mmr(*asked)
    assert result.exit_code == 0
    assert (
        result.stderr == "pictures since the last indexing: 37 new, 1 gone: "
        f"run `mmr index --index {index}`, or search with --update\n"
    )
    for quiet in ("--json", "--csv", "--quiet"):
        assert mmr(*asked, quiet).stderr == ""
    for paths in ("--paths", "-0"):
        assert mmr(*asked, paths).stderr.startswith("1 skipped:\n  Pictures/a.png: no such file\n1 files are gone, as ")
    assert mmr("index", "--index", index).exit_code == 0
    assert mmr(*asked).stderr == ""


def test_the_index_of_this_folder_is_renewed_by_two_words(photos, trained, monkeypatch):
    monkeypatch.chdir(photos)
    assert mmr("index", "--model", trained).exit_code == 0
    picture(photos / "new.png")
    assert "1 new: run `mmr index`, or" in mmr("search", "a dog").stderr
    monkeypatch.chdir(photos / "more")  # `mmr index` here would be of this folder alone
    told = mmr("search", "a dog").stderr
    assert f"run `mmr index --index {photos / '.mmr'}`" in told
    assert mmr("index", "--index", photos / ".mmr").exit_code == 0
    assert "more/green.jpg" in names()
    assert mmr("search", "a dog").stderr == ""


def test_search_update_indexes_first(two):
    root, index = two
    picture(root / "Camera" / "new.png", (1, 2, 250))
    found = mmr("search", root / "Pictures" / "a.png", "--index", index, "--update", "--json")
    assert found.exit_code == 0
    assert "Camera/new.png" in {json.loads(line)["uri"] for line in found.stdout.splitlines()}
    assert "4 pictures (1 new, 0 changed, 0 moved, 0 removed, 3 as before, 0 skipped)" in found.stderr
    assert mmr("search", "a dog", "--index", index, "--update").stderr == ""


def test_search_update_with_a_model_that_was_moved(photos, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    assert mmr("index", photos, "--model", tmp_path / "run").exit_code == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    picture(photos / "new.png")
    asked = ("search", photos / "red.png", "--index", photos / ".mmr", "--update")
    assert (mmr(*asked).exit_code, names("--index", photos / ".mmr") & {"new.png"}) == (3, set())
    assert "4 pictures (1 new" in mmr(*asked, "--model", tmp_path / "moved").stderr


def test_search_update_of_what_is_no_folder(photos, trained, tmp_path):
    (photos / "p.csv").write_text("image,caption\nred.png,a red one\n")
    assert mmr("index", photos / "p.csv", "--index", tmp_path / "i", "--model", trained).exit_code == 0
    assert mmr("info", "--index", tmp_path / "i", "--check").stdout.count("new           0") == 1
    (photos / "p.csv").write_text("image,caption\nred.png,a red one\nblue é.png,a blue one\n")
    assert mmr("info", "--index", tmp_path / "i", "--check").stdout.count("new           1") == 1
    assert len(mmr("search", "red", "--index", tmp_path / "i", "--update").stdout.splitlines()) == 2


def test_another_model_takes_the_place_of_the_first(two, trained, book):
    root, index = two
    other = root / "other"
    assert mmr("train", book / "pairs.csv", "--out", other, "--recipe", "smoke", "--set", "epochs=1").exit_code == 0
    result = mmr("index", "--index", index, "--model", other)
    assert result.exit_code == 0, result.output
    assert f"was made with {trained}: its 3 pictures are encoded again with {other}" in result.stderr
    assert "3 pictures (0 new, 3 changed, 0 moved, 0 removed, 0 as before, 0 skipped)" in result.stdout
    assert json.loads(mmr("info", "--index", index, "--json").stdout)["encoder"] == str(other)
    assert mmr("search", "a dog", "--index", index).exit_code == 0
    assert "3 as before" in mmr("index", "--index", index).stdout


def test_models_shows_the_cache_and_makes_room(two, trained, cache):
    table = mmr("models")
    assert table.exit_code == 0
    assert f"exported for queries, in {cache / 'query'}" in table.stdout
    assert str(trained) in table.stdout
    told = [json.loads(line) for line in mmr("models", "--json").stdout.splitlines()]
    assert [one["preset"] for one in told if one.get("default")] == ["small"]
    assert str(trained) in {one.get("exported") for one in told}
    assert "0 removed" in mmr("models", "--prune").stdout
    wrong = mmr("models", "--days", 3)
    assert (wrong.exit_code, wrong.stderr.strip()) == (2, "mmr: --days says what --prune removes: add --prune")
    emptied = mmr("models", "--prune", "--days", 0)
    assert str(trained) in emptied.stdout
    assert "exported" not in mmr("models").stdout
    assert mmr("search", "a dog", "--index", two[1]).exit_code == 0  # by the encoder itself


# ---------------------------------------------------------------- read-only media


def read_only(folder):
    """The start of a command that sees a folder as read-only: root may write whatever the permissions say."""
    if os.geteuid() != 0:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        return []
    quoted = f'"{folder}"'
    inside = f'mount --bind {quoted} {quoted} && mount -o remount,ro,bind {quoted} {quoted} && exec "$@"'
    start = ["unshare", "--mount", "sh", "-c", inside, "sh"]
    if not shutil.which("unshare") or subprocess.run([*start, "true"], capture_output=True, check=False).returncode:
        pytest.skip("root cannot mount here")
    return start


def test_an_index_on_read_only_media_answers(photos, trained, tmp_path):
    assert mmr("index", photos, "--model", trained).exit_code == 0
    picture(photos / "new.png")
    start = read_only(photos)

    def run(*words):
        command = [*start, sys.executable, "-m", "cli.main", *words, "--index", str(photos / ".mmr")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    try:
        found = run("search", "a dog")
        assert (found.returncode, len(found.stdout.splitlines()), found.stderr) == (0, 3, "")
        assert run("ls").stdout.splitlines() == ["blue é.png", "red.png", "more/green.jpg"]
        assert "3 rows, all as they were written" in run("verify").stdout
        held = json.loads(run("info", "--check", "--json").stdout)
        assert (held["rows"], held["new"]) == (3, 1)
        refused = run("rm", "red.png", "--yes")
        assert (refused.returncode, refused.stdout) == (5, "")
        assert "no permission to write" in refused.stderr.splitlines()[-1]
    finally:
        if not start:
            for path in (photos, *(p for p in photos.rglob("*") if p.is_dir())):
                path.chmod(0o755)
    assert mmr("verify", "--index", photos / ".mmr").exit_code == 0


# ---------------------------------------------------------------- a copy elsewhere


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_snapshot_elsewhere_finds_the_pictures_and_the_encoder(two, trained, cache):
    root, index = two
    run = shutil.copytree(trained, root / "runs" / "mine")
    assert mmr("index", "--index", index, "--model", run).exit_code == 0
    (root / "Camera" / "bad.png").write_bytes(b"no picture")
    assert mmr("index", "--index", index).exit_code == 4
    target = root / "far" / "away" / "monday.mmr"
    made = mmr("snapshot", target, "--index", index)
    assert (made.exit_code, made.stderr) == (0, "")
    assert made.stdout == f"{target}: 3 rows, as {index} holds them; search them with --index {target}\n"
    assert "3 rows, all as they were written" in mmr("verify", "--index", target).stdout
    shutil.rmtree(cache / "query")  # so that the run itself is looked for

    asked = ("search", "a dog", "--json", "--index")
    found = [json.loads(line) for line in mmr(*asked, target).stdout.splitlines()]
    assert found == [json.loads(line) for line in mmr(*asked, index).stdout.splitlines()]
    assert all(Path(hit["path"]) == root / hit["uri"] and Path(hit["path"]).is_file() for hit in found)
    assert "pictures since" not in mmr("search", "a dog", "--index", target).stderr  # what was skipped is known

    picture(root / "Camera" / "d.png", (0, 0, 255))
    again = mmr("index", "--index", target)  # it is an index like any other
    assert "4 pictures (1 new, 0 changed, 0 moved, 0 removed, 3 as before" in again.stdout
    assert "3 rows, all as they were written" in mmr("verify", "--index", index).stdout

    (root / "back").mkdir()
    assert mmr("snapshot", root / "back" / ".mmr", "--index", target).exit_code == 0
    found = [json.loads(line) for line in mmr(*asked, root / "back" / ".mmr").stdout.splitlines()]
    assert {Path(hit["path"]) for hit in found} == {root / hit["uri"] for hit in found}
    assert len(found) == 4


def test_a_snapshot_of_the_index_of_this_folder(two, trained, tmp_path, monkeypatch):
    root, _ = two
    monkeypatch.chdir(root / "Camera")
    assert mmr("index", "--model", trained).exit_code == 0
    monkeypatch.chdir(root)
    fails(mmr("snapshot", "copy"), 3, "no .mmr in", "make one with `mmr index`, or give --index")
    monkeypatch.chdir(root / "Camera")
    assert mmr("snapshot", "../copy").exit_code == 0
    (hit,) = lines(mmr("search", "anything", "--json", "--index", "../copy"))
    assert hit["path"] == str(root / "Camera" / "c.png")


def test_a_snapshot_overwrites_nothing_and_waits_for_nobody(two):
    from indexes import Store

    root, index = two
    before = tree(root)
    said = "exists and is not empty: give a folder that is new or empty"
    fails(mmr("snapshot", root / "Pictures", "--index", index), 3, str(root / "Pictures"), said)
    fails(mmr("snapshot", root / "Pictures" / "a.png", "--index", index), 3, "is a file, not a folder: give a folder")
    fails(mmr("snapshot", index / "copy", "--index", index), 2, "lies inside the index", "give another DIR")
    with Store.open(index, write=True):
        fails(mmr("snapshot", root / "copy", "--index", index), 3, "another process is writing", "then try again")
    with Store.open(index):
        assert mmr("snapshot", root / "copy", "--index", index).exit_code == 0  # a reader is none
    shutil.rmtree(root / "copy")
    assert tree(root) == before


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left"), 5, "the disk is full: free some space"),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again"),
    ],
)
def test_a_snapshot_that_fails_says_so_and_leaves_nothing(two, monkeypatch, error, code, said):
    from indexes import durable

    root, index = two
    before = tree(root)

    def fail(*given):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_file", fail)
        fails(mmr("snapshot", root / "copies" / "monday", "--index", index), code, said)
    assert tree(root) == before


def test_ctrl_c_while_a_snapshot_is_taken_leaves_nothing(two):
    """A real signal, while the first segment is copied."""
    root, index = two
    before = tree(root)
    code = (
        "import os, signal, shutil\n"
        "shutil.copyfileobj = lambda *given: os.kill(os.getpid(), signal.SIGINT)\n"
        "from cli.main import main\nmain()\n"
    )
    words = [sys.executable, "-c", code, "snapshot", str(root / "copy"), "--index", str(index)]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.startswith("interrupted: run the same command again")
    assert tree(root) == before
