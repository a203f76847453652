"""Streams that are closed, full or without a reader, locales without UTF-8, words that are no text: no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from terminal import fails, mmr

ROOT = Path(__file__).resolve().parents[1]
DOG = ("search", "a dog", "-k", "3", "--index")


def shell(redirected, *words, **env):
    """`mmr WORDS` as a shell runs it, with what is behind it: its exit code, stdout and stderr as bytes."""
    line = f'"$PYTHON" -m cli.main "$@" {redirected}; exit ${{PIPESTATUS[0]}}'
    env = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), **env}
    run = subprocess.run(["bash", "-c", line, "bash", *map(os.fspath, words)], env=env, capture_output=True)
    assert b"Traceback" not in run.stderr, run.stderr.decode()
    assert b"Exception ignored" not in run.stderr
    return run.returncode, run.stdout, run.stderr


@pytest.mark.parametrize(
    ("redirected", "code"),
    [(">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0), ("| head -1", 0), ("2>&1 | head -c 1", 0), ("2>/dev/full", 0)],
)
def test_streams_that_nobody_reads(indexed, redirected, code):
    assert shell(redirected, *DOG, indexed)[0] == code


@pytest.mark.parametrize("words", [("--help",), ("models",), DOG])
def test_answers_that_cannot_be_written_are_one_line(indexed, words):
    asked = (*words, indexed) if words == DOG else words
    code, _, said = shell(">/dev/full", *asked)
    assert code == 5
    assert said.decode().splitlines() == ["mmr: the disk is full: free some space, then run the same command again"]


def test_what_is_opened_does_not_get_what_is_said_to_a_closed_stream(indexed, trained, book, tmp_path):
    """The first file that is opened would be number 1, which is stdout."""
    index = tmp_path / "i"
    assert shell(">&- 2>&-", "index", book, "--index", index, "--model", trained)[0] == 0
    assert mmr("verify", "--index", index).exit_code == 0


def test_a_locale_of_ascii_changes_no_names_and_no_answers(photos, trained, tmp_path):
    ascii_only = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    index = tmp_path / "i"
    code, _, said = shell("", "index", photos, "--index", index, "--model", trained, **ascii_only)
    assert code == 0, said.decode()
    asked = ("search", "é 狗", "--index", index)
    found = [shell("", *asked, "--json", **env) for env in (ascii_only, {})]
    assert found[0] == found[1]
    assert "blue é.png" in [json.loads(line)["uri"] for line in found[0][1].splitlines()]
    assert "blue é.png".encode() in shell("", *asked, "-0", **ascii_only)[1]
    code, table, _ = shell("", *asked, **ascii_only)
    assert code == 0
    assert rb"blue \xe9.png" in table


def test_words_that_are_no_text(indexed, trained, book):
    odd = os.fsdecode(b"d\xffg")
    assert mmr("search", odd, "--index", indexed, "-k", 1).exit_code == 0
    assert mmr("search", odd, "+", "2:" + odd, "--index", indexed, "-k", 1, "--json").exit_code == 0
    assert mmr("classify", book / "000.png", "--labels", f"{odd},b", "--model", trained).exit_code == 0
    fails(mmr("search", f"id:{odd}", "--index", indexed), 2, "holds no `d")
    fails(mmr("ls", "--index", odd), 3, "no index at d")


def test_queries_from_a_pipe_are_utf8(indexed):
    line = f'printf "caf\\303\\251\\n" | "$PYTHON" -m cli.main search --queries - -k 1 --json --index {indexed}'
    run = subprocess.run(
        ["bash", "-c", line], capture_output=True, check=True,
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", "LC_ALL": "C"},
    )  # fmt: skip
    assert [json.loads(one)["query"] for one in run.stdout.splitlines()] == ["café"]


def test_any_error_is_a_line(indexed, monkeypatch):
    from indexes import Store

    def broken(*given, **more):
        raise KeyError("a key\nthat is missing\x1b[2J")

    monkeypatch.setattr(Store, "open", broken)
    result = mmr("info", "--index", indexed)
    fails(result, 5, "unexpected KeyError", "MMR_DEBUG=1")
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr
