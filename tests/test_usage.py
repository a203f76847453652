"""What was typed wrongly is told in one line that ends with the next thing to type; help keeps examples apart."""

import shlex
import sys

import pytest

from cli import usage
from docs import generate
from terminal import fails, mmr

WRONG = [
    (["serch", "dog"], "no such command 'serch': did you mean `search`?"),
    (["zzz"], "no such command 'zzz': see `mmr --help`"),
    (["search", "--jsn", "dog"], "no such option: --jsn: did you mean `--json`?"),
    (["search", "--qqqq", "dog"], "no such option: --qqqq: see `mmr search --help`"),
    (["search", "dog", "--index"], "option '--index' requires an argument: see `mmr search --help`"),
    (["search", "-k", "many", "dog"], "see `mmr search --help`"),
    (["search", "dog", "--device", "gpu"], "'gpu' is not one of 'auto', 'cpu', 'cuda': see `mmr search --help`"),
    (["train", "pairs.csv"], "missing option '--out': see `mmr train --help`"),
    (["train"], "see `mmr train --help`"),
    (["head", "trai"], "no such command 'trai': did you mean `train`?"),
    (["head", "train", "--lable", "x"], "no such option: --lable: did you mean `--label`?"),
    (["verify", "one", "too", "many"], "see `mmr verify --help`"),
    (["--versoin"], "no such option: --versoin: did you mean `--version`?"),
]


@pytest.mark.parametrize(("words", "told"), WRONG, ids=lambda part: " ".join(part) if type(part) is list else "")
def test_one_line_that_ends_with_the_next_thing_to_type(words, told):
    result = mmr(*words)
    fails(result, 2, told)
    assert result.stderr.startswith("mmr: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith(told + "\n")


@pytest.mark.parametrize("command", list(generate.commands()), ids=lambda command: command.name)
def test_every_command_says_so_of_an_option_that_it_has_not(command):
    result = mmr(*command.name.split(), "--no-such-thing-at-all")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.output
    assert result.stderr.startswith("mmr: no such option: --no-such-thing-at-all: ")


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A virtual environment with an `mmr`, which is not on the PATH; its folder of programs."""
    programs = tmp_path / "my env" / "bin"
    programs.mkdir(parents=True)
    for name in ("mmr", "activate"):
        (programs / name).touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    return programs


def test_a_command_to_paste_has_the_path_that_was_typed(environment, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["my env/bin/mmr", "demo"])
    assert (usage.called(), usage.activation()) == ("'my env/bin/mmr'", "source 'my env/bin/activate'")


def test_mmr_alone_is_enough_where_the_shell_finds_it(environment, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(environment / "mmr"), "demo"])
    monkeypatch.setenv("PATH", str(environment))
    assert (usage.called(), usage.activation()) == ("mmr", None)


def test_a_module_that_is_run_is_called_as_one(environment, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/checkout/cli/main.py"])
    assert usage.called() == f"{shlex.quote(sys.executable)} -m cli.main"


@pytest.mark.parametrize("words", [[], ["head"], ["import"]], ids=str)
def test_what_asks_for_nothing_is_shown_what_there_is(words):
    result = mmr(*words)
    assert result.exit_code == 2
    assert f"Usage: {' '.join(['mmr', *words])} [OPTIONS] COMMAND" in result.output


@pytest.mark.parametrize("command", list(generate.commands()), ids=lambda command: command.name)
def test_examples_are_lines_of_their_own(command):
    shown = [line.strip() for line in mmr(*command.name.split(), "--help").stdout.splitlines()]
    for line in command.text.splitlines():
        if line.startswith("mmr "):
            assert line in shown


def test_sentences_beside_examples_are_wrapped_as_before():
    text = "Sum.\n\nmmr a\nmmr b\nOne,\nand on.\nmmr c"
    assert usage.examples_apart(text) == "Sum.\n\n\b\nmmr a\nmmr b\n\nOne,\nand on.\n\n\b\nmmr c"
